/**
 * Proves how commits are grouped, answered and, when SQLite fails under them, told the truth. A real database, behind a connection
 * that fails where a test wants it to; what it was asked is counted.
 */
import { join } from 'node:path';
import {
  applyCommit,
  type Commit,
  type CommitResult,
  checkCommit,
  createMemoryStore,
  type MemoryState,
  type StateRecord,
} from '@loopstate/core';
import { expect } from 'chai';
import { seeded, seedFromEnvironment } from '../../../test/support/seeded.js';
import type { SqlConnection } from '../src/connection.js';
import { Database } from '../src/database.js';
import { StoreNames } from '../src/names.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { openForWriting, USUAL } from '../src/opening.js';
import { TABLE } from '../src/records.js';
import { codeOf, findingsOf, put, recordsOf, withDirectory } from './stores.js';

interface Watched {
  readonly database: Database;
  /** The first word of every statement, in order. */
  readonly asked: string[];
  /** How many rows every statement gave. */
  readonly answered: number[];
  /** From now on statements that begin with `start` fail with `code`: before they run, or (`late`) after. */
  fail(start: string, code: string, options?: { late?: boolean; times?: number }): void;
  commit(commit: Commit): Promise<CommitResult>;
}

/** Runs with one database of its own, open through a connection that can be made to fail. */
async function withDatabase(run: (watched: Watched, path: string) => Promise<void>, { deletionsKept = 1_000 } = {}): Promise<void> {
  await withDirectory(async (directory) => {
    const names = new StoreNames(join(directory, 'state.db'));
    const surroundings = { ...USUAL, job: 'default', busyTimeoutMs: 100 };
    const open = await openForWriting(names, surroundings);
    const [asked, answered]: [string[], number[]] = [[], []];
    let failure: { start: string; code: string; late: boolean; times: number } | undefined;
    const connection: SqlConnection = {
      ...open.connection,
      async query(sql, parameters) {
        asked.push(/^\s*(\w+)/.exec(sql)?.[1] ?? '');
        const isFailing = failure !== undefined && failure.times > 0 && sql.startsWith(failure.start);
        const rows = isFailing && failure?.late === false ? [] : await open.connection.query(sql, parameters);
        answered.push(rows.length);
        if (!isFailing || failure === undefined) return rows;
        failure.times--;
        throw Object.assign(new Error(`${failure.code}: as the test wants it`), { code: failure.code });
      },
    };
    const database = new Database({
      ...surroundings,
      path: names.database,
      connection,
      deletionsKept,
      random: () => 0,
      checkpoints: undefined,
      beforeReading: async () => undefined,
      beforeWriting: async () => undefined,
      onCommitted: () => undefined,
    });
    const watched: Watched = {
      database,
      asked,
      answered,
      fail(start, code, { late = false, times = Number.POSITIVE_INFINITY } = {}) {
        failure = { start, code, late, times };
      },
      commit: (commit) => database.commit(checkCommit(commit)),
    };
    try {
      await run(watched, names.database);
    } finally {
      await database.settle();
      await open.close();
    }
  });
}

const putting = (key: string, revision?: number): Commit => ({
  ...(revision === undefined ? {} : { checks: [{ key, revision }] }),
  puts: [{ key, value: key }],
});

describe('sqlite: commits', () => {
  it('64 at once are one statement, and each has its own revision', () =>
    withDatabase(async ({ commit, asked }) => {
      const results = await Promise.all(Array.from({ length: 64 }, (_, index) => commit(putting(`item/${index}`, 0))));
      expect(asked).to.deep.equal(['INSERT']);
      const revisions = results.map((result) => (result.ok ? result.revision : 0));
      expect(revisions).to.deep.equal(Array.from({ length: 64 }, (_, index) => revisions[0]! + index));
    }));

  it('once-recorded, commit/check-now: whoever commits in between, each commit has the next revision and is judged by what stands', () =>
    withDatabase(async ({ database }, path) => {
      const other = await openSqliteBackend(path);
      const theirs = await openSqliteBackend(`sqlite:${path}?job=theirs`);
      const here = (commit: Commit): Promise<CommitResult> => database.commit(checkCommit(commit));
      const standing = new Map<string, number>();
      let [last, ours] = [0, 0];
      const next = (result: CommitResult): void => {
        expect(result).to.deep.equal({ ok: true, revision: ++last });
      };
      const step: Record<string, (key: string, n: number) => Promise<void>> = {
        /** One commit here. */
        async h(key) {
          next(await here({ checks: [{ key, revision: standing.get(key) ?? 0 }], puts: [{ key, value: last }] }));
          standing.set(key, last);
        },
        /** A deletion here. */
        async d(key) {
          next(await here({ checks: [{ key, revision: standing.get(key) ?? 0 }], deletes: [key] }));
          standing.delete(key);
        },
        /** One here whose check does not hold. */
        async w(key) {
          const checks = [{ key, revision: (standing.get(key) ?? 0) + 1 }];
          expect((await here({ checks, puts: [{ key, value: 'wrong' }] })).ok, `${key} after ${last}`).to.equal(false);
        },
        /** A group of more writes than a short statement takes. */
        async g(_, n) {
          const puts = (part: number) => [part, -part].map((at) => ({ key: `g${n}/${at}`, value: n }));
          for (const result of await Promise.all([1, 2, 3].map((part) => here({ puts: puts(part) })))) next(result);
          ours += 6;
        },
        /** One by another handle. */
        async o(key) {
          next(await other.commit({ puts: [{ key, value: last }] }));
          standing.set(key, last);
        },
        /** One of another job. */
        async t(key) {
          next(await theirs.commit({ puts: [{ key, value: last }] }));
        },
      };
      const alone = 'h'.repeat(9);
      const groups = 'g'.repeat(9);
      for (const [n, letter] of [...`${alone}o${alone}w${alone}t${alone}d${alone}o${groups}o${groups}hw${groups}ododwgtgohd`].entries())
        await step[letter]?.(`k${n % 5}`, n);
      const records = await recordsOf(other);
      for (const [key, revision] of standing) expect(records.get(key)?.revision, key).to.equal(revision);
      expect(records.size).to.equal(standing.size + ours);
      await other.close();
      await theirs.close();
    }));

  it('asks for no row when nobody has committed in between', () =>
    withDatabase(async ({ commit, answered }) => {
      for (const key of 'abcdefghi') await commit(putting(key, 0));
      await Promise.all([...'jkl'].map((key) => commit(putting(key, 0))));
      expect(answered).to.deep.equal([...Array.from({ length: 8 }, () => 1), 0, 0]);
    }));

  it('one whose check fails costs the others of its group nothing but a transaction', () =>
    withDatabase(async ({ commit, asked }) => {
      await commit(putting('taken'));
      asked.length = 0;
      const results = await Promise.all([commit(putting('a', 0)), commit(putting('taken', 0)), commit(putting('b', 0))]);
      expect(results.map(({ ok }) => ok)).to.deep.equal([true, false, true]);
      expect(asked).to.deep.equal(['INSERT', 'BEGIN', 'SELECT', 'SELECT', 'INSERT', 'COMMIT']);
    }));

  it('a group that is refused as a whole writes nothing', () =>
    withDatabase(async ({ commit, asked, database }) => {
      await commit(putting('taken'));
      const before = (await database.page(0, 'all')).last;
      asked.length = 0;
      await Promise.all([commit(putting('taken', 0)), commit(putting('taken', 0))]);
      expect(asked).to.deep.equal(['BEGIN', 'SELECT', 'SELECT', 'ROLLBACK']);
      expect((await database.page(0, 'all')).last).to.equal(before);
    }));

  it('groups that depend on themselves are answered as the contract says, commit by commit', () =>
    withDatabase(async ({ commit, database }) => {
      const seed = seedFromEnvironment();
      console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
      const random = seeded(seed);
      const pick = (count: number) => Math.floor(random() * count);
      let model: MemoryState = createMemoryStore().state;
      const keys = ['a', 'b', 'c\0d', 'c\u0001d', 'e'];
      for (let round = 0; round < 150; round++) {
        const standing = await database.read(keys);
        const commits = Array.from({ length: 1 + pick(6) }, (): Commit => {
          const key = keys[pick(keys.length)]!;
          const checked = pick(keys.length);
          const checks = pick(3) === 0 ? [] : [{ key: keys[checked]!, revision: pick(4) === 0 ? 0 : (standing[checked]?.revision ?? 0) }];
          return pick(4) === 0 ? { checks, deletes: [key] } : { checks, puts: [{ key, value: round }] };
        });
        const results = await Promise.all(commits.map(commit));
        const expected = commits.map((each) => {
          const applied = applyCommit(model, checkCommit(each), 0);
          model = applied.state;
          return applied.result;
        });
        expect(results.map(withoutTime), `round ${round}`).to.deep.equal(expected.map(withoutTime));
      }
    }));

  it('a read sees nothing of a group that is still on its way', () =>
    withDatabase(async ({ commit, database }) => {
      await commit(putting('taken'));
      const reads: Promise<(StateRecord | undefined)[]>[] = [];
      const commits = [commit({ puts: ['left', 'right'].map((key) => ({ key, value: 1 })) }), commit(putting('taken', 0))];
      for (let count = 0; count < 20; count++) {
        reads.push(database.read(['left', 'right']));
        await new Promise(setImmediate);
      }
      await Promise.all(commits);
      for (const [left, right] of await Promise.all(reads)) expect(left === undefined).to.equal(right === undefined);
    }));

  it('commit/all-or-nothing: a read sees nothing of a group that is rolled back in the end', () =>
    withDatabase(async ({ commit, fail, database }) => {
      await commit(putting('taken'));
      fail('COMMIT', 'SQLITE_IOERR');
      let isOver = false;
      // A check that fails sends the group into a transaction.
      const group = Promise.allSettled([commit(putting('a', 0)), commit(putting('taken', 0))]).finally(() => {
        isOver = true;
      });
      const reads: Promise<(StateRecord | undefined)[]>[] = [];
      while (!isOver) {
        reads.push(database.read(['a']));
        await new Promise(setImmediate);
      }
      expect((await group).map(({ status }) => status)).to.deep.equal(['rejected', 'rejected']);
      for (const records of await Promise.all(reads)) expect(records).to.deep.equal([undefined]);
    }));

  const failures: Record<string, { start: string; code: string; late?: boolean; refused?: boolean; expected: string }> = {
    'a full disk': { start: 'INSERT', code: 'SQLITE_FULL', expected: 'LOOPSTATE_UNAVAILABLE' },
    'a file that may not be written': { start: 'INSERT', code: 'SQLITE_READONLY', expected: 'LOOPSTATE_UNAVAILABLE' },
    'an error of the disk': { start: 'INSERT', code: 'SQLITE_IOERR', expected: 'LOOPSTATE_OUTCOME_UNKNOWN' },
    'an error of the disk after it was written': {
      start: 'INSERT',
      code: 'SQLITE_IOERR',
      late: true,
      expected: 'LOOPSTATE_OUTCOME_UNKNOWN',
    },
    'a lock that is never free': { start: 'INSERT', code: 'SQLITE_BUSY', expected: 'LOOPSTATE_UNAVAILABLE' },
    'a damaged page': { start: 'INSERT', code: 'SQLITE_CORRUPT', expected: 'LOOPSTATE_UNAVAILABLE' },
    'a BEGIN that never gets the lock': { start: 'BEGIN', code: 'SQLITE_BUSY', refused: true, expected: 'LOOPSTATE_UNAVAILABLE' },
    'a COMMIT that fails': { start: 'COMMIT', code: 'SQLITE_IOERR', refused: true, expected: 'LOOPSTATE_OUTCOME_UNKNOWN' },
    'a COMMIT whose answer is lost': {
      start: 'COMMIT',
      code: 'SQLITE_IOERR',
      late: true,
      refused: true,
      expected: 'LOOPSTATE_OUTCOME_UNKNOWN',
    },
  };
  for (const [name, { start, code, late = false, refused = false, expected }] of Object.entries(failures)) {
    it(`${name}: the whole group is told ${expected}, and the next goes on`, () =>
      withDatabase(async ({ commit, fail, database }) => {
        await commit(putting('taken'));
        fail(start, code, { late });
        // A check that fails sends the group into a transaction.
        const group = [commit(putting('a', 0)), commit(refused ? putting('taken', 0) : putting('b', 0))];
        for (const outcome of group) expect(await codeOf(outcome)).to.equal(expected);
        fail(start, code, { times: 0 });
        const [a] = await database.read(['a']);
        expect(a === undefined, 'without effect').to.equal(!late);
        // The same conditional commit again: at most one of the two applies.
        expect((await commit(putting('a', 0))).ok).to.equal(!late);
        expect((await commit(putting('c', 0))).ok).to.equal(true);
      }));
  }

  it('sweeps all but the newest deletions, and says from where they are unknown', () =>
    withDirectory(async (directory) => {
      const store = await openSqliteBackend(join(directory, 'state.db'), { deletionsKept: 20 });
      const first = await put(store, Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`item/${index}`, index])));
      await put(store, { stays: 1 });
      for (let index = 0; index < 100; index++) await store.commit({ deletes: [`item/${index}`] });
      const last = await put(store, { stays: 2 });
      const since = async (revision: number) => {
        const keys: string[] = [];
        for await (const { key } of store.changes(revision)) keys.push(key);
        return keys;
      };
      expect(await codeOf(since(first))).to.equal('LOOPSTATE_HISTORY_GONE');
      expect(await since(0)).to.deep.equal(['stays']);
      expect(await since(last - 11)).to.deep.equal([...Array.from({ length: 10 }, (_, index) => `item/${index + 90}`), 'stays']);
      expect([...(await recordsOf(store)).keys()]).to.deep.equal(['stays']);
      await store.close();
      const again = await openSqliteBackend(join(directory, 'state.db'));
      expect(await put(again, { next: 1 })).to.equal(last + 1);
      await again.close();
    }));

  it('flat-cost: many that delete little each sweep together as often as one that deletes as much', () =>
    withDatabase(async ({ database: first, commit }) => {
      await commit(putting('stays'));
      await first.exclusively(async (connection) => {
        for (let turn = 0; turn < 40; turn++) {
          const parts = { ...USUAL, path: 'state.db', connection, job: 'default', deletionsKept: 20, checkpoints: undefined };
          const ready = async (): Promise<void> => undefined;
          const random = () => (turn % 10) / 10;
          const database = new Database({ ...parts, random, beforeReading: ready, beforeWriting: ready, onCommitted: () => undefined });
          await database.commit(checkCommit({ puts: ['a', 'b'].map((name) => ({ key: `${name}/${turn}`, value: 1 })) }));
          await database.commit(checkCommit({ deletes: [`a/${turn}`, `b/${turn}`] }));
          await database.settle();
        }
        const [row] = await connection.query(`SELECT count(*) AS deletions FROM ${TABLE} WHERE value IS NULL`);
        expect(row?.deletions).to.be.within(20, 40);
      });
    }));

  it('a last commit that deletes keeps its revision through sweeping and reopening', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const store = await openSqliteBackend(path, { deletionsKept: 0 });
      await put(store, { gone: 1 });
      const result = await store.commit({ deletes: ['gone'] });
      await store.close();
      const again = await openSqliteBackend(path);
      expect(findingsOf(again)).to.deep.equal([]);
      expect(await put(again, { next: 1 })).to.be.greaterThan(result.ok ? result.revision : Number.NaN);
      await again.close();
    }));
});

function withoutTime(result: CommitResult): unknown {
  if (result.ok) return result;
  return { ok: false, conflicts: result.conflicts.map(({ key, record }) => ({ key, record: record && { ...record, at: 0 } })) };
}
