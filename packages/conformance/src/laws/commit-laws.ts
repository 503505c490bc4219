import { expect } from 'chai';
import { expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { readChanges } from '../follow-changes.js';
import { mustCommit, mustConflict, testLaw } from '../law-test.js';

/** What a commit does when it succeeds: all of it, once, at one new revision. */
export function testCommitLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'commit/all-or-nothing', 'puts and deletes of one commit stand at one revision', async ({ open }) => {
    const store = await open();
    await mustCommit(store, { puts: [{ key: 'old', value: 1 }] });
    const revision = await mustCommit(store, {
      puts: [
        { key: 'a', value: 'A' },
        { key: 'b', value: { deep: [1, 2] } },
      ],
      deletes: ['old'],
    });
    const [a, b, old] = await store.read(['a', 'b', 'old']);
    expectRecord(a, { key: 'a', value: 'A', revision });
    expectRecord(b, { key: 'b', value: { deep: [1, 2] }, revision });
    expect(old).to.equal(undefined);
  });

  testLaw(fixture, 'commit/all-or-nothing', 'a reader on another handle never sees half of a commit', async ({ open }) => {
    const [writer, reader] = [await open(), await open()];
    const keys = ['left', 'middle', 'right'];
    const put = (value: number) => mustCommit(writer, { puts: keys.map((key) => ({ key, value })) });
    await put(0);
    let isWriting = true;
    const writing = (async () => {
      for (let value = 1; value <= 60; value++) await put(value);
    })().finally(() => {
      isWriting = false;
    });
    try {
      for (let round = 0; isWriting || round < 3; round++) {
        // A store may answer without ever waiting: the writer must get its turn all the same.
        await new Promise(setImmediate);
        const records = await reader.read(keys);
        expect(new Set(records.map((record) => record?.value)).size, 'values of one read').to.equal(1);
        expect(new Set(records.map((record) => record?.revision)).size, 'revisions of one read').to.equal(1);
      }
    } finally {
      await writing;
    }
    expectExact((await reader.read(['right']))[0]?.value, 60);
  });

  testLaw(fixture, 'commit/all-or-nothing', 'a read of 2,700 keys never sees half of a commit of 900', async ({ open }) => {
    const [writer, reader] = [await open(), await open()];
    const written = Array.from({ length: 900 }, (_, index) => `key-${index}`);
    const absent = Array.from({ length: 1_800 }, (_, index) => `none-${index}`);
    // Its first and last keys stand apart: a store that reads or writes so many in several steps shows it.
    const keys = [...written.slice(0, 450), ...absent, ...written.slice(450)];
    const put = (value: number) => mustCommit(writer, { puts: written.map((key) => ({ key, value })) });
    await put(0);
    let isWriting = true;
    const writing = (async () => {
      for (let value = 1; value <= 8; value++) {
        // Nor may the writer be done before the reader had its turn.
        await new Promise(setImmediate);
        await put(value);
      }
    })().finally(() => {
      isWriting = false;
    });
    try {
      for (let round = 0; isWriting || round < 3; round++) {
        await new Promise(setImmediate);
        const records = (await reader.read(keys)).filter((record) => record !== undefined);
        expect(records.length, 'records of one read').to.equal(900);
        expect(new Set(records.map(({ value }) => value)).size, 'values of one read').to.equal(1);
        expect(new Set(records.map(({ revision }) => revision)).size, 'revisions of one read').to.equal(1);
      }
    } finally {
      await writing;
    }
  });

  testLaw(fixture, 'commit/all-or-nothing', 'one failed check among many holds back every write', async ({ open }) => {
    const store = await open();
    const revision = await mustCommit(store, { puts: [{ key: 'kept', value: 1 }] });
    await mustConflict(store, {
      checks: [
        { key: 'kept', revision },
        { key: 'kept-too', revision: 7 },
      ],
      puts: [{ key: 'new', value: 1 }],
      deletes: ['kept'],
    });
    expect((await store.read(['kept', 'new'])).map((record) => record?.revision)).to.deep.equal([revision, undefined]);
  });

  testLaw(fixture, 'commit/check-now', 'absent, present and stale are told apart', async ({ open }) => {
    const store = await open();
    const first = await mustCommit(store, { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 1 }] });
    await mustConflict(store, { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 2 }] });
    const second = await mustCommit(store, { checks: [{ key: 'a', revision: first }], puts: [{ key: 'a', value: 3 }] });
    await mustConflict(store, { checks: [{ key: 'a', revision: first }], puts: [{ key: 'a', value: 4 }] });
    await mustConflict(store, { checks: [{ key: 'a', revision: second + 1 }], puts: [{ key: 'a', value: 5 }] });
    const deleted = await mustCommit(store, { checks: [{ key: 'a', revision: second }], deletes: ['a'] });
    // A deleted key is absent: neither its last revision nor that of its deletion stands.
    await mustConflict(store, { checks: [{ key: 'a', revision: second }], puts: [{ key: 'a', value: 6 }] });
    await mustConflict(store, { checks: [{ key: 'a', revision: deleted }], puts: [{ key: 'a', value: 7 }] });
    const third = await mustCommit(store, { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 8 }] });
    expectRecord((await store.read(['a']))[0], { key: 'a', value: 8, revision: third });
  });

  testLaw(fixture, 'commit/check-now', 'a check may guard a key that the commit does not write', async ({ open }) => {
    const store = await open();
    const guard = await mustCommit(store, { puts: [{ key: 'guard', value: true }] });
    await mustCommit(store, { checks: [{ key: 'guard', revision: guard }], puts: [{ key: 'a', value: 1 }] });
    expect((await store.read(['guard']))[0]?.revision, 'a check alone moves nothing').to.equal(guard);
    await mustCommit(store, { deletes: ['guard'] });
    await mustConflict(store, { checks: [{ key: 'guard', revision: guard }], puts: [{ key: 'a', value: 2 }] });
    await mustCommit(store, { checks: [{ key: 'guard', revision: 0 }], deletes: ['a'] });
  });

  testLaw(fixture, 'commit/check-now', 'the checks are those that were given, though they are used again at once', async ({ open }) => {
    const store = await open();
    const revision = await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    const checks = [{ key: 'a', revision: 0 }];
    const committing = store.commit({ checks, puts: [{ key: 'a', value: 2 }] });
    checks[0]!.revision = revision;
    expect((await committing).ok).to.equal(false);
    expectRecord((await store.read(['a']))[0], { key: 'a', value: 1, revision });
  });

  testLaw(fixture, 'commit/check-now', 'of commits sent together through two handles, one wins each key', async ({ open }) => {
    const handles = [await open(), await open()];
    for (let round = 0; round < 10; round++) {
      const key = `claim-${round}`;
      const rivals = [0, 1, 2, 3, 4, 5, 6, 7];
      const results = await Promise.all(
        rivals.map((rival) => handles[rival % 2]!.commit({ checks: [{ key, revision: 0 }], puts: [{ key, value: rival }] })),
      );
      const winners = rivals.filter((rival) => results[rival]!.ok);
      expect(winners.length, `winners of ${key}`).to.equal(1);
      expectExact((await handles[0]!.read([key]))[0]?.value, winners[0]);
    }
  });

  testLaw(fixture, 'commit/check-now', 'of two commits of which each writes what the other only checks, one is made', async ({ open }) => {
    const [one, two] = [await open(), await open()];
    for (let round = 0; round < 10; round++) {
      const [left, right] = [`left-${round}`, `right-${round}`];
      // Both read what stood before, and write different keys: a transaction that guards only what it writes would let both through.
      const results = await Promise.all([
        one.commit({ checks: [{ key: left, revision: 0 }], puts: [{ key: right, value: 1 }] }),
        two.commit({ checks: [{ key: right, revision: 0 }], puts: [{ key: left, value: 2 }] }),
      ]);
      expect(results.filter(({ ok }) => ok).length, 'commits that were made').to.equal(1);
    }
  });

  testLaw(fixture, 'commit/check-now', 'commits sent together are judged one after another, each with its own answer', async ({ open }) => {
    const store = await open();
    const revision = await mustCommit(store, { puts: [{ key: 'a', value: 0 }] });
    const results = await Promise.all([
      store.commit({ checks: [{ key: 'a', revision }], puts: [{ key: 'a', value: 1 }] }),
      store.commit({ checks: [{ key: 'a', revision }], puts: [{ key: 'a', value: 2 }] }),
      store.commit({ puts: [{ key: 'b', value: 3 }] }),
      store.commit({ checks: [{ key: 'c', revision: 9 }], puts: [{ key: 'c', value: 4 }] }),
    ]);
    expect(results.filter((result) => result.ok).length, 'one of the first two, and the third').to.equal(2);
    expect(results[2]!.ok && !results[3]!.ok, 'a neighbour changes no answer').to.equal(true);
  });

  testLaw(fixture, 'commit/one-revision', 'revisions are positive, only grow, and no two commits share one', async ({ open }) => {
    const handles = [await open(), await open()];
    let last = 0;
    for (let count = 0; count < 30; count++) {
      const handle = handles[count % 2]!;
      const key = `key-${count % 4}`;
      const revision = await mustCommit(handle, count % 5 === 4 ? { deletes: [key] } : { puts: [{ key, value: count }] });
      expect(revision).to.satisfy(Number.isSafeInteger).and.to.be.greaterThan(last);
      last = revision;
    }
    const together = await Promise.all(
      Array.from({ length: 20 }, (_, count) => mustCommit(handles[count % 2]!, { puts: [{ key: `together-${count}`, value: count }] })),
    );
    expect(new Set(together).size, 'revisions of commits sent together').to.equal(20);
    expect(Math.min(...together)).to.be.greaterThan(last);
  });

  testLaw(fixture, 'commit/one-revision', 'a deletion has a revision of its own, and what follows it a larger one', async ({ open }) => {
    const store = await open();
    const put = await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    const deleted = await mustCommit(store, { deletes: ['a'] });
    const deletedAgain = await mustCommit(store, { deletes: ['a', 'never-there'] });
    const putAgain = await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    expect(deleted).to.be.greaterThan(put);
    expect(deletedAgain).to.be.greaterThan(deleted);
    expect(putAgain).to.be.greaterThan(deletedAgain);
  });

  testLaw(fixture, 'commit/three-answers', 'what was answered yes was done once: it stands at the answered revision', async ({ open }) => {
    const store = await open();
    for (let count = 0; count < 10; count++) {
      const { revision: before = 0 } = (await store.read(['counter']))[0] ?? {};
      const commit = { checks: [{ key: 'counter', revision: before }], puts: [{ key: 'counter', value: count }] };
      const revision = await mustCommit(store, commit);
      expectRecord((await store.read(['counter']))[0], { key: 'counter', value: count, revision });
      const changes = await readChanges(store, before);
      expect(
        changes.map((change) => change.revision),
        'one commit, one change',
      ).to.deep.equal([revision]);
    }
  });

  testLaw(fixture, 'commit/three-answers', 'what was answered no was not done, and is not done later', async ({ open }) => {
    const store = await open();
    const revision = await mustCommit(store, { puts: [{ key: 'a', value: 'first' }] });
    const commit = { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 'late' }] };
    await Promise.all([mustConflict(store, commit), mustConflict(store, commit)]);
    await mustCommit(store, { checks: [{ key: 'a', revision }], deletes: ['a'] });
    // Were a refused commit tried again behind the caller's back, its check would hold now.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await store.read(['a']))[0]).to.equal(undefined);
  });

  testLaw(
    fixture,
    'commit/acked-survives',
    'a commit of either durability is there, for every handle, once it resolved',
    async ({ open }) => {
      const [store, other] = [await open(), await open()];
      for (const durability of ['synced', 'written'] as const) {
        const revision = await mustCommit(store, { puts: [{ key: durability, value: durability }], durability });
        expectRecord((await store.read([durability]))[0], { key: durability, value: durability, revision });
        expectRecord((await other.read([durability]))[0], { key: durability, value: durability, revision });
      }
    },
  );
}
