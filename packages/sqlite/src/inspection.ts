/** What a file is, found out by SQLite itself: to read it past SQLite would release the locks that this process has on it. */
import fs from 'node:fs/promises';
import { isError } from '@loopstate/core';
import { numberOf, openConnection, type SqlConnection, textOf, whenFree, withAttached } from './connection.js';
import type { StoreNames } from './names.js';
import { statIfPresent } from './place.js';
import { COLUMNS, type FileHeader, FORMAT, parseFileHeader, revisionOf, TABLE, toStoredRow } from './records.js';
import { DamagedError, hasCode, isDamage } from './trouble.js';

const ROWS_AT_ONCE = 2_000;

/** Nobody but readers can be in the way. */
const FREE_WITHIN_MS = 15_000;

/** What a file is. */
export type Inspection =
  | { readonly kind: 'absent' | 'empty' | 'no-database' | 'without-records' | 'foreign-table' }
  | { readonly kind: 'newer'; readonly format: number }
  | { readonly kind: 'damaged'; readonly reason: string }
  | ({ readonly kind: 'sound'; readonly revision: number } & Omit<FileHeader, 'format'>);

/**
 * Looks at a file without changing it. `every` record is held against its check sum, and the structure of the whole file checked;
 * else only what tells one kind of file from another. Errors: those of SQLite that are no damage, any system error.
 */
export async function inspect(path: string, depth: 'every' | 'first' = 'every'): Promise<Inspection> {
  const stats = await statIfPresent(path);
  if (stats === undefined) return { kind: 'absent' };
  // SQLite would remove the write-ahead log of an empty file.
  if (stats.size === 0) return { kind: 'empty' };
  try {
    return await withAttached(path, 'store', (connection) => inspectAttached(connection, depth));
  } catch (error) {
    if (hasCode(error, 'SQLITE_NOTADB')) return { kind: 'no-database' };
    // None of our statements is wrong: it is the schema, or the header, that makes no sense.
    if (isDamage(error) || hasCode(error, 'SQLITE_ERROR'))
      return { kind: 'damaged', reason: isError(error) ? error.message : String(error) };
    throw error;
  }
}

/** What was found, and what is to be called when the database is open in some other way, or may be closed; calling it again does nothing. */
export interface HeldInspection {
  readonly found: Inspection;
  readonly release: () => Promise<void>;
}

/**
 * As {@link inspect}, for a database that nobody has open. SQLite would write its log into anything: so it is opened only if it is a database
 * by itself; and would remove the log when it is closed: so it is held open, lest someone who is killed meanwhile leaves it without.
 */
export async function inspectLeft(names: StoreNames, depth: 'every' | 'first' = 'every'): Promise<HeldInspection> {
  const log = await statIfPresent(names.log);
  const isWithLog = log !== undefined && log.size > 0;
  if (isWithLog && (await isNoDatabase(names))) return { found: { kind: 'no-database' }, release: async () => undefined };
  let holder = isWithLog ? await hold(names.database) : undefined;
  const release = async (): Promise<void> => {
    const held = holder;
    holder = undefined;
    await held?.close();
  };
  try {
    let found = await inspect(names.database, depth);
    if (depth === 'every' && found.kind === 'sound' && !(await takesWrites(names.database)))
      found = { kind: 'damaged', reason: 'its header does not allow to write it' };
    return { found, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** A connection that has read from the file; `undefined` if SQLite can't, or if it is empty: see {@link inspect}. */
async function hold(path: string): Promise<SqlConnection | undefined> {
  if (((await statIfPresent(path))?.size ?? 0) === 0) return undefined;
  const connection = await openConnection();
  try {
    await whenFree(FREE_WITHIN_MS, () => connection.query('ATTACH ? AS store', [path]));
    await connection.query('SELECT count(*) FROM store.sqlite_schema');
    return connection;
  } catch {
    // What is wrong with it is found out by looking at it.
    await connection.close();
    return undefined;
  }
}

/** That the system allows it was seen before. */
async function takesWrites(path: string): Promise<boolean> {
  try {
    // It changes nothing, and needs what a change needs.
    await withAttached(path, 'store', (connection) => whenFree(FREE_WITHIN_MS, () => connection.query(`DELETE FROM ${TABLE} WHERE 0`)));
    return true;
  } catch (error) {
    if (hasCode(error, 'SQLITE_READONLY')) return false;
    throw error;
  }
}

/** Under another name it has no log. */
async function isNoDatabase(names: StoreNames): Promise<boolean> {
  const other = names.temporary();
  try {
    await fs.link(names.database, other);
    await withAttached(other, 'store', (connection) => connection.query('SELECT count(*) FROM store.sqlite_schema'));
    return false;
  } catch (error) {
    // Whatever else is wrong, a database that is gone or a file system without links included, is found out later.
    return hasCode(error, 'SQLITE_NOTADB');
  } finally {
    for (const name of [other, `${other}-wal`, `${other}-shm`]) await fs.rm(name, { force: true });
  }
}

/** Holds every record of the database attached as `store` against its check sum. Errors: `DamagedError`, those of SQLite. */
export async function verifyRecords(connection: SqlConnection): Promise<void> {
  // Not `quick_check`: an index that misses a key would let it be claimed twice.
  const check = await connection.query('PRAGMA store.integrity_check(1)');
  const verdict = textOf(check[0] ?? {}, 'integrity_check');
  if (verdict !== 'ok') throw new DamagedError(verdict);
  let from = '';
  for (;;) {
    const rows = await connection.query(`SELECT ${COLUMNS} FROM ${TABLE} ${from} ORDER BY seq LIMIT ${ROWS_AT_ONCE}`);
    for (const { seq } of rows.map(toStoredRow)) from = `WHERE seq > ${seq}`;
    if (rows.length < ROWS_AT_ONCE) return;
  }
}

async function inspectAttached(connection: SqlConnection, depth: 'every' | 'first'): Promise<Inspection> {
  const tables = await connection.query("SELECT name FROM store.sqlite_schema WHERE name = 'loopstate_records'");
  if (tables.length === 0) return { kind: 'without-records' };
  const columns = (await connection.query('PRAGMA store.table_info(loopstate_records)')).map((row) => row.name);
  // The place of the header is fixed for all formats.
  if (!['job', 'key', 'value'].every((name) => columns.includes(name))) return { kind: 'foreign-table' };
  const [header] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = '' AND key = ''`);
  if (header === undefined) throw new DamagedError('the header of the file is gone');
  const { format, ...known } = parseFileHeader(textOf(header, 'value'));
  if (format > FORMAT) return { kind: 'newer', format };
  if (!COLUMNS.split(', ').every((name) => columns.includes(name))) return { kind: 'foreign-table' };
  if (depth === 'every') await verifyRecords(connection);
  const [row] = await connection.query(`SELECT max(seq) AS last FROM ${TABLE}`);
  return { kind: 'sound', ...known, revision: revisionOf(numberOf(row ?? {}, 'last')) };
}
