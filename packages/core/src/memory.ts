/**
 * The contract, executable: a store in memory whose every commit is one call of the pure {@link applyCommit}. The other backends
 * are held against it; loops use it where nothing need outlive the process.
 *
 * **Invariants:**
 * - `order` holds each key once, in the order of revisions, so that `changes` is one walk.
 * - `revision` is at least the revision of every record and every tombstone.
 */
import type { BackendTraits, Commit, CommitResult, Conflict, StateBackend, StateChange, StateRecord } from './backend.js';
import { type CheckedCommit, checkCommit, checkKey, decodeValue } from './checked-commit.js';
import { HistoryGoneError, LoopStateError } from './errors.js';
import { refuseUnknownOptions } from './options.js';

/** A record as it is kept: its value as JSON text; no text marks a deletion (a tombstone). */
export interface MemoryEntry {
  readonly revision: number;
  readonly at: number;
  readonly text?: string;
}

/** All that a store is, between two commits. */
export interface MemoryState {
  /** The revision of the last commit. */
  readonly revision: number;
  /** The largest revision of a deletion that is no longer known. */
  readonly forgotten: number;
  readonly entries: ReadonlyMap<string, MemoryEntry>;
}

/** Options of {@link openMemoryBackend}. */
export interface MemoryOptions {
  /** The store to open; several handles on one store share it. Default: a new, empty one. */
  readonly store?: MemoryStore;
  /** What the handle says of itself; tests use it to have loops treat the store as a shared one. Default: `process`. */
  readonly reach?: BackendTraits['reach'];
}

/** A store in memory that several handles can share. */
export interface MemoryStore {
  state: MemoryState;
}

/** Makes an empty store. */
export function createMemoryStore(): MemoryStore {
  return { state: { revision: 0, forgotten: 0, entries: new Map() } };
}

/** Opens a handle on a store in memory. `survives` is `nothing`. Errors: `LOOPSTATE_BAD_OPTION`. */
export function openMemoryBackend(options: MemoryOptions = {}): StateBackend {
  refuseUnknownOptions(options, ['store', 'reach']);
  return new MemoryBackend(options.store ?? createMemoryStore(), options.reach ?? 'process');
}

/**
 * What a commit does to a state: the laws *commit/all-or-nothing*, *commit/check-now*, *commit/conflict-is-a-value* and
 * *commit/one-revision* as a function. The given state is used up when the commit succeeds.
 */
export function applyCommit(state: MemoryState, commit: CheckedCommit, at: number): { state: MemoryState; result: CommitResult } {
  const conflicts: Conflict[] = [];
  for (const check of commit.checks) {
    const entry = state.entries.get(check.key);
    const isPresent = entry?.text !== undefined;
    if ((isPresent ? entry.revision : 0) === check.revision) continue;
    conflicts.push(isPresent ? { key: check.key, record: toRecord(check.key, entry) } : { key: check.key });
  }
  if (conflicts.length > 0) return { state, result: { ok: false, conflicts } };
  const revision = state.revision + 1;
  const entries = state.entries as Map<string, MemoryEntry>;
  for (const { key, text } of commit.puts) place(entries, key, { revision, at, text });
  for (const key of commit.deletes) place(entries, key, { revision, at });
  return { state: { ...state, revision, entries }, result: { ok: true, revision } };
}

/** Drops all tombstones, as a store does that must not grow for ever. */
export function forgetDeletions(state: MemoryState): MemoryState {
  const entries = new Map([...state.entries].filter(([, entry]) => entry.text !== undefined));
  let forgotten = state.forgotten;
  for (const entry of state.entries.values()) if (entry.text === undefined) forgotten = Math.max(forgotten, entry.revision);
  return { ...state, forgotten, entries };
}

class MemoryBackend implements StateBackend {
  readonly traits: BackendTraits;
  readonly recovery = [];
  readonly #store: MemoryStore;
  #isClosed = false;

  constructor(store: MemoryStore, reach: BackendTraits['reach']) {
    this.#store = store;
    this.traits = { name: 'memory', survives: 'nothing', reach };
  }

  async read(keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
    this.#assertOpen();
    return keys.map(checkKey).map((key) => {
      const entry = this.#store.state.entries.get(key);
      return entry?.text === undefined ? undefined : toRecord(key, entry);
    });
  }

  async commit(commit: Commit): Promise<CommitResult> {
    this.#assertOpen();
    const { state, result } = applyCommit(this.#store.state, checkCommit(commit), Date.now());
    this.#store.state = state;
    return result;
  }

  async *changes(since: number): AsyncGenerator<StateChange> {
    this.#assertOpen();
    if (since > 0 && since < this.#store.state.forgotten) throw new HistoryGoneError(since);
    // A copy: what commits while the caller awaits belongs to its next call.
    const after = [...this.#store.state.entries].filter(([, entry]) => entry.revision > since);
    for (const [key, entry] of after) {
      this.#assertOpen();
      if (entry.text !== undefined) yield { key, revision: entry.revision, record: toRecord(key, entry) };
      else if (since > 0) yield { key, revision: entry.revision };
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new LoopStateError('LOOPSTATE_CLOSED', 'This handle on a store in memory was closed: open another.');
  }
}

/** Re-inserts, so that the map stays in the order of revisions. */
function place(entries: Map<string, MemoryEntry>, key: string, entry: MemoryEntry): void {
  entries.delete(key);
  entries.set(key, entry);
}

function toRecord(key: string, entry: MemoryEntry): StateRecord {
  return { key, value: decodeValue(entry.text ?? 'null'), revision: entry.revision, at: entry.at };
}
