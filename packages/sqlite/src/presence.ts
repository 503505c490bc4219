/**
 * Who has a database open, so that the first to open it can put right what is wrong while nobody else uses it, and the last to
 * leave can make a copy that holds everything.
 *
 * Two locks of SQLite, each on a file of its own, which the kernel releases when a process dies:
 * - the *door*, exclusive: whoever enters, leaves or asks whether it is alone goes one at a time;
 * - the *presence*, shared by all that are present, exclusive for whoever is alone and works on the files themselves.
 *
 * Whoever may not write one of the two files is refused: SQLite gives an exclusive lock on it to nobody, and does not say so.
 *
 * **Invariant:** the presence is touched by nobody who does not hold the door. So whoever holds the door and finds the presence locked
 * has learned at once, and for good, that another is present who has entered: none is about to enter, to leave, or only looking.
 */
import { truncate } from 'node:fs/promises';
import { LoopStateError } from '@loopstate/core';
import { openAttached, type SqlConnection, whenFree } from './connection.js';
import type { StoreNames } from './names.js';
import { isPlainFile, statIfPresent } from './place.js';
import { hasCode, isBusy, isDamage } from './trouble.js';

/** So long whoever is alone may check and repair a large database, or copy it, while others wait at the door. */
const WITHIN_MS = 120_000;

/** A setting for files of which nothing is kept but their locks. */
const WORTHLESS = 'synchronous = OFF';

/** The files of the two locks. */
type LockNames = Pick<StoreNames, 'door' | 'presence'>;

/** One that is present. */
export class Presence {
  readonly #names: LockNames;
  readonly #connection: SqlConnection;

  private constructor(names: LockNames, connection: SqlConnection) {
    this.#names = names;
    this.#connection = connection;
  }

  /**
   * Is present from now on; before that, while nobody enters or leaves, runs `whenAlone` if nobody else is, else `whenOthers`: the first of
   * them has prepared everything.
   *
   * Errors: those of both, those of SQLite.
   */
  static async enter(
    names: LockNames,
    { whenAlone, whenOthers }: { whenAlone: () => Promise<void>; whenOthers: () => Promise<void> },
  ): Promise<Presence> {
    return await throughDoor(names, async () => {
      const connection = await openPresence(names);
      try {
        if (!(await runAlone(names, connection, whenAlone))) await whenOthers();
        await beginShared(connection);
        return new Presence(names, connection);
      } catch (error) {
        await connection.close();
        throw error;
      }
    });
  }

  /** Runs `run` if nobody is present, while newcomers wait; makes nothing. Resolves to whether it ran. Errors: those of `run`, those of SQLite. */
  static async ifAlone(names: LockNames, run: () => Promise<void>): Promise<boolean> {
    if ((await statIfPresent(names.presence)) === undefined) {
      await run();
      return true;
    }
    return await throughDoor(names, async () => {
      const connection = await openPresence(names);
      try {
        return await runAlone(names, connection, run);
      } finally {
        await connection.close();
      }
    });
  }

  /**
   * Is present no more. If nobody else is, runs `whenLast`, else `whenOthers`, while nobody enters or leaves.
   * Errors: those of both, those of SQLite.
   */
  async leave({ whenLast, whenOthers }: { whenLast: () => Promise<void>; whenOthers: () => Promise<void> }): Promise<void> {
    try {
      await throughDoor(this.#names, async () => {
        await this.#connection.query('COMMIT');
        if (!(await runAlone(this.#names, this.#connection, whenLast))) await whenOthers();
      });
    } finally {
      await this.#connection.close();
    }
  }
}

async function throughDoor<T>({ door }: LockNames, run: () => Promise<T>): Promise<T> {
  const connection = await openLock(door, 'door');
  try {
    await whenFree(WITHIN_MS, () => connection.query('BEGIN EXCLUSIVE'));
    try {
      await assertExclusive(connection, 'door', door);
      return await run();
    } finally {
      // Nothing is kept there: on a full disk whoever is through is not refused for it, and so left present for ever.
      await connection.query('COMMIT').catch(() => undefined);
    }
  } finally {
    await connection.close();
  }
}

async function openPresence({ presence }: LockNames): Promise<SqlConnection> {
  const connection = await openLock(presence, 'presence');
  // Whoever is present stays so: see the invariant.
  await connection.query('PRAGMA busy_timeout = 0');
  return connection;
}

/** Opens the file of a lock. One that is damaged is emptied: nothing is kept there, and the locks on it stay as they are. */
async function openLock(path: string, schema: string): Promise<SqlConnection> {
  try {
    return await openWorthless(path, schema);
  } catch (error) {
    if (!isDamage(error) || !(await isPlainFile(path))) throw error;
    await truncate(path);
    return await openWorthless(path, schema);
  }
}

async function openWorthless(path: string, schema: string): Promise<SqlConnection> {
  const connection = await openAttached(path, schema);
  try {
    await whenFree(WITHIN_MS, () => connection.query(`PRAGMA ${schema}.${WORTHLESS}`));
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Runs `run` while nobody else is present; resolves to false if someone is. */
async function runAlone({ presence }: LockNames, connection: SqlConnection, run: () => Promise<void>): Promise<boolean> {
  try {
    await connection.query('BEGIN EXCLUSIVE');
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
  await thenCommit(connection, async () => {
    await assertExclusive(connection, 'presence', presence);
    await run();
  });
  return true;
}

/** On a file that it may only read, SQLite has begun a transaction that shares the file with others. */
async function assertExclusive(connection: SqlConnection, schema: string, path: string): Promise<void> {
  try {
    // Nothing changes by it, and it needs the lock that a change needs.
    await connection.query(`PRAGMA ${schema}.incremental_vacuum(1)`);
  } catch (cause) {
    if (!hasCode(cause, 'SQLITE_READONLY')) throw cause;
    const message = `${path} cannot be written by this user, so it can't be known who else has the database open: change its permissions.`;
    throw new LoopStateError('LOOPSTATE_UNAVAILABLE', message, { cause });
  }
}

/** Ends the transaction in any case; not by ROLLBACK, since SQLite makes an empty file a database with the first that is committed. */
async function thenCommit<T>(connection: SqlConnection, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } finally {
    await connection.query('COMMIT');
  }
}

async function beginShared(connection: SqlConnection): Promise<void> {
  await connection.query('BEGIN');
  // A transaction takes its lock with the first statement that reads.
  await connection.query('SELECT count(*) FROM presence.sqlite_schema');
}
