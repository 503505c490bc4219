/**
 * The copy of a database, `state.db.backup`: written at intervals while commits go on, after a repair, by a start that finds none,
 * and by the last who closes the database.
 *
 * **Invariants:**
 * - A copy replaces the one before only when every record of it was found sound and it is durable, and never one that holds more.
 * - Its time is when it was begun: it holds all that was committed before, and what came after that may be missing.
 * - This process writes at most one copy at a time; the intervals grow with what a copy costs.
 */
import fs from 'node:fs/promises';
import { join } from 'node:path';
import type { RecoveryFinding } from '@loopstate/core';
import { numberOf, type SqlConnection, textOf, withAttached } from './connection.js';
import type { FindingCode } from './findings.js';
import { verifyRecords } from './inspection.js';
import type { StoreNames } from './names.js';
import { publish, statIfPresent, takeRights } from './place.js';
import { parseFileHeader, TABLE } from './records.js';
import { unavailable } from './trouble.js';

const COMMITS_MIN = 256;
const INTERVAL_MS = 60_000;
/** Copying takes at most this part of the time. */
const SHARE_OF_TIME = 1 / 20;

/** See the invariants above. */
export class BackupKeeper {
  readonly #names: StoreNames;
  readonly #now: () => number;
  readonly #onFailure: (error: unknown) => void;
  #commits = 0;
  #notBefore = 0;
  #running: Promise<void> | undefined;

  /** `now`: in ms since the epoch. */
  constructor(names: StoreNames, { now, onFailure }: { now: () => number; onFailure: (error: unknown) => void }) {
    this.#names = names;
    this.#now = now;
    this.#onFailure = onFailure;
  }

  /** Takes note of commits; when enough have come, and no other process was faster, begins a copy. Never throws. */
  note(commits: number): void {
    this.#commits += commits;
    if (this.#running !== undefined || this.#commits < COMMITS_MIN || performance.now() < this.#notBefore) return;
    this.#running = this.#write().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when no copy is being written. */
  async settle(): Promise<void> {
    await this.#running;
  }

  async #write(): Promise<void> {
    const begun = performance.now();
    try {
      const ageMs = await ageOf(this.#names, this.#now());
      if (ageMs < INTERVAL_MS) {
        this.#notBefore = begun + INTERVAL_MS - ageMs;
        return;
      }
      await writeBackup(this.#names, this.#now());
      this.#commits = 0;
    } catch (error) {
      this.#onFailure(error);
    }
    const tookMs = performance.now() - begun;
    this.#notBefore = performance.now() + Math.max(INTERVAL_MS, tookMs / SHARE_OF_TIME);
  }
}

/** What is told when a copy could not be written. */
export function backupFailed({ backup }: StoreNames, error: unknown): RecoveryFinding & { readonly code: FindingCode } {
  const { message } = unavailable(error, `The copy ${backup} could not be written; nothing is lost, and it is tried again later`);
  return { code: 'backup-failed', severity: 'warning', where: backup, message };
}

/** Writes a copy of the database as it is `now`. Errors: `DamagedError`, those of SQLite, any system error; then the old copy stays. */
export async function writeBackup(names: StoreNames, now: number): Promise<void> {
  // SQLite would make an empty one, which everybody may read: the rights of the next copy would be those.
  if ((await statIfPresent(names.database)) === undefined) throw new Error('it was removed');
  const temporary = names.temporary();
  try {
    // Beside the connection that commits: a reader is in nobody's way.
    await withAttached(names.database, 'store', (connection) => copyInto(connection, temporary));
    await finishBackup(names, temporary, now);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Copies the database attached as `store` to `path`, where nothing is yet. Only its owner may read it: SQLite would make a file that everybody
 * may, and what is in it is not meant for more people than the database.
 *
 * Errors: those of SQLite, any system error; nothing is left there then.
 */
export async function copyInto(connection: SqlConnection, path: string): Promise<void> {
  await (await fs.open(path, 'wx', 0o600)).close();
  try {
    await connection.query('VACUUM store INTO ?', [path]);
  } catch (error) {
    await fs.rm(path, { force: true });
    throw error;
  }
}

/** Makes what {@link copyInto} has finished the copy, of the time when it was `begun`. Errors: as {@link writeBackup}. */
export async function finishBackup(names: StoreNames, temporary: string, begun: number): Promise<void> {
  await withAttached(temporary, 'store', verifyRecords);
  const extent = await withAttached(temporary, 'store', extentOf);
  if (!mayReplace(await extentOfCopy(names), extent)) throw new Error('it holds what the database does not');
  // Where it is gone, its locks say best who may use it: a copy may be older than a change of modes.
  const like = (await statIfPresent(names.database)) ?? (await statIfPresent(names.presence));
  if (like !== undefined) await takeRights(temporary, like);
  await fs.utimes(temporary, new Date(begun), new Date(begun));
  await publish(temporary, names.backup);
}

/** True if the database holds commits that its copy does not; never of one that is older than its copy, or of another store. */
export async function isBackupBehind(names: StoreNames): Promise<boolean> {
  if ((await statIfPresent(names.database)) === undefined) return false;
  const [copy, own] = [await extentOfCopy(names), await withAttached(names.database, 'store', extentOf)];
  return own.last > 0 && mayReplace(copy, own) && copy?.last !== own.last;
}

/** How far a database goes: its store, and its last `seq`, which moves with every commit. */
export interface Extent {
  readonly store: string;
  readonly last: number;
}

/** True if a copy (`undefined`: there is none that can be read) may give way to another: it is of the same store, and holds no more. */
export function mayReplace(copy: Extent | undefined, other: Extent): boolean {
  return copy === undefined || (copy.store === other.store && copy.last <= other.last);
}

/** How far the database goes that is attached as `store`. Errors: `DamagedError`, those of SQLite. */
export async function extentOf(connection: SqlConnection): Promise<Extent> {
  const [row = {}] = await connection.query(
    `SELECT value, (SELECT max(seq) FROM ${TABLE}) AS last FROM ${TABLE} WHERE job = '' AND key = ''`,
  );
  return { store: parseFileHeader(textOf(row, 'value')).store, last: numberOf(row, 'last') };
}

/** How far the copy goes; `undefined`: there is none that can be read. */
export async function extentOfCopy({ backup }: StoreNames): Promise<Extent | undefined> {
  if ((await statIfPresent(backup)) === undefined) return undefined;
  return await withAttached(backup, 'store', extentOf).catch(() => undefined);
}

/**
 * How long ago a copy was finished, or one was last written to that may be on its way. What is of a time far to come tells nothing: the clock was
 * put back. What is a little ahead is of now: a file system counts parts of a ms, and one on a server has a clock of its own.
 */
async function ageOf(names: StoreNames, now: number): Promise<number> {
  const underWay = names.temporariesAmong(await fs.readdir(names.directory)).map((name) => join(names.directory, name));
  const found = await Promise.all([names.backup, ...underWay].map(statIfPresent));
  const ages = found.map((stats) => now - Number(stats?.ctimeMs ?? Number.NEGATIVE_INFINITY));
  return Math.max(0, Math.min(...ages.filter((age) => age > -INTERVAL_MS)));
}
