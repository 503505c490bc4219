/**
 * Takes the write-ahead log into the database before it grows long.
 *
 * SQLite would do so by itself after any commit that finds it long, while other processes commit; up to 3.51.2 it can then lose one of theirs
 * (https://www.sqlite.org/wal.html#walresetbug: a checkpoint that overlaps with the commit that begins the log anew). So `setUp` switches
 * that off, and ours keeps every commit out.
 *
 * **Invariant:** a checkpoint begins and ends while `connection`, of this process, holds the write lock of the file.
 */
import type { CheckedCommit } from '@loopstate/core';
import { rollBack, type SqlConnection, whenFree } from './connection.js';
import { isLogAtLeast } from './log-inspection.js';
import type { StoreNames } from './names.js';

/** This process looks again when it has written, at a guess, so much of what the log may hold. */
const LOOK_EVERY_SHARE = 1 / 4;
/** A row that is replaced takes it from one page and puts it into another, and changes its place in the index. */
const BYTES_PER_WRITE = 3 * 4_096;

/** What {@link Checkpoints} works with. */
export interface CheckpointParts {
  readonly names: StoreNames;
  /** That of the commits. */
  readonly connection: SqlConnection;
  /** To the same file; used by nobody else. SQLite makes no checkpoint on a connection that has a transaction open. */
  readonly beside: SqlConnection;
  readonly busyTimeoutMs: number;
  /** From when on a log is long. */
  readonly logBytesMax: number;
}

/** See above. */
export class Checkpoints {
  readonly #parts: CheckpointParts;
  /** Written since the last look. The first commit looks as well: many a process may have come and gone with less. */
  #written = Number.POSITIVE_INFINITY;
  #looking: Promise<void> | undefined;
  #isDue = false;

  constructor(parts: CheckpointParts) {
    this.#parts = parts;
  }

  /** Whether the log was found long. */
  get isDue(): boolean {
    return this.#isDue;
  }

  /** Takes note of what a commit has written, and looks from time to time, beside the commits that follow. */
  note({ puts, deletes }: CheckedCommit): void {
    this.#written += (puts.length + deletes.length) * BYTES_PER_WRITE;
    for (const { text } of puts) this.#written += text.length;
    if (this.#looking !== undefined || this.#written < this.#parts.logBytesMax * LOOK_EVERY_SHARE) return;
    this.#written = 0;
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /**
   * Takes the log in; called when nothing else uses the connection. Never throws: what can not be taken in now stays in the log, where it
   * is as safe, and the next look tries again.
   */
  async run(): Promise<void> {
    const { connection, beside, busyTimeoutMs } = this.#parts;
    this.#isDue = false;
    try {
      await whenFree(busyTimeoutMs, () => connection.query('BEGIN IMMEDIATE'));
      try {
        await beside.query('PRAGMA store.wal_checkpoint(PASSIVE)');
      } finally {
        await rollBack(connection);
      }
    } catch {
      // See above.
    }
  }

  /** Called when nothing else uses the connection any more: takes in what is long now, and closes the second one. */
  async close(): Promise<void> {
    await this.#looking;
    if (this.#isDue) await this.run();
    await this.#parts.beside.close();
  }

  async #look(): Promise<void> {
    const { names, logBytesMax } = this.#parts;
    try {
      this.#isDue = await isLogAtLeast(names.log, logBytesMax);
    } catch {
      // It is tried again later.
    }
  }
}
