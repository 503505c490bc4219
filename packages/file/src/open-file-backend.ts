import {
  type BackendTraits,
  Calls,
  type CheckedCommit,
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
  recordsFromOldFormat,
  type StateBackend,
  type StateChange,
  type StateRecord,
} from '@loopstate/core';
import { type Disk, inlineDisk, nodeDisk } from './disk.js';
import { FileReader } from './file-reader.js';
import { kernelLock, type Lock } from './lock.js';
import { StoreNames } from './names.js';
import { openStore, type Surroundings } from './opening.js';
import { type RecordLog, toRecord } from './record-log.js';
import type { ImportOldFormat } from './recovery.js';
import { shareStore } from './registry.js';
import { resolveStatePath } from './store-files.js';
import { READABLE_BYTES_MAX } from './store-size.js';
import { changedTooMuch, closed, unavailable } from './trouble.js';

const CHANGES_AT_ONCE = 500;
const COMPACT_AT_BYTES = 256 * 1_024;
const JOURNAL_SPACE_BYTES = 64 * 1_024;

/** Options of {@link openFileBackend}. */
export interface FileBackendOptions extends OpenOptions {
  /**
   * `write` (the default) takes the lock, repairs what is damaged and makes a missing file. `read` does none of that and
   * follows what another process writes.
   */
  readonly access?: 'write' | 'read';
  /**
   * `inline` writes commits by calls that stop the event loop until the disk has them (about as long as an `fdatasync` takes): quicker
   * for a script that has nothing else to do, and wrong for a server. Handles that share a
   * store get what the first one asked for. Default: `asynchronous`.
   */
  readonly diskCalls?: 'asynchronous' | 'inline';
  /** What a state file of an older format becomes. Default: the records of a loop. */
  readonly importOldFormat?: ImportOldFormat;
  /** For tests. */
  readonly disk?: Disk;
  /** For tests. */
  readonly lock?: Lock;
  /** For tests: compaction starts when the journal has more bytes than this, and than the snapshot. Default: 256 KiB. */
  readonly compactAtBytes?: number;
  /** For tests: the space that a journal is given at first. Default: 64 KiB. */
  readonly journalSpaceBytes?: number;
  /** For tests: the size up to which a file can be read again. Default: that of Node, 2 GiB. */
  readonly readableBytesMax?: number;
  /** For tests: the time of commits and reports, in ms since the epoch. */
  readonly now?: () => number;
}

const OPTION_NAMES = ['diskCalls', 'importOldFormat', 'disk', 'lock', 'compactAtBytes', 'journalSpaceBytes', 'readableBytesMax', 'now'];

/** A handle on a state file. */
export type FileBackend = StateBackend;

/**
 * Opens the state file at `path`, or makes it. `survives` is `power-loss` unless the file system is known not to carry it;
 * `reach` is `process`: a second process is refused, and handles of one process share the store.
 *
 * Errors: `LOOPSTATE_LOCKED`, `LOOPSTATE_LOCK_UNAVAILABLE`, `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`,
 * `LOOPSTATE_BAD_OPTION` (no such option, no path of a file), `LOOPSTATE_UNAVAILABLE` (it cannot be read or written now).
 */
export async function openFileBackend(path: string, options: FileBackendOptions = {}): Promise<FileBackend> {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', 'A state file needs a path, such as ./state.json.');
  }
  const { access, onFinding } = checkOpenOptions(options, OPTION_NAMES);
  const { diskCalls = 'asynchronous' } = options;
  if (diskCalls !== 'asynchronous' && diskCalls !== 'inline') {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', `diskCalls must be "asynchronous" or "inline", not ${JSON.stringify(diskCalls)}.`);
  }
  const surroundings: Surroundings = {
    disk: options.disk ?? (diskCalls === 'inline' ? inlineDisk : nodeDisk),
    lock: options.lock ?? kernelLock,
    importOldFormat: options.importOldFormat ?? recordsFromOldFormat,
    now: options.now ?? Date.now,
    compactAtBytes: options.compactAtBytes ?? COMPACT_AT_BYTES,
    journalSpaceBytes: options.journalSpaceBytes ?? JOURNAL_SPACE_BYTES,
    readableBytesMax: options.readableBytesMax ?? READABLE_BYTES_MAX,
  };
  const letPoolSleep = keepThreadPoolAwake();
  try {
    const names = new StoreNames(await resolveStatePath(surroundings.disk, path));
    const source = access === 'read' ? await FileReader.open(names, surroundings) : await openShared(names, surroundings);
    return new FileHandle(names, source, { onFinding, onClosed: letPoolSleep });
  } catch (error) {
    letPoolSleep();
    throw unavailable(error, `${path} cannot be opened`);
  }
}

/** What a handle gets its answers from. */
export interface HandleSource {
  readonly survivesPowerLoss: boolean;
  readonly findings: readonly RecoveryFinding[];
  /** Calls back with each finding from now on; returns what ends it. */
  listen(listener: (finding: RecoveryFinding) => void): () => void;
  /** The records as of now. Errors: `LOOPSTATE_UNAVAILABLE`. */
  refresh(): RecordLog | Promise<RecordLog>;
  /** Errors: as `StateBackend.commit`. */
  commit(commit: CheckedCommit): Promise<CommitResult>;
  close(): Promise<void>;
}

async function openShared(names: StoreNames, surroundings: Surroundings): Promise<HandleSource> {
  const shared = await shareStore(names.state, () => openStore(names, surroundings));
  const { store, survivesPowerLoss } = shared.open;
  try {
    if (shared.isShared) await store.verify();
  } catch (error) {
    await shared.release();
    throw error;
  }
  return {
    survivesPowerLoss,
    findings: store.findings,
    listen: (listener) => store.listen(listener),
    refresh: () => store.log,
    commit: (commit) => store.commit(commit),
    close: shared.release,
  };
}

class FileHandle implements StateBackend {
  readonly traits: BackendTraits;
  readonly #path: string;
  readonly #source: HandleSource;
  readonly #stopListening: () => void;
  readonly #onClosed: () => void;
  readonly #calls = new Calls();
  #closing: Promise<void> | undefined;

  constructor(
    names: StoreNames,
    source: HandleSource,
    { onFinding, onClosed }: { onFinding: (finding: RecoveryFinding) => void; onClosed: () => void },
  ) {
    this.#path = names.state;
    this.#source = source;
    this.#onClosed = onClosed;
    this.traits = { name: 'file', survives: source.survivesPowerLoss ? 'power-loss' : 'process-crash', reach: 'process' };
    // Later: what a callback throws must not reach the store.
    const tell = (finding: RecoveryFinding) => queueMicrotask(() => onFinding(finding));
    for (const finding of source.findings) tell(finding);
    this.#stopListening = source.listen(tell);
  }

  get recovery(): readonly RecoveryFinding[] {
    return this.#source.findings;
  }

  async read(keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
    this.#assertOpen();
    const wanted = keys.map(checkKey);
    return await this.#calls.make(async () => {
      const log = await this.#source.refresh();
      return wanted.map((key) => {
        const entry = log.get(key);
        return entry === undefined ? undefined : toRecord(entry);
      });
    });
  }

  commit(commit: Commit): Promise<CommitResult> {
    return this.#calls.make(() => {
      this.#assertOpen();
      return this.#source.commit(checkCommit(commit));
    });
  }

  async *changes(since: number): AsyncGenerator<StateChange> {
    this.#assertOpen();
    const log = await this.#calls.make(async () => this.#source.refresh());
    const until = log.newest;
    const forgotten = Math.max(until, log.forgotten);
    let after = since;
    do {
      if (since > 0 && after < log.forgotten) throw new HistoryGoneError(since);
      if (since === 0 && log.forgotten > forgotten) throw changedTooMuch(this.#path);
      const slice = log.changes(after, CHANGES_AT_ONCE);
      after = slice.at(-1)?.revision ?? until;
      // What was put again meanwhile stands behind the end: it is taken along in one piece, so that no key is missed.
      // Not by spreading: it may be more than a call can have arguments.
      const rest = after >= until || slice.length < CHANGES_AT_ONCE ? log.changes(after, Number.POSITIVE_INFINITY) : [];
      for (const changes of [slice, rest]) {
        for (const change of changes) {
          this.#assertOpen();
          // From the beginning, only those deletions matter whose records may have been yielded already.
          if (change.record !== undefined || since > 0 || change.revision > until) yield change;
        }
      }
    } while (after < until);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#calls.none();
    try {
      await this.#source.close();
    } finally {
      this.#stopListening();
      this.#onClosed();
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closed(this.#path);
  }
}
