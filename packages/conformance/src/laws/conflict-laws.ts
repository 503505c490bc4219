import { expect } from 'chai';
import { expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { EMPTY_VIEW, followChanges, readChanges } from '../follow-changes.js';
import { mustCommit, mustConflict, testLaw } from '../law-test.js';

/** What a refused check answers, and that it leaves no trace. */
export function testConflictLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'commit/conflict-is-a-value', 'every conflicting key is named, with its record, and no other key', async ({ open }) => {
    const store = await open();
    const first = await mustCommit(store, {
      puts: [
        { key: 'stale', value: 1 },
        { key: 'fine', value: 2 },
      ],
    });
    const second = await mustCommit(store, { puts: [{ key: 'stale', value: { now: 3 } }], deletes: ['gone'] });
    const conflicts = await mustConflict(store, {
      checks: [
        { key: 'stale', revision: first },
        { key: 'fine', revision: first },
        { key: 'gone', revision: first },
        { key: 'never-there', revision: 0 },
        { key: 'unexpected', revision: 1 },
      ],
      puts: [{ key: 'target', value: 1 }],
    });
    const byKey = new Map(conflicts.map((conflict) => [conflict.key, conflict]));
    expect([...byKey.keys()].sort()).to.deep.equal(['gone', 'stale', 'unexpected']);
    expectRecord(byKey.get('stale')?.record, { key: 'stale', value: { now: 3 }, revision: second });
    expect(byKey.get('gone')?.record, 'an absent key has no record').to.equal(undefined);
    expect(byKey.get('unexpected')?.record).to.equal(undefined);
  });

  testLaw(fixture, 'commit/conflict-is-a-value', 'a key that must be absent and is there is named with its record', async ({ open }) => {
    const [store, other] = [await open(), await open()];
    const revision = await mustCommit(other, { puts: [{ key: 'a', value: 'there' }] });
    const [conflict, ...more] = await mustConflict(store, { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 'mine' }] });
    expect(more).to.deep.equal([]);
    expectRecord(conflict?.record, { key: 'a', value: 'there', revision });
  });

  testLaw(fixture, 'commit/conflict-is-a-value', '900 conflicts are all named', async ({ open }) => {
    const store = await open();
    const keys = Array.from({ length: 900 }, (_, index) => `key-${index}`);
    const revision = await mustCommit(store, { puts: keys.map((key) => ({ key, value: key })) });
    const conflicts = await mustConflict(store, { checks: keys.map((key) => ({ key, revision: 0 })), puts: [{ key: 'a', value: 1 }] });
    expect(conflicts.length).to.equal(900);
    for (const { key, record } of conflicts) expectRecord(record, { key, value: key, revision });
    expect(new Set(conflicts.map((conflict) => conflict.key))).to.deep.equal(new Set(keys));
  });

  testLaw(fixture, 'commit/conflict-is-a-value', 'a refused commit changes nothing, the revisions included', async ({ open }) => {
    const store = await open();
    await mustCommit(store, {
      puts: [
        { key: 'a', value: 1 },
        { key: 'b', value: 2 },
      ],
    });
    const before = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    for (let count = 0; count < 5; count++) {
      await mustConflict(store, {
        checks: [
          { key: 'a', revision: 0 },
          { key: 'c', revision: before.cursor + 1 + count },
        ],
        puts: [
          { key: 'a', value: 'never' },
          { key: 'c', value: 'never' },
        ],
        deletes: ['b'],
      });
    }
    expectExact(await followChanges(store, EMPTY_VIEW, { mayForget: false }), before, 'what the store holds');
    expectExact(await readChanges(store, before.cursor), [], 'changes after the refusals');
  });

  testLaw(fixture, 'commit/conflict-is-a-value', 'the record of a conflict is the caller’s own', async ({ open }) => {
    const store = await open();
    await mustCommit(store, { puts: [{ key: 'a', value: { list: [1] } }] });
    const commit = { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 2 }] };
    const [conflict] = await mustConflict(store, commit);
    (conflict!.record!.value as { list: number[] }).list.push(2);
    expectExact((await store.read(['a']))[0]?.value, { list: [1] });
    expectExact((await mustConflict(store, commit))[0]?.record?.value, { list: [1] });
  });
}
