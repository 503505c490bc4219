import type { ChosenRecords } from './record-block.js';
import type { LogEntry, RecordLog } from './record-log.js';

/**
 * The records of a log as they were at one moment.
 *
 * **Invariant:** what `take` and `takeChunk` yield over all calls is every record that stood at `revision`, once, in the order of revisions,
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

  /** For the log: whether the record of a revision, about to be replaced, has still to be taken. */
  wants(revision: number): boolean {
    return revision <= this.revision && revision > this.#taken;
  }

  /** For the log: `entry` is about to be replaced. */
  keep(entry: LogEntry): void {
    this.#kept.push(entry);
  }

  /** The next records in one piece, as they are, where none of them was kept; else `undefined`, and `take` has them. */
  takeChunk(): ChosenRecords | undefined {
    for (;;) {
      const chunk = this.#log.chunkAfter(this.#taken, this.revision);
      if (chunk === undefined || this.#kept.some(({ revision }) => revision <= chunk.last)) return undefined;
      this.#taken = chunk.last;
      if (this.#taken === this.revision) this.#end();
      if (chunk.records.count > 0) return chunk.records;
    }
  }

  /** The next records, `atLeast` so many if there are in one chunk; none at the end. */
  take(atLeast: number): LogEntry[] {
    while (this.#taken < this.revision) {
      const { entries, last } = this.#log.sliceOfChunk(this.#taken, atLeast);
      const upTo = Math.min(last, this.revision);
      const standing = entries.filter((entry) => entry.text !== undefined && entry.revision <= upTo);
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
