/**
 * The records of a store in memory: an index by key, and a log in the order of revisions for `changes` and for snapshots.
 *
 * **Invariants:**
 * - The entry that stands for a key is the one in the index; every other entry of the log is stale and is skipped.
 * - The log is sorted by revision; entries of one commit share theirs. Each entry of the index is in the log exactly once.
 * - No operation but opening costs more as the number of records grows: stale entries are swept a chunk at a time.
 * - A deletion stays as an entry without text until {@link DELETIONS_MAX} newer ones came; `forgotten` is the largest revision
 *   of one that is no longer known.
 */

const CHUNK_ENTRIES = 1_024;
const DELETIONS_MAX = 10_000;
const SWEEPS_PER_CHUNK = 2;

/** The latest put of a key, or its deletion. */
export interface LogEntry {
  readonly key: string;
  readonly revision: number;
  /** When it was committed, in ms since the epoch. */
  readonly at: number;
  /** The value as JSON; absent for a deletion. */
  readonly text: string | undefined;
}

/** See the invariants above. */
export class RecordLog {
  readonly #index = new Map<string, LogEntry>();
  readonly #chunks: LogEntry[][] = [[]];
  #sweepAt = 0;
  #present = 0;
  #deletions: LogEntry[] = [];
  #deletionsAt = 0;
  #forgotten: number;
  #lastDeletion: number;
  #cut: LogCut | undefined;

  /** `entries` in the order of revisions, each key once. */
  constructor(entries: Iterable<LogEntry> = [], forgotten = 0) {
    this.#forgotten = forgotten;
    this.#lastDeletion = forgotten;
    for (const entry of entries) this.append(entry);
  }

  /** How many records there are. */
  get present(): number {
    return this.#present;
  }

  /** How many entries it holds, the stale ones among them. */
  get entries(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** The largest revision of any entry. */
  get newest(): number {
    return this.#chunks.at(-1)?.at(-1)?.revision ?? 0;
  }

  /** The largest revision of a deletion that is no longer known; 0 when all are. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** The largest revision of any deletion: what a snapshot, which holds none, forgets. */
  get lastDeletion(): number {
    return this.#lastDeletion;
  }

  /** The record of a key; `undefined` when it is absent or deleted. */
  get(key: string): LogEntry | undefined {
    const entry = this.#index.get(key);
    return entry?.text === undefined ? undefined : entry;
  }

  /** Puts or deletes a key. `entry.revision` is not less than any before. */
  append(entry: LogEntry): void {
    const old = this.#index.get(entry.key);
    if (old?.text !== undefined) {
      this.#present--;
      this.#cut?.keep(old);
    }
    this.#index.set(entry.key, entry);
    if (entry.text === undefined) this.#rememberDeletion(entry);
    else this.#present++;
    const newest = this.#chunks.at(-1);
    if (newest !== undefined && newest.length < CHUNK_ENTRIES) newest.push(entry);
    else {
      this.#chunks.push([entry]);
      for (let sweeps = 0; sweeps < SWEEPS_PER_CHUNK; sweeps++) this.#sweep();
    }
  }

  /** What stands after revision `after`, oldest first: at least `atLeast` entries if there are so many, whole commits. */
  slice(after: number, atLeast: number): LogEntry[] {
    const found: LogEntry[] = [];
    for (let at = this.#firstChunkAfter(after); at < this.#chunks.length; at++) {
      for (const entry of this.#chunks[at] ?? []) {
        if (entry.revision <= after || this.#index.get(entry.key) !== entry) continue;
        const last = found.at(-1);
        if (last !== undefined && found.length >= atLeast && last.revision !== entry.revision) return found;
        found.push(entry);
      }
    }
    return found;
  }

  /** The records exactly as they are now, to be taken out in slices while commits go on. Ends the cut before it, if any. */
  cut(revision: number): LogCut {
    const cut = new LogCut(this, revision, () => {
      if (this.#cut === cut) this.#cut = undefined;
    });
    this.#cut = cut;
    return cut;
  }

  #firstChunkAfter(revision: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle]?.at(-1)?.revision ?? 0) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Drops the stale entries of one old chunk, and joins it to the one before where both fit in one. */
  #sweep(): void {
    if (this.#sweepAt >= this.#chunks.length - 1) this.#sweepAt = 0;
    const at = this.#sweepAt;
    const swept = (this.#chunks[at] ?? []).filter((entry) => this.#index.get(entry.key) === entry);
    const before = at > 0 ? this.#chunks[at - 1] : undefined;
    if (before !== undefined && before.length + swept.length <= CHUNK_ENTRIES) {
      for (const entry of swept) before.push(entry);
      this.#chunks.splice(at, 1);
    } else {
      this.#chunks[at] = swept;
      this.#sweepAt++;
    }
  }

  #rememberDeletion(entry: LogEntry): void {
    this.#lastDeletion = entry.revision;
    this.#deletions.push(entry);
    if (this.#deletions.length - this.#deletionsAt <= DELETIONS_MAX) return;
    const oldest = this.#deletions[this.#deletionsAt++];
    if (oldest !== undefined && this.#index.get(oldest.key) === oldest) {
      this.#index.delete(oldest.key);
      this.#forgotten = Math.max(this.#forgotten, oldest.revision);
    }
    if (this.#deletionsAt < DELETIONS_MAX) return;
    this.#deletions = this.#deletions.slice(this.#deletionsAt);
    this.#deletionsAt = 0;
  }
}

/**
 * The records of a log as they were at one moment.
 *
 * **Invariant:** what `take` yields over all calls is every record that stood at `revision`, once, in the order of revisions,
 * whatever was committed meanwhile: a record that is replaced before it was taken is kept here.
 */
export class LogCut {
  readonly revision: number;
  /** How many records there are in all. */
  readonly records: number;
  readonly lastDeletion: number;
  readonly #log: RecordLog;
  readonly #end: () => void;
  #taken = 0;
  #kept: LogEntry[] = [];

  constructor(log: RecordLog, revision: number, end: () => void) {
    this.#log = log;
    this.revision = revision;
    this.records = log.present;
    this.lastDeletion = log.lastDeletion;
    this.#end = end;
  }

  /** For the log: `entry` is about to be replaced. */
  keep(entry: LogEntry): void {
    if (entry.revision <= this.revision && entry.revision > this.#taken) this.#kept.push(entry);
  }

  /** The next records, `atLeast` so many if there are; none at the end. */
  take(atLeast: number): LogEntry[] {
    while (this.#taken < this.revision) {
      const slice = this.#log.slice(this.#taken, atLeast);
      const last = slice.at(-1)?.revision ?? this.revision;
      const upTo = slice.length < atLeast ? this.revision : Math.min(last, this.revision);
      const standing = slice.filter((entry) => entry.text !== undefined && entry.revision <= upTo);
      const replaced = this.#kept.filter((entry) => entry.revision <= upTo);
      this.#kept = this.#kept.filter((entry) => entry.revision > upTo);
      this.#taken = upTo;
      if (upTo === this.revision) this.#end();
      if (standing.length + replaced.length === 0) continue;
      return replaced.length === 0 ? standing : [...standing, ...replaced].sort((a, b) => a.revision - b.revision);
    }
    return [];
  }

  /** Ends the cut before all was taken; the log keeps nothing for it any more. */
  abandon(): void {
    this.#taken = this.revision;
    this.#kept = [];
    this.#end();
  }
}
