import { expect } from 'chai';
import { expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { EMPTY_VIEW, followChanges, readChanges } from '../follow-changes.js';
import { mustCommit, mustConflict, testLaw } from '../law-test.js';

/** What a store still is after every handle on it was closed and one was opened again. */
export function testReopenLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'commit/acked-survives', 'what was committed is there after reopening, with nothing to report', async ({ open }) => {
    let store = await open();
    for (let count = 0; count < 20; count++) {
      const durability = count % 2 === 0 ? 'synced' : 'written';
      const deletes = count % 4 === 3 ? [`key-${count - 1}`] : [];
      await mustCommit(store, { puts: [{ key: `key-${count}`, value: { count } }], deletes, durability });
    }
    const before = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    expect(before.records.size).to.equal(15);
    for (let round = 0; round < 3; round++) {
      await store.close();
      store = await open();
      expectExact(store.recovery, [], 'what opening repaired after a clean close');
      const after = await followChanges(store, EMPTY_VIEW, { mayForget: false });
      expectExact(after.records, before.records, `what is there after ${round + 1} times`);
      const records = await store.read([...before.records.keys()]);
      expectExact(records, [...before.records.values()], 'what is read');
    }
  });

  testLaw(fixture, 'commit/acked-survives', 'a store that nothing was written to can be closed and reopened', async ({ open }) => {
    for (let round = 0; round < 3; round++) {
      const store = await open();
      expectExact(await readChanges(store, 0), []);
      expectExact(store.recovery, []);
      await store.close();
    }
    await mustCommit(await open(), { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 1 }] });
  });

  testLaw(fixture, 'commit/one-revision', 'no revision is used again after deletes and reopening', async ({ open }) => {
    let store = await open();
    const revisions: number[] = [];
    for (let round = 0; round < 4; round++) {
      revisions.push(await mustCommit(store, { puts: [{ key: 'a', value: round }] }));
      revisions.push(await mustCommit(store, { deletes: ['a'] }));
      // Now the store is empty: no record is left that a revision could be derived from.
      await store.close();
      store = await open();
    }
    revisions.push(await mustCommit(store, { puts: [{ key: 'b', value: 1 }] }));
    expectExact(
      revisions,
      [...new Set(revisions)].sort((one, two) => one - two),
      'the revisions, in order',
    );
  });

  testLaw(fixture, 'commit/check-now', 'checks hold across reopening: a revision of before still stands', async ({ open }) => {
    let store = await open();
    const first = await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    const second = await mustCommit(store, { puts: [{ key: 'b', value: 1 }] });
    await store.close();
    store = await open();
    await mustConflict(store, { checks: [{ key: 'a', revision: second }], puts: [{ key: 'a', value: 2 }] });
    const third = await mustCommit(store, { checks: [{ key: 'a', revision: first }], puts: [{ key: 'a', value: 2 }] });
    await store.close();
    store = await open();
    const [conflict] = await mustConflict(store, { checks: [{ key: 'a', revision: first }], puts: [{ key: 'a', value: 3 }] });
    expectRecord(conflict?.record, { key: 'a', value: 2, revision: third });
  });

  testLaw(fixture, 'changes/no-gap', 'a cursor of before reopening still works', async ({ open }) => {
    let store = await open();
    await mustCommit(store, { puts: ['a', 'b', 'c'].map((key) => ({ key, value: 1 })) });
    const view = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    await mustCommit(store, { puts: [{ key: 'b', value: 2 }], deletes: ['c'] });
    await store.close();
    store = await open();
    await mustCommit(store, { puts: [{ key: 'd', value: 3 }] });
    const after = await followChanges(store, view, { mayForget: true });
    expectExact(
      new Map([...after.records].map(([key, record]) => [key, record.value])),
      new Map([
        ['a', 1],
        ['b', 2],
        ['d', 3],
      ]),
    );
  });

  testLaw(fixture, 'changes/no-gap', 'a deletion is yielded or owned up to after reopening, never passed over', async ({ open }) => {
    let store = await open();
    const cursor = await mustCommit(store, {
      puts: [
        { key: 'a', value: 1 },
        { key: 'b', value: 1 },
      ],
    });
    await mustCommit(store, { deletes: ['a'] });
    for (let round = 0; round < 3; round++) {
      await store.close();
      store = await open();
      const stale = { cursor, records: (await followChanges(store, EMPTY_VIEW, { mayForget: false })).records };
      const holder = new Map(stale.records).set('a', { key: 'a', value: 1, revision: cursor, at: 0 });
      const after = await followChanges(store, { cursor, records: holder }, { mayForget: true });
      expectExact([...after.records.keys()], ['b'], `what a reader holds after ${round + 1} times`);
      await mustCommit(store, { puts: [{ key: 'b', value: round }] });
    }
  });
}
