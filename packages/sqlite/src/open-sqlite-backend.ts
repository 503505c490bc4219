import {
  type BackendTraits,
  Calls,
  type Commit,
  type CommitResult,
  checkCommit,
  checkKey,
  checkOpenOptions,
  HistoryGoneError,
  keepThreadPoolAwake,
  LoopStateError,
  type OpenOptions,
  type RecoveryFinding,
  type StateBackend,
  type StateChange,
  type StateRecord,
  UnavailableError,
} from '@loopstate/core';
import { BackupKeeper, backupFailed } from './backup.js';
import { Database } from './database.js';
import { StoreNames } from './names.js';
import { type OpenDatabase, openForReading, openForWriting, type Surroundings, USUAL } from './opening.js';
import { type FileSystemType, resolveDatabasePath } from './place.js';
import { revisionOf, SEQS_PER_REVISION, toChange } from './records.js';
import { StandingFile } from './standing-file.js';
import { locationOf, type SqliteAdapter, type SqliteLocation } from './target.js';
import { badOption, closed, unavailable } from './trouble.js';

const CHANGES_AT_ONCE = 1_000;
const DELETIONS_KEPT = 10_000;

/** Options of {@link openSqliteBackend}. */
export interface SqliteBackendOptions extends OpenOptions {
  /** How long a call waits for other processes before it rejects with `LOOPSTATE_UNAVAILABLE`. Default: 15,000. */
  readonly busyTimeoutMs?: number;
  /** For tests: how many of the newest deletions stay known to `changes`. Default: 10,000. */
  readonly deletionsKept?: number;
  /** For tests: the type of the file system of a directory, as `statfs` tells it. */
  readonly fileSystemType?: FileSystemType;
  /** For tests: how long the write-ahead log gets before it is taken into the database. Default: 4 MiB. */
  readonly logBytesMax?: number;
  /** For tests: the time of commits and reports, in ms since the epoch. */
  readonly now?: () => number;
}

const OPTION_NAMES = ['busyTimeoutMs', 'deletionsKept', 'fileSystemType', 'logBytesMax', 'now'];

/** Opens what a URL of the form `sqlite:./state.db?job=review` means; see {@link openSqliteBackend}. */
export async function openBackend(url: string, options: { readonly access: 'read' | 'write' }): Promise<StateBackend> {
  return await openSqliteBackend(url, options);
}

/**
 * Opens a job of the SQLite database that `target` names, or makes it. `survives` is `power-loss` unless the file system is known
 * not to carry it; `reach` is `host`: any number of processes of one host can have it open.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` (no such option, no path of a file, a network file system), `LOOPSTATE_FOREIGN`,
 * `LOOPSTATE_NEWER_FORMAT`, `LOOPSTATE_UNAVAILABLE` (it cannot be read or written now; with access `read`: there is nothing yet).
 */
export async function openSqliteBackend(
  target: string | SqliteLocation | SqliteAdapter,
  options: SqliteBackendOptions = {},
): Promise<StateBackend> {
  const { path, job } = locationOf(target);
  const { access, onFinding } = checkOpenOptions(options, OPTION_NAMES);
  const { busyTimeoutMs = USUAL.busyTimeoutMs, logBytesMax = USUAL.logBytesMax } = options;
  if (!Number.isFinite(busyTimeoutMs) || busyTimeoutMs < 0) throw badOption('busyTimeoutMs must be a number of milliseconds, from 0.');
  const { fileSystemType = USUAL.fileSystemType, now = USUAL.now } = options;
  const surroundings: Surroundings = { job, busyTimeoutMs, logBytesMax, fileSystemType, now };
  const letPoolSleep = keepThreadPoolAwake();
  try {
    const names = new StoreNames(await resolveDatabasePath(path));
    const open = access === 'read' ? await openForReading(names, surroundings) : await openForWriting(names, surroundings);
    return new SqliteBackend(names, open, { ...surroundings, ...options, access, onFinding, onClosed: letPoolSleep });
  } catch (error) {
    letPoolSleep();
    throw unavailable(error, `${path} cannot be opened`);
  }
}

type SqliteSettings = Surroundings & Required<OpenOptions> & { readonly deletionsKept?: number; readonly onClosed: () => void };

/**
 * **Invariants:**
 * - `#calls` counts the calls that were accepted and not answered; closing waits until there is none.
 * - `#closing` is set by the first `close`; from then on no call is accepted.
 */
class SqliteBackend implements StateBackend {
  readonly traits: BackendTraits;
  readonly recovery: RecoveryFinding[];
  readonly #path: string;
  readonly #isReadOnly: boolean;
  readonly #open: OpenDatabase;
  readonly #standing: StandingFile;
  readonly #database: Database;
  readonly #backups: BackupKeeper;
  readonly #onFinding: (finding: RecoveryFinding) => void;
  readonly #onClosed: () => void;
  readonly #calls = new Calls();
  #closing: Promise<void> | undefined;

  constructor(names: StoreNames, open: OpenDatabase, options: SqliteSettings) {
    this.traits = { name: 'sqlite', survives: open.survivesPowerLoss ? 'power-loss' : 'process-crash', reach: 'host' };
    this.recovery = [];
    this.#path = names.database;
    this.#isReadOnly = options.access === 'read';
    this.#open = open;
    this.#onFinding = options.onFinding;
    this.#onClosed = options.onClosed;
    this.#backups = new BackupKeeper(names, { now: options.now, onFailure: (error) => this.#report(backupFailed(names, error)) });
    this.#standing = new StandingFile(names, open, { isReadOnly: this.#isReadOnly });
    this.#database = new Database({
      path: names.database,
      connection: open.connection,
      job: options.job,
      busyTimeoutMs: options.busyTimeoutMs,
      deletionsKept: options.deletionsKept ?? DELETIONS_KEPT,
      random: Math.random,
      now: options.now,
      beforeReading: async () => (this.#isReadOnly ? await this.#standing.assert() : undefined),
      beforeWriting: () => this.#standing.assert(),
      checkpoints: open.checkpoints,
      onCommitted: (commits) => this.#backups.note(commits),
    });
    for (const finding of open.findings) this.#report(finding);
  }

  async read(keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
    this.#assertOpen();
    const wanted = keys.map(checkKey);
    return await this.#calls.make(() => this.#database.read(wanted));
  }

  async commit(commit: Commit): Promise<CommitResult> {
    this.#assertOpen();
    if (this.#isReadOnly) {
      throw new LoopStateError('LOOPSTATE_READ_ONLY', `${this.#path} was opened for reading: open it with access "write" to change it.`);
    }
    const checked = checkCommit(commit);
    return await this.#calls.make(() => this.#database.commit(checked));
  }

  async *changes(since: number): AsyncGenerator<StateChange> {
    this.#assertOpen();
    let after = (since + 1) * SEQS_PER_REVISION - 1;
    let until: number | undefined;
    for (;;) {
      // What was put again meanwhile stands behind the end: it is taken along in one piece, so that no key is missed.
      const limit = until !== undefined && after >= until ? 'all' : CHANGES_AT_ONCE;
      const { rows, header, last } = await this.#calls.make(() => this.#database.page(after, limit));
      until ??= last;
      const isForgotten = after < (header.forgotten + 1) * SEQS_PER_REVISION - 1;
      if (since > 0 && isForgotten) throw new HistoryGoneError(since);
      if (since === 0 && header.forgotten > revisionOf(until)) throw changedTooMuch(this.#path);
      for (const row of rows) {
        this.#assertOpen();
        // From the beginning, only those deletions matter whose records may have been yielded already.
        if (row.value !== null || since > 0 || row.seq > until) yield toChange(row);
      }
      const newest = rows.at(-1);
      if (newest === undefined || limit === 'all' || rows.length < limit) return;
      after = newest.seq;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#calls.none();
    await this.#database.settle();
    await this.#backups.settle();
    await this.#standing.leave();
    try {
      await this.#open.close();
    } catch (error) {
      // All commits are in the database: only the copy may be behind.
      this.#report(backupFailed(new StoreNames(this.#path), error));
    } finally {
      this.#onClosed();
    }
  }

  #report(finding: RecoveryFinding): void {
    this.recovery.push(finding);
    // Later: what a callback throws must not reach the store.
    queueMicrotask(() => this.#onFinding(finding));
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closed(this.#path);
  }
}

/** More deletions than are kept came while all was read; a law wants no other answer than to read again. */
function changedTooMuch(path: string): UnavailableError {
  return new UnavailableError(`${path} changed too much while it was read: read the changes again.`);
}
