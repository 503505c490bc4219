/**
 * Who has a database open, so that the first to open it can put right what is wrong while nobody else uses it, and the last to
 * leave can make a copy that holds everything.
 *
 * It is a lock of SQLite on a file of its own, which the kernel releases when a process dies: shared by all that are present,
 * exclusive for whoever is alone and works on the files themselves.
 *
 * **Invariant:** from `enter` to `leave` the transaction that holds the lock is open.
 */
import { openAttached, rollBack, type SqlConnection, whenFree, withAttached } from './connection.js';
import { statIfPresent } from './place.js';
import { isBusy } from './trouble.js';

/** So long whoever is alone may prepare a large database. */
const LEFT_WITHIN_MS = 120_000;

/** See the invariant above. */
export class Presence {
  readonly #connection: SqlConnection;

  private constructor(connection: SqlConnection) {
    this.#connection = connection;
  }

  /**
   * Is present from now on; before that, if nobody else is, runs `whenAlone`, while all others wait for at most `withinMs`.
   *
   * Errors: those of `whenAlone`, those of SQLite.
   */
  static async enter(path: string, { withinMs, whenAlone }: { withinMs: number; whenAlone: () => Promise<void> }): Promise<Presence> {
    const connection = await openAttached(path, 'presence');
    try {
      // What is kept there is worth nothing.
      await whenFree(withinMs, () => connection.query('PRAGMA presence.synchronous = OFF'));
      let isPrepared = false;
      await whenFree(withinMs, async () => {
        if (!isPrepared) isPrepared = await runAlone(connection, whenAlone);
        // If others are present, the first of them has prepared everything.
        await beginShared(connection);
      });
      return new Presence(connection);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Runs `run` if nobody is present, while newcomers wait; makes nothing. Resolves to whether it ran. Errors: those of `run`, those of SQLite. */
  static async ifAlone(path: string, run: () => Promise<void>): Promise<boolean> {
    if ((await statIfPresent(path)) === undefined) {
      await run();
      return true;
    }
    return await withAttached(path, 'presence', (connection) => runAlone(connection, run));
  }

  /**
   * Is present no more. If nobody else is, runs `whenLast`, while newcomers wait; else `whenOthers`, while nobody is alone and prepares.
   * Errors: those of both, those of SQLite.
   */
  async leave({ whenLast, whenOthers }: { whenLast: () => Promise<void>; whenOthers: () => Promise<void> }): Promise<void> {
    try {
      await this.#connection.query('COMMIT');
      if (await runAlone(this.#connection, whenLast)) return;
      await whenFree(LEFT_WITHIN_MS, () => beginShared(this.#connection));
      await whenOthers();
      await this.#connection.query('COMMIT');
    } finally {
      await this.#connection.close();
    }
  }
}

/**
 * Runs `run` while nobody else is present; resolves to false if someone is. It waits for as long as every connection waits (40 ms): others who
 * are about to enter hold the lock for a moment, and must not be taken for present, or all of them would find nothing prepared.
 */
async function runAlone(connection: SqlConnection, run: () => Promise<void>): Promise<boolean> {
  try {
    await connection.query('BEGIN EXCLUSIVE');
  } catch (error) {
    if (isBusy(error)) return false;
    throw error;
  }
  try {
    await run();
  } finally {
    await connection.query('COMMIT');
  }
  return true;
}

async function beginShared(connection: SqlConnection): Promise<void> {
  await connection.query('BEGIN');
  try {
    // A transaction takes its lock with the first statement that reads.
    await connection.query('SELECT count(*) FROM presence.sqlite_schema');
  } catch (error) {
    await rollBack(connection);
    throw error;
  }
}
