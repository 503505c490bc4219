/**
 * A connection to SQLite, as narrow as this backend needs it, so that another driver can take the place of `KeyvSqlite`.
 *
 * `KeyvSqlite` owns a database in memory, and the files are attached to it: so its own table never comes into a file of ours,
 * nor into one that is about to be refused; and a path, being a bound value, is never parsed.
 *
 * One copy of SQLite makes all connections of a process. Of two copies that have one file open, the first that closes it takes the locks
 * of the other away, and then two processes write at once (https://sqlite.org/howtocorrupt.html, section 2.2.1). A program that has an
 * adapter of its own has such a copy, so that one is used.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyvSqlite } from '@keyv/sqlite';
import { badOption, DamagedError, isBusy } from './trouble.js';

/** How long SQLite itself waits for a lock, on a thread that others need too; `whenFree` waits on without one. */
const BUSY_TIMEOUT_MS = 40;
const PAUSE_MS_MAX = 25;
const ATTACHED_WITHIN_MS = 120_000;

/** What can be bound to a parameter. Whole numbers must be safe ones. */
export type SqlValue = string | number | null;

/** A row of an answer, by the names of its columns. */
export type SqlRow = Readonly<Record<string, unknown>>;

/** A connection. Statements that belong together must not be mixed with others: its owner sees to that. */
export interface SqlConnection {
  /** Runs one statement; `?1` is the first of `parameters`. Errors: those of SQLite, with a `code` such as `SQLITE_BUSY`. */
  query(sql: string, parameters?: readonly SqlValue[]): Promise<readonly SqlRow[]>;
  close(): Promise<void>;
}

/** `KeyvSqlite`, of whichever copy of its package. In words of our own, since no types of others are published with us. */
export type AdapterClass = new (options: {
  readonly uri: string;
  readonly table: string;
}) => {
  on(event: 'error', listener: () => void): unknown;
  query(sql: string, parameters?: readonly SqlValue[]): Promise<unknown>;
  close(): Promise<unknown>;
};

let Adapter: AdapterClass = KeyvSqlite;
let openConnections = 0;

/**
 * From now on connections are made by `adapterClass`, and so by its copy of SQLite.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` (another one has connections open).
 */
export function connectBy(adapterClass: AdapterClass): void {
  if (adapterClass !== Adapter && openConnections > 0) {
    throw badOption(
      'Another copy of SQLite than that of this adapter has a state open in this process, and two would take the locks of each other away: ' +
        'give the adapter to the first state that is opened, or one adapter of the same copy to each.',
    );
  }
  Adapter = adapterClass;
}

/** Opens a connection that knows no file yet. */
export async function openConnection(): Promise<SqlConnection> {
  // The prefix only, without which the adapter would make a file of that name.
  const adapter = new Adapter({ uri: 'sqlite://:memory:', table: 'loopstate_adapter' });
  // In the same tick: without a listener its first error would end the process. Every query reports it as well.
  adapter.on('error', () => undefined);
  await adapter.query(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  openConnections += 1;
  return {
    query: async (sql, parameters = []) => (await adapter.query(sql, parameters)) as readonly SqlRow[],
    close: async () => {
      await adapter.close();
      openConnections -= 1;
    },
  };
}

/** Opens a connection with one file attached; a file that does not exist is made, empty. */
export async function openAttached(path: string, schema: string): Promise<SqlConnection> {
  const connection = await openConnection();
  try {
    // Even to look at a file takes a lock, which whoever is alone with it does not grant.
    await whenFree(ATTACHED_WITHIN_MS, () => connection.query(`ATTACH ? AS ${schema}`, [path]));
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Opens a connection with one file attached, for the length of `run`. */
export async function withAttached<T>(path: string, schema: string, run: (connection: SqlConnection) => Promise<T>): Promise<T> {
  const connection = await openAttached(path, schema);
  try {
    return await run(connection);
  } finally {
    await connection.close();
  }
}

/** Runs `run` until no other connection is in its way, for at most `withinMs`; it must have no effect when it fails for that. */
export async function whenFree<T>(withinMs: number, run: () => Promise<T>): Promise<T> {
  const until = performance.now() + withinMs;
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!isBusy(error) || performance.now() >= until) throw error;
    }
    // Unequal pauses, lest the same two processes meet for ever.
    await sleep(Math.random() * PAUSE_MS_MAX);
  }
}

/** Runs `run` between `begin` and COMMIT; when it fails, nothing of it remains. */
export async function inTransaction<T>(connection: SqlConnection, begin: string, run: () => Promise<T>): Promise<T> {
  await connection.query(begin);
  try {
    const result = await run();
    await connection.query('COMMIT');
    return result;
  } catch (error) {
    await rollBack(connection);
    throw error;
  }
}

/** Ends a transaction, if there is one still: after some errors SQLite has ended it by itself. */
export async function rollBack(connection: SqlConnection): Promise<void> {
  await connection.query('ROLLBACK').catch(() => undefined);
}

/** A column that holds text. */
export function textOf(row: SqlRow, column: string): string {
  const value = row[column];
  if (typeof value === 'string') return value;
  throw new DamagedError(`the column ${column} holds ${value === null ? 'nothing' : `a ${typeof value}`}, not text`);
}

/** A column that holds a whole number. */
export function numberOf(row: SqlRow, column: string): number {
  const value = row[column];
  if (typeof value === 'number') return value;
  throw new DamagedError(`the column ${column} holds ${value === null ? 'nothing' : `a ${typeof value}`}, not a number`);
}
