/**
 * One job of an open database.
 *
 * **Invariants:**
 * - Statements of one turn are not mixed with others: a read never sees what a group has not committed.
 * - Commits are judged in the order they came; those that come while a group is on its way form the next.
 * - A commit resolves after the statement, or the COMMIT, that carries it has returned: with `synchronous=FULL` it is synced then.
 * - A statement that may have had an effect is never sent again.
 */
import { applyCommit, type CheckedCommit, type CommitResult, LoopStateError, type MemoryEntry, type StateRecord } from '@loopstate/core';
import type { Checkpoints } from './checkpoints.js';
import { numberOf, rollBack, type SqlConnection, type SqlRow, whenFree } from './connection.js';
import {
  COLUMNS,
  escapeKey,
  type JobHeader,
  parseJobHeader,
  revisionOf,
  type StoredRow,
  TABLE,
  toRecord,
  toStoredRow,
  unescapeKey,
} from './records.js';
import { addWrites, commitStatement, joinCommits, type Statement, type Write } from './statements.js';
import { sweepDeletions } from './sweeping.js';
import { commitFailed, hasCode, unavailable } from './trouble.js';
import { inWriteTurn } from './write-turns.js';

const GROUP_COMMITS_MAX = 1_000;
const GROUP_BYTES_MAX = 8 * 1_024 * 1_024;
/** Who made so many groups in a row takes it that nobody else commits: see {@link commitStatement}. */
const ALONE_AFTER_GROUPS = 8;

/** What a database is opened with. */
export interface DatabaseParts {
  readonly path: string;
  /** With the file attached as `store`; used by nobody else. */
  readonly connection: SqlConnection;
  readonly job: string;
  /** How long a call waits for other processes before it is refused. */
  readonly busyTimeoutMs: number;
  /** How many of the newest deletions stay known, and after how many the older ones are swept. */
  readonly deletionsKept: number;
  /** From 0 to 1. Processes that come and go delete little each: at random, one of them sweeps for all. */
  readonly random: () => number;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** Called before each reading, which is refused with what it throws. */
  readonly beforeReading: () => Promise<void>;
  /** Called before a group is written; what it throws rejects the group, which then had no effect. */
  readonly beforeWriting: () => Promise<void>;
  /** For one that is open for writing. */
  readonly checkpoints: Checkpoints | undefined;
  /** Told how many commits a group has made. */
  readonly onCommitted: (commits: number) => void;
}

/** A part of the changes of a job, as of one moment. */
export interface Page {
  readonly rows: readonly StoredRow[];
  readonly header: JobHeader;
  /** The last `seq` of the file at that moment. */
  readonly last: number;
}

interface Waiting {
  readonly commit: CheckedCommit;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
}

/** See the invariants above. */
export class Database {
  readonly #parts: DatabaseParts;
  #turn: Promise<unknown> = Promise.resolve();
  #queue: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  /** Since the last sweep, whoever made it: those of other processes are a guess. */
  #deletions: number;
  readonly #quiet = new QuietStretch();
  /** The revision of the last commit that was made here, and how many groups of ours followed one another up to it. */
  #own = { last: 0, inRow: 0 };
  #gone: LoopStateError | undefined;

  constructor(parts: DatabaseParts) {
    this.#parts = parts;
    this.#deletions = Math.floor(parts.random() * parts.deletionsKept);
  }

  /** Errors: `LOOPSTATE_UNAVAILABLE`. */
  read(keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
    return this.#inTurn(async () => {
      await this.#parts.beforeReading();
      const records = new Map((await this.#rowsOf(keys)).map((row) => [row.key, row]));
      return keys.map((key) => {
        const row = records.get(escapeKey(key));
        return row === undefined ? undefined : toRecord(row);
      });
    });
  }

  /** Errors: as `StateBackend.commit`. */
  commit(commit: CheckedCommit): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ commit, resolve, reject });
      this.#flushing ??= this.#flushAll();
    });
  }

  /** What was put or deleted after `seq`, in the order of revisions, at most `limit` rows of it. Errors: `LOOPSTATE_UNAVAILABLE`. */
  page(seq: number, limit: number | 'all'): Promise<Page> {
    return this.#inTurn(async () => {
      await this.#parts.beforeReading();
      // One statement: the header must be of the moment of the rows.
      const rows = await this.#query(
        `SELECT (SELECT max(seq) FROM ${TABLE}) AS last, ${COLUMNS} FROM ${TABLE} WHERE job = ?1 AND key = '' UNION ALL
         SELECT * FROM (SELECT 0, ${COLUMNS} FROM ${TABLE} WHERE seq > ?2 AND +job = ?1 ORDER BY seq LIMIT ?3)`,
        [this.#parts.job, this.#quiet.skip(seq), limit === 'all' ? -1 : limit],
      );
      const [header, ...stored] = rows.map(toStoredRow);
      if (header?.key !== '' || header.value === null) throw this.#jobGone();
      const last = numberOf(rows[0] ?? {}, 'last');
      if (limit === 'all' || stored.length < limit) this.#quiet.note({ after: stored.at(-1)?.seq ?? seq, until: last });
      return { rows: stored, header: parseJobHeader(header.value), last };
    });
  }

  /** Runs `run` on the connection when what came before is done, and before anything that comes after. */
  async exclusively<T>(run: (connection: SqlConnection) => Promise<T>): Promise<T> {
    return await this.#inTurn(() => run(this.#parts.connection));
  }

  /** Resolves when nothing is in flight any more. */
  async settle(): Promise<void> {
    await this.#flushing;
    await this.#turn;
  }

  async #flushAll(): Promise<void> {
    do {
      // Everyone who was answered gets to speak before the next group is closed.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      await this.#inTurn(() => inWriteTurn(this.#parts.path, () => this.#flush(this.#takeGroup()))).catch(() => undefined);
      if (this.#deletions >= this.#parts.deletionsKept) await this.#sweep();
      if (this.#parts.checkpoints?.isDue) await this.#takeLogIn(this.#parts.checkpoints);
    } while (this.#queue.length > 0);
    this.#flushing = undefined;
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { commit } of this.#queue) {
      for (const { key, text } of commit.puts) bytes += key.length + text.length;
      if (count > 0 && (bytes > GROUP_BYTES_MAX || count === GROUP_COMMITS_MAX)) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  /** Answers every member of a group. */
  async #flush(group: readonly Waiting[]): Promise<void> {
    const commits = group.map(({ commit }) => commit);
    let results: readonly CommitResult[];
    try {
      await this.#parts.beforeWriting();
      results = (await this.#commitAtOnce(commits)) ?? (await this.#commitOneByOne(commits));
    } catch (error) {
      const trouble = unavailable(error, `${this.#parts.path} could not take a commit`);
      for (const { reject } of group) reject(trouble);
      return;
    }
    let count = 0;
    for (const [index, { commit, resolve }] of group.entries()) {
      const result = results[index] as CommitResult;
      if (result.ok) {
        count++;
        this.#deletions += commit.deletes.length;
        this.#parts.checkpoints?.note(commit);
      }
      resolve(result);
    }
    if (count > 0) this.#parts.onCommitted(count);
  }

  /** The whole group as one statement; `undefined` if a check does not hold, or one depends on the group itself. */
  async #commitAtOnce(commits: readonly CheckedCommit[]): Promise<CommitResult[] | undefined> {
    const { job, path, now } = this.#parts;
    const group = joinCommits(commits);
    if (group === undefined) return undefined;
    const own = this.#own;
    const isAlone = own.inRow >= ALONE_AFTER_GROUPS;
    this.#own = { last: own.last, inRow: 0 };
    let rows: readonly SqlRow[];
    try {
      const { sql, parameters } = commitStatement(job, now(), group, isAlone ? own.last : undefined);
      rows = await this.#query(sql, parameters);
    } catch (error) {
      if (hasCode(error, 'SQLITE_CONSTRAINT')) return undefined;
      throw commitFailed(error, path);
    }
    const last = isAlone ? own.last + commits.length : lastRevisionOf(rows);
    if (last === 0) return undefined;
    // The last commit of the group has the last revision: none came in between.
    const before = last - commits.length;
    this.#own = { last, inRow: before === own.last ? own.inRow + 1 : 0 };
    return commits.map((_, index) => ({ ok: true, revision: before + 1 + index }));
  }

  /** The group as one transaction, in which the commits are judged one after another, each with its own answer. */
  async #commitOneByOne(commits: readonly CheckedCommit[]): Promise<CommitResult[]> {
    const { connection, path, busyTimeoutMs } = this.#parts;
    await whenFree(busyTimeoutMs, () => connection.query('BEGIN IMMEDIATE'));
    let results: CommitResult[];
    try {
      results = await this.#judgeAndWrite(commits);
    } catch (error) {
      await rollBack(connection);
      throw unavailable(error, `${path} could not take a commit`);
    }
    if (results.every(({ ok }) => !ok)) {
      await rollBack(connection);
      return results;
    }
    try {
      await connection.query('COMMIT');
      for (const result of results) if (result.ok) this.#own = { last: result.revision, inRow: 0 };
      return results;
    } catch (error) {
      await rollBack(connection);
      throw commitFailed(error, path);
    }
  }

  /** Within a transaction that holds the lock: what stands cannot change between the judging and the writing. */
  async #judgeAndWrite(commits: readonly CheckedCommit[]): Promise<CommitResult[]> {
    const { job, now } = this.#parts;
    const last = await this.#lastRevision();
    const at = now();
    const rows = await this.#rowsOf([...new Set(commits.flatMap(({ checks }) => checks.map(({ key }) => key)))]);
    const entries = new Map(rows.map((row) => [unescapeKey(row.key), toEntry(row)]));
    let state = { revision: last, forgotten: 0, entries: entries as ReadonlyMap<string, MemoryEntry> };
    const results: CommitResult[] = [];
    const writes = new Map<string, Write>();
    for (const commit of commits) {
      const applied = applyCommit(state, commit, at);
      state = applied.state;
      results.push(applied.result);
      if (applied.result.ok) addWrites(writes, commit, applied.result.revision - last);
    }
    if (writes.size > 0) {
      const { sql, parameters } = commitStatement(job, at, { checks: [], writes });
      await this.#query(sql, parameters);
    }
    return results;
  }

  async #rowsOf(keys: readonly string[]): Promise<StoredRow[]> {
    const rows = await this.#query(
      `SELECT ${COLUMNS} FROM ${TABLE} WHERE job = ?1 AND key IN (SELECT value FROM json_each(?2)) AND value IS NOT NULL`,
      [this.#parts.job, JSON.stringify(keys.map(escapeKey))],
    );
    return rows.map(toStoredRow);
  }

  async #lastRevision(): Promise<number> {
    const [row] = await this.#query(`SELECT max(seq) AS last FROM ${TABLE}`, []);
    if (typeof row?.last !== 'number') throw this.#jobGone();
    return revisionOf(row.last);
  }

  async #sweep(): Promise<void> {
    const { connection, path, job, deletionsKept, busyTimeoutMs } = this.#parts;
    this.#deletions = 0;
    try {
      await this.#inTurn(() => inWriteTurn(path, () => whenFree(busyTimeoutMs, () => sweepDeletions(connection, job, deletionsKept))));
    } catch {
      // Nothing but space is lost, and the next sweep takes these along.
    }
  }

  async #takeLogIn(checkpoints: Checkpoints): Promise<void> {
    await this.#inTurn(() => inWriteTurn(this.#parts.path, () => checkpoints.run()));
  }

  #query(sql: string, parameters: Statement['parameters']) {
    const { connection, busyTimeoutMs } = this.#parts;
    return whenFree(busyTimeoutMs, () => connection.query(sql, parameters));
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const running = this.#turn.then(run);
    this.#turn = running.catch(() => undefined);
    try {
      return await running;
    } catch (error) {
      throw unavailable(error, `${this.#parts.path} cannot be read`);
    }
  }

  /** The same each time: whoever gets it again knows that nothing but opening it again helps. */
  #jobGone(): LoopStateError {
    const { path, job } = this.#parts;
    this.#gone ??= new LoopStateError(
      'LOOPSTATE_WENT_BACKWARDS',
      `The job ${JSON.stringify(job)} is gone from ${path}: someone removed its rows. Close it and open it again.`,
    );
    return this.#gone;
  }
}

/**
 * A stretch of the table in which only other jobs have rows: a job that rests beside a busy one does not read its rows again and again.
 * It stays that way, since commits are only added behind.
 */
class QuietStretch {
  #after = 0;
  #until = 0;

  note({ after, until }: { after: number; until: number }): void {
    this.#after = after;
    this.#until = Math.max(after, until);
  }

  /** From where there is something to read, for one who knows everything up to `seq`. */
  skip(seq: number): number {
    return seq >= this.#after && seq < this.#until ? this.#until : seq;
  }
}

function lastRevisionOf(rows: readonly SqlRow[]): number {
  return rows.reduce((last, row) => Math.max(last, revisionOf(numberOf(row, 'seq'))), 0);
}

function toEntry({ seq, at, value }: StoredRow): MemoryEntry {
  const revision = revisionOf(seq);
  return value === null ? { revision, at } : { revision, at, text: value };
}
