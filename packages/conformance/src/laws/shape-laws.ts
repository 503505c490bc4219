import { type Commit, LIMITS } from '@loopstate/core';
import { expect } from 'chai';
import { expectCode, expectExact } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { readChanges } from '../follow-changes.js';
import { mustCommit, testLaw } from '../law-test.js';

/** What a commit may look like, and that an ill-shaped one is refused before anything happens. */
export function testShapeLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'commit/shape', 'a put needs no check, and replaces what was there', async ({ open }) => {
    const store = await open();
    await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    await mustCommit(store, { puts: [{ key: 'a', value: 2 }], checks: [], deletes: [] });
    await mustCommit(store, { deletes: ['b'] });
    expectExact(
      (await store.read(['a', 'b'])).map((record) => record?.value),
      [2, undefined],
    );
  });

  testLaw(fixture, 'commit/shape', `${LIMITS.commitKeys} keys are one commit`, async ({ open }) => {
    const store = await open();
    const keys = numbered(LIMITS.commitKeys);
    const revision = await mustCommit(store, {
      checks: keys.map((key) => ({ key, revision: 0 })),
      puts: keys.map((key) => ({ key, value: key })),
    });
    const records = await store.read(keys);
    expect(records.every((record, index) => record?.revision === revision && record.value === keys[index])).to.equal(true);
    // Puts, deletes and keys that are only checked count alike.
    await mustCommit(store, {
      checks: keys.slice(0, 300).map((key) => ({ key, revision })),
      puts: keys.slice(300, 600).map((key) => ({ key, value: null })),
      deletes: keys.slice(600),
    });
    expect((await readChanges(store, 0)).filter((change) => change.record !== undefined).length).to.equal(600);
  });

  const tooMany = numbered(LIMITS.commitKeys + 1);
  const refused: Record<string, Commit> = {
    'that writes nothing': {},
    'of empty lists': { checks: [], puts: [], deletes: [] },
    'that only checks': { checks: [{ key: 'a', revision: 0 }] },
    'that puts a key twice': {
      puts: [
        { key: 'a', value: 1 },
        { key: 'a', value: 1 },
      ],
    },
    'that puts and deletes a key': { puts: [{ key: 'a', value: 1 }], deletes: ['a'] },
    'that deletes a key twice': { deletes: ['a', 'b', 'a'] },
    [`of ${tooMany.length} puts`]: { puts: tooMany.map((key) => ({ key, value: 1 })) },
    [`of ${tooMany.length} deletes`]: { deletes: tooMany },
    [`that names ${tooMany.length} keys in all`]: {
      checks: tooMany.slice(0, 400).map((key) => ({ key, revision: 0 })),
      puts: tooMany.slice(400, 700).map((key) => ({ key, value: 1 })),
      deletes: tooMany.slice(700),
    },
    'with a check of a negative revision': { checks: [{ key: 'a', revision: -1 }], puts: [{ key: 'a', value: 1 }] },
    'with a check of half a revision': { checks: [{ key: 'a', revision: 0.5 }], puts: [{ key: 'a', value: 1 }] },
    'with a check of no revision': { checks: [{ key: 'a', revision: Number.NaN }], puts: [{ key: 'a', value: 1 }] },
    'of an unknown durability': { puts: [{ key: 'a', value: 1 }], durability: 'hopefully' as 'synced' },
  };
  for (const [title, commit] of Object.entries(refused)) {
    testLaw(fixture, 'commit/shape', `a commit ${title} is refused and changes nothing`, async ({ open }) => {
      const store = await open();
      const revision = await mustCommit(store, { puts: [{ key: 'b', value: 'stays' }] });
      await expectCode(store.commit(commit), 'LOOPSTATE_BAD_COMMIT', `a commit ${title}`);
      expectExact(await readChanges(store, revision), []);
      expectExact((await store.read(['b']))[0]?.value, 'stays');
    });
  }

  testLaw(fixture, 'commit/shape', '8 MiB are one commit, and more are refused', async ({ open }) => {
    const store = await open();
    const puts = Array.from({ length: 8 }, (_, index) => ({ key: `large-${index}`, value: `${index}`.repeat(LIMITS.valueBytes - 2_048) }));
    const revision = await mustCommit(store, { puts });
    const fillers = Array.from({ length: 3 }, (_, index) => ({ key: `more-${index}`, value: 'x'.repeat(8_192) }));
    await expectCode(store.commit({ puts: [...puts, ...fillers] }), 'LOOPSTATE_BAD_COMMIT', 'a commit of more than 8 MiB');
    expectExact(await readChanges(store, revision), []);
    const records = await store.read(puts.map((put) => put.key));
    expect(
      records.every((record, index) => record?.value === puts[index]!.value),
      'values of 1 MiB came back',
    ).to.equal(true);
  });
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `key-${index}`);
}
