import { isLoopStateError, LockedError, type RecoveryFinding } from '@loopstate/core';
import { StoreNames } from './names.js';
import { openForReading, openForWriting, type Surroundings, USUAL } from './opening.js';
import { resolveDatabasePath, statIfPresent } from './place.js';
import { locationOf, type SqliteAdapter, type SqliteLocation } from './target.js';
import { unavailable } from './trouble.js';

/** What {@link compactSqlite} did. */
export interface SqliteCompaction {
  /** What the database takes with its log, without the copy of it. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** What was found wrong with the store, and repaired. */
  readonly recovery: readonly RecoveryFinding[];
}

/**
 * Takes the log of a database into it, gives the space that is not used back to the file system, and makes the copy anew. It concerns the whole
 * file, all its jobs, and is done only while nobody else has it open: no run need wait for it, nor be taken for dead.
 *
 * Errors: `LOOPSTATE_ABSENT` (nothing is made), `LOOPSTATE_LOCKED` (others have it open; it is as it was), and as `openSqliteBackend`.
 */
export async function compactSqlite(target: string | SqliteLocation | SqliteAdapter): Promise<SqliteCompaction> {
  const { path, job } = locationOf(target);
  const surroundings: Surroundings = { ...USUAL, job };
  try {
    const names = new StoreNames(await resolveDatabasePath(path));
    await assertPresent(names, surroundings);
    const bytesBefore = await sizeOf(names);
    const { findings, closeCompacted } = await openForWriting(names, surroundings);
    if (!(await closeCompacted())) throw inUse(names);
    return { bytesBefore, bytesAfter: await sizeOf(names), recovery: findings };
  } catch (error) {
    throw unavailable(error, `${path} cannot be compacted`);
  }
}

/** Only what is missing is told from the rest: opening for writing repairs what is damaged, and would make what is not there. */
async function assertPresent(names: StoreNames, surroundings: Surroundings): Promise<void> {
  try {
    await (await openForReading(names, surroundings)).close();
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_ABSENT')) throw error;
  }
}

async function sizeOf(names: StoreNames): Promise<number> {
  const [database, log] = await Promise.all([statIfPresent(names.database), statIfPresent(names.log)]);
  return Number(database?.size ?? 0) + Number(log?.size ?? 0);
}

function inUse(names: StoreNames): LockedError {
  return new LockedError(`${names.database} is open elsewhere: compact it when nobody works on it. Nothing was changed.`, {});
}
