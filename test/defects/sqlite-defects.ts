import type { Defect, TestChoice } from './defect.js';

/** The tests of the package whose titles `grep` matches. */
function tests(grep: string): TestChoice {
  return { files: ['packages/sqlite/test'], grep };
}

/** What can go wrong between a commit and a database, its copy, and the other processes. */
export const sqliteDefects: readonly Defect[] = [
  {
    name: 'judges the checks before the statement that writes',
    breaks: 'commit/check-now',
    file: 'packages/sqlite/src/database.ts',
    find: 'const last = await this.#runCommit(commitStatement(job, now(), group));',
    replace: `const rows = new Map((await this.#rowsOf(group.checks.map(({ key }) => key))).map((row) => [unescapeKey(row.key), row.seq]));
      if (group.checks.some(({ key, revision }) => revisionOf(rows.get(key) ?? 0) !== revision)) return undefined;
      const last = await this.#runCommit(commitStatement(job, now(), { checks: [], writes: group.writes }));`,
    caughtBy: { files: ['test/matrix.test.ts'], grep: '^sqlite: concurrency commit/check-now: .*processes' },
  },
  {
    name: 'judges the commits of a group as if none of them came first',
    breaks: 'commit/check-now',
    file: 'packages/sqlite/src/statements.ts',
    find: '      if (writes.has(check.key)) return undefined;\n',
    replace: '',
    caughtBy: tests('depend on themselves'),
  },
  {
    name: 'syncs the write-ahead log at checkpoints only',
    breaks: 'commit/acked-survives',
    file: 'packages/sqlite/src/opening.ts',
    find: "{ name: 'store.synchronous', value: 2 }",
    replace: "{ name: 'store.synchronous', value: 1 }",
    caughtBy: tests('sets what commits rely on'),
  },
  {
    name: 'does not look whether a setting took',
    breaks: 'commit/acked-survives',
    file: 'packages/sqlite/src/opening.ts',
    find: 'if (actual === pragma.value) return;',
    replace: 'if (actual !== undefined) return;',
    caughtBy: tests('does not take'),
  },
  {
    name: 'acknowledges a group whose COMMIT failed',
    breaks: 'commit/three-answers',
    file: 'packages/sqlite/src/database.ts',
    find: '      await rollBack(connection);\n      throw commitFailed(error, path);\n    }\n  }\n\n  /** Within',
    replace: '      if (error !== undefined) return results;\n      throw commitFailed(error, path);\n    }\n  }\n\n  /** Within',
    caughtBy: tests('a COMMIT'),
  },
  {
    name: 'sends a statement again that failed and may have had its effect',
    breaks: 'commit/three-answers',
    file: 'packages/sqlite/src/database.ts',
    find: "if (hasCode(error, 'SQLITE_CONSTRAINT')) return undefined;",
    replace: "if (!hasCode(error, 'SQLITE_FULL')) return undefined;",
    caughtBy: tests('an error of the disk'),
  },
  {
    name: 'says of a commit whose outcome is unknown that it had no effect',
    breaks: 'commit/three-answers',
    file: 'packages/sqlite/src/trouble.ts',
    find: "  'SQLITE_MISUSE',\n]);\n\n/** Errors that trying",
    replace: "  'SQLITE_MISUSE',\n  'SQLITE_IOERR',\n]);\n\n/** Errors that trying",
    caughtBy: tests('an error of the disk'),
  },
  {
    name: 'reads while a group is on its way',
    breaks: 'commit/all-or-nothing',
    file: 'packages/sqlite/src/database.ts',
    find: `    return this.#inTurn(async () => {
      const records = new Map((await`,
    replace: `    return Promise.resolve().then(async () => {
      const records = new Map((await`,
    caughtBy: tests('commit/all-or-nothing'),
  },
  {
    name: 'sweeps deletions away without saying so',
    breaks: 'changes/no-gap',
    file: 'packages/sqlite/src/sweeping.ts',
    find: '      await raiseForgotten(connection, job, forgotten);\n',
    replace: '',
    caughtBy: tests('sweeps all but the newest'),
  },
  {
    name: 'sweeps the newest deletion away, and with it the last revision',
    breaks: 'commit/one-revision',
    file: 'packages/sqlite/src/sweeping.ts',
    find: 'Math.max(1, kept)',
    replace: 'kept',
    caughtBy: tests('a last commit that deletes'),
  },
  {
    name: 'gives revisions again that a lost log may have held',
    breaks: 'commit/one-revision',
    file: 'packages/sqlite/src/restoration.ts',
    find: "revisionOf(numberOf(row ?? {}, 'last')) + count;",
    replace: "revisionOf(numberOf(row ?? {}, 'last'));",
    caughtBy: tests('write-ahead log that is lost'),
  },
  {
    name: 'replaces its copy by one that it has not looked through',
    breaks: 'always-starts',
    file: 'packages/sqlite/src/backup.ts',
    find: "  await withAttached(temporary, 'store', verifyRecords);\n",
    replace: '',
    caughtBy: tests('always-starts: a copy'),
  },
  {
    name: 'judges no check sum of a record',
    breaks: 'always-starts',
    file: 'packages/sqlite/src/records.ts',
    find: 'if (sumOf(stored.job, stored.key, value) === row.sum) return stored;',
    replace: 'if (typeof row.sum === typeof sumOf(stored.job, stored.key, value)) return stored;',
    caughtBy: tests('flipped byte in a value'),
  },
  {
    name: 'takes an emptied database for a new one',
    breaks: 'always-starts',
    file: 'packages/sqlite/src/preparation.ts',
    find: "return isLeft ? fromCopy('database-emptied', false) : { do: 'nothing' };",
    replace: "return { do: 'nothing' };",
    caughtBy: tests('a database that is empty'),
  },
  {
    name: 'goes on in an older database than its copy',
    breaks: 'acked-survives',
    file: 'packages/sqlite/src/preparation.ts',
    find: "if (copy.kind === 'sound' && copy.revision > database.revision)",
    replace: "if (copy.kind === 'sound' && copy.revision > Number.MAX_VALUE)",
    caughtBy: tests('restored from an older copy'),
  },
  {
    name: 'takes the log of a lost database for that of the next one',
    breaks: 'always-starts',
    file: 'packages/sqlite/src/preparation.ts',
    find: "return isLeft ? fromCopy('database-missing', false) : { do: 'nothing' };",
    replace: "return hasCopy ? fromCopy('database-missing', false) : { do: 'nothing' };",
    caughtBy: tests('while its log still stands'),
  },
  {
    name: 'goes on in a file that was removed',
    breaks: 'acked-survives',
    file: 'packages/sqlite/src/open-sqlite-backend.ts',
    find: 'beforeWriting: () => standing.assert(),',
    replace: 'beforeWriting: async () => void standing,',
    caughtBy: tests('removed while it is open'),
  },
  {
    name: 'writes to a database of a newer format',
    breaks: 'always-starts',
    file: 'packages/sqlite/src/inspection.ts',
    find: "  if (format > FORMAT) return { kind: 'newer', format };\n",
    replace: '',
    caughtBy: tests('refuses a newer format'),
  },
];
