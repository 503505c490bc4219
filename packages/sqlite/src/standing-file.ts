/**
 * Watches that the file which is open is still the one that others find: SQLite goes on writing to a file that was removed, and
 * what is committed there is gone with the process.
 */
import { rm } from 'node:fs/promises';
import { LoopStateError } from '@loopstate/core';
import { copyInto, finishBackup } from './backup.js';
import type { SqlConnection } from './connection.js';
import { HOW_TO_RESET } from './findings.js';
import type { StoreNames } from './names.js';
import { freeTime, statIfPresent } from './place.js';

const LOOK_EVERY_MS = 500;

/** See above. */
export class StandingFile {
  readonly #names: StoreNames;
  readonly #connection: SqlConnection;
  #inode: bigint | number | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #gone: LoopStateError | undefined;

  constructor(names: StoreNames, connection: SqlConnection) {
    this.#names = names;
    this.#connection = connection;
  }

  /**
   * Looks at most twice a second; called when nothing else uses the connection.
   *
   * Errors: `LOOPSTATE_WENT_BACKWARDS`, each time from the first; all that was committed is then in the copy.
   */
  async assert(): Promise<void> {
    if (this.#gone !== undefined) throw this.#gone;
    if (performance.now() - this.#lookedAt < LOOK_EVERY_MS) return;
    const inode = (await statIfPresent(this.#names.database))?.ino;
    this.#lookedAt = performance.now();
    this.#inode ??= inode;
    if (inode !== undefined && inode === this.#inode) return;
    this.#gone = await this.#rescue({ isReplaced: inode !== undefined });
    throw this.#gone;
  }

  /** Through this connection, the last to know the file. */
  async #rescue({ isReplaced }: { isReplaced: boolean }): Promise<LoopStateError> {
    const { database, backup } = this.#names;
    const temporary = this.#names.temporary();
    const now = Date.now();
    const target = isReplaced ? this.#names.aside(database, await freeTime(this.#names, [database], now)) : backup;
    let where = `Everything that was committed is in ${target}.`;
    try {
      await copyInto(this.#connection, isReplaced ? target : temporary);
      if (!isReplaced) await finishBackup(this.#names, temporary, now);
    } catch {
      await rm(temporary, { force: true });
      where = 'What was committed since the last copy is lost.';
    }
    const what = isReplaced ? 'was replaced' : 'was removed';
    return new LoopStateError('LOOPSTATE_WENT_BACKWARDS', `${database} ${what} while it was open. ${where} Open it again. ${HOW_TO_RESET}`);
  }
}
