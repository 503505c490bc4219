import { type Commit, type CommitResult, checkCommit, decodeValue, isLoopStateError, LIMITS, type MemoryState } from '@loopstate/core';
import { aMoment, type Canary, onConflict } from './canary.js';

/** Backends that commit in a way that is almost right. */
export const commitCanaries: readonly Canary[] = [
  {
    name: 'writes the keys of a commit one after another',
    breaks: 'commit/all-or-nothing',
    replace: (inner) => ({
      async commit({ puts = [], deletes = [], ...rest }) {
        const steps: Commit[] = [...puts.map((put) => ({ puts: [put] })), ...deletes.map((key) => ({ deletes: [key] }))];
        let result = await inner.commit({ ...rest, ...(steps[0] ?? {}) });
        for (const step of result.ok ? steps.slice(1) : []) {
          await aMoment();
          result = await inner.commit(step);
        }
        return result;
      },
    }),
  },
  {
    name: 'writes a hundred keys at a time, all at one revision',
    breaks: 'commit/all-or-nothing',
    replace: (inner, store) => ({
      async commit(commit) {
        const { checks = [], puts = [], deletes = [] } = commit;
        if (puts.length <= 100 || checks.length + puts.length + deletes.length > LIMITS.commitKeys) return inner.commit(commit);
        const given = structuredClone(puts);
        const result = await inner.commit({ ...commit, puts: given.slice(0, 100) });
        for (let from = 100; result.ok && from < given.length; from += 100) {
          await aMoment();
          store.state = { ...store.state, revision: result.revision - 1 };
          await inner.commit({ puts: given.slice(from, from + 100) });
        }
        return result;
      },
    }),
  },
  {
    name: 'writes what no failed check concerns',
    breaks: 'commit/all-or-nothing',
    replace: onConflict(async (inner, conflicts, { puts = [] }) => {
      const unconcerned = puts.filter((put) => !conflicts.some((conflict) => conflict.key === put.key));
      if (unconcerned.length > 0) await inner.commit({ puts: unconcerned });
      return { ok: false, conflicts };
    }),
  },
  {
    name: 'judges the checks, and writes a moment later',
    breaks: 'commit/check-now',
    replace: (inner) => ({
      async commit(commit) {
        const checks = commit.checks ?? [];
        const records = await inner.read(checks.map((check) => check.key));
        const conflicts = checks.flatMap(({ key, revision }, index) => {
          const record = records[index];
          if ((record?.revision ?? 0) === revision) return [];
          return [record === undefined ? { key } : { key, record }];
        });
        if (conflicts.length > 0) return { ok: false, conflicts };
        await aMoment();
        return inner.commit({ ...commit, checks: [] });
      },
    }),
  },
  {
    name: 'guards only what it writes, as transactions on a snapshot do',
    breaks: 'commit/check-now',
    replace: (inner) => ({
      async commit(commit) {
        const { checks, puts, deletes } = checkCommit(commit);
        const written = new Set([...puts.map(({ key }) => key), ...deletes]);
        const guards = checks.filter(({ key }) => !written.has(key));
        if (guards.length === 0) return inner.commit(commit);
        const values = puts.map(({ key, text }) => ({ key, value: decodeValue(text) }));
        const records = await inner.read(guards.map(({ key }) => key));
        if (guards.some(({ revision }, index) => (records[index]?.revision ?? 0) !== revision))
          return inner.commit({ checks, puts: values, deletes });
        await aMoment();
        return inner.commit({ checks: checks.filter(({ key }) => written.has(key)), puts: values, deletes });
      },
    }),
  },
  {
    name: 'looks at the checks that were given a moment later',
    breaks: 'commit/check-now',
    replace: (inner) => ({
      async commit(commit) {
        const { puts, deletes } = checkCommit(commit);
        await aMoment();
        return await inner.commit({ ...commit, puts: puts.map(({ key, text }) => ({ key, value: decodeValue(text) })), deletes });
      },
    }),
  },
  {
    name: 'copies the list of checks, and not the checks',
    breaks: 'commit/check-now',
    replace: (inner) => ({
      async commit(commit) {
        const { puts, deletes } = checkCommit(commit);
        const checks = [...(commit.checks ?? [])];
        await undefined;
        return await inner.commit({ ...commit, checks, puts: puts.map(({ key, text }) => ({ key, value: decodeValue(text) })), deletes });
      },
    }),
  },
  {
    name: 'takes the revision of a deletion for that of a record',
    breaks: 'commit/check-now',
    replace: (inner, store) => ({
      commit(commit) {
        const checks = (commit.checks ?? []).map((check) => {
          const entry = store.state.entries.get(check.key);
          return entry !== undefined && entry.text === undefined && entry.revision === check.revision ? { ...check, revision: 0 } : check;
        });
        return inner.commit({ ...commit, checks });
      },
    }),
  },
  {
    name: 'throws when a check fails',
    breaks: 'commit/conflict-is-a-value',
    replace: onConflict(async () => {
      throw new Error('Conflict!');
    }),
  },
  {
    name: 'names the first conflict only',
    breaks: 'commit/conflict-is-a-value',
    replace: onConflict(async (_, conflicts) => ({ ok: false, conflicts: conflicts.slice(0, 1) })),
  },
  {
    name: 'names conflicts without their records',
    breaks: 'commit/conflict-is-a-value',
    replace: onConflict(async (_, conflicts) => ({ ok: false, conflicts: conflicts.map(({ key }) => ({ key })) })),
  },
  {
    name: 'gives what stood in the way of a commit a new revision',
    breaks: 'commit/conflict-is-a-value',
    replace: onConflict(async (inner, conflicts) => {
      const puts = conflicts.flatMap(({ key, record }) => (record === undefined ? [] : [{ key, value: record.value }]));
      if (puts.length > 0) await inner.commit({ puts });
      return { ok: false, conflicts };
    }),
  },
  {
    name: 'derives the next revision from the records that are left',
    breaks: 'commit/one-revision',
    replace: (inner, store) => ({
      commit(commit) {
        const revisions = [...store.state.entries.values()].filter(({ text }) => text !== undefined).map(({ revision }) => revision);
        store.state = { ...store.state, revision: revisions.reduce((one, other) => Math.max(one, other), 0) };
        return inner.commit(commit);
      },
    }),
  },
  {
    name: 'forgets the last commit when it is closed',
    breaks: 'commit/acked-survives',
    replace: (inner, store) => {
      let before: MemoryState | undefined;
      return {
        async commit(commit) {
          const state = { ...store.state, entries: new Map(store.state.entries) };
          const result = await inner.commit(commit);
          if (result.ok) before = { ...state, revision: store.state.revision };
          return result;
        },
        async close() {
          if (before !== undefined) store.state = before;
          before = undefined;
          await inner.close();
        },
      };
    },
  },
  {
    name: 'sends a commit twice, as a driver does that retries',
    breaks: 'commit/three-answers',
    replace: (inner) => ({
      async commit(commit) {
        await inner.commit(commit);
        return inner.commit(commit);
      },
    }),
  },
  {
    name: 'answers with the first of two identical commits',
    breaks: 'commit/three-answers',
    replace: (inner) => ({
      async commit(commit) {
        const result = await inner.commit(commit);
        if (result.ok) await inner.commit({ ...commit, checks: [] });
        return result;
      },
    }),
  },
  {
    name: 'tries a refused commit again later',
    breaks: 'commit/three-answers',
    replace: onConflict(async (inner, conflicts, commit) => {
      setTimeout(() => inner.commit(commit).catch(() => {}), 3);
      return { ok: false, conflicts };
    }),
  },
  {
    name: 'accepts a commit of any shape',
    breaks: 'commit/shape',
    replace: (inner, store) => ({
      commit: (commit) =>
        inner.commit(commit).catch((error: unknown): CommitResult => {
          if (!isLoopStateError(error, 'LOOPSTATE_BAD_COMMIT')) throw error;
          return { ok: true, revision: store.state.revision };
        }),
    }),
  },
  {
    name: 'writes what comes before a mistake',
    breaks: 'commit/shape',
    replace: (inner) => ({
      commit: (commit) =>
        inner.commit(commit).catch(async (error: unknown) => {
          const [first] = commit.puts ?? [];
          if (isLoopStateError(error, 'LOOPSTATE_BAD_COMMIT') && first !== undefined) await inner.commit({ puts: [first] });
          throw error;
        }),
    }),
  },
];
