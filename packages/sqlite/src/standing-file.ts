/**
 * Watches that the file which is open is still the one that others find: SQLite goes on writing to a file that was removed, and
 * what is committed there is gone with the process; and goes on reading it, where nothing comes any more.
 */
import { rm } from 'node:fs/promises';
import { LoopStateError } from '@loopstate/core';
import { copyInto, extentOf, extentOfCopy, finishBackup, mayReplace } from './backup.js';
import type { SqlConnection } from './connection.js';
import { HOW_TO_RESET } from './findings.js';
import type { StoreNames } from './names.js';
import type { OpenDatabase } from './opening.js';
import { freeTime, statIfPresent } from './place.js';

const LOOK_EVERY_MS = 500;

/** See above. */
export class StandingFile {
  readonly #names: StoreNames;
  readonly #connection: SqlConnection;
  readonly #isReadOnly: boolean;
  readonly #inode: bigint | number | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #gone: LoopStateError | undefined;

  constructor(
    names: StoreNames,
    { connection, inode }: Pick<OpenDatabase, 'connection' | 'inode'>,
    { isReadOnly }: { isReadOnly: boolean },
  ) {
    this.#names = names;
    this.#connection = connection;
    this.#inode = inode;
    this.#isReadOnly = isReadOnly;
  }

  /**
   * Looks each time for one who only reads, else at most twice a second; called when nothing else uses the connection.
   *
   * Errors: `LOOPSTATE_WENT_BACKWARDS`, each time from the first; all that was committed here is then in the copy.
   */
  async assert(): Promise<void> {
    if (this.#gone !== undefined) throw this.#gone;
    if (!this.#isReadOnly && performance.now() - this.#lookedAt < LOOK_EVERY_MS) return;
    const inode = (await statIfPresent(this.#names.database))?.ino;
    this.#lookedAt = performance.now();
    if (inode !== undefined && inode === this.#inode) return;
    const what = `${this.#names.database} was ${inode === undefined ? 'removed' : 'replaced'} while it was open.`;
    const rescued = this.#isReadOnly ? '' : ` ${await this.#rescue()}`;
    this.#gone = new LoopStateError('LOOPSTATE_WENT_BACKWARDS', `${what}${rescued} Open it again. ${HOW_TO_RESET}`);
    throw this.#gone;
  }

  /** The last look, when all is committed. Never rejects: whoever opens the database next tells what became of it. */
  async leave(): Promise<void> {
    if (this.#isReadOnly) return;
    this.#lookedAt = Number.NEGATIVE_INFINITY;
    await this.assert().catch(() => undefined);
  }

  /** Through this connection, the last to know the file. Resolves to where everything is: in the copy, from which the next start goes on. */
  async #rescue(): Promise<string> {
    const { database, backup } = this.#names;
    const temporary = this.#names.temporary();
    const now = Date.now();
    try {
      // One that may not be replaced is of what has taken the place.
      const isForCopy = mayReplace(await extentOfCopy(this.#names), await extentOf(this.#connection));
      const target = isForCopy ? backup : this.#names.aside(database, await freeTime(this.#names, [database], now));
      await copyInto(this.#connection, isForCopy ? temporary : target);
      if (isForCopy) await finishBackup(this.#names, temporary, now);
      return `Everything that was committed is in ${target}.`;
    } catch {
      await rm(temporary, { force: true });
      // Where the whole directory was moved, it is all there.
      return 'What was committed since the last copy is in no other file than that one.';
    }
  }
}
