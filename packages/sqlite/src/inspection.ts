/** What a file is, found out by SQLite itself: to read it past SQLite would release the locks that this process has on it. */
import { numberOf, type SqlConnection, textOf, withAttached } from './connection.js';
import { statIfPresent } from './place.js';
import { FORMAT, parseFileHeader, parseJobHeader, TABLE, toStoredRow } from './records.js';
import { DamagedError, hasCode, isDamage } from './trouble.js';

const ROWS_AT_ONCE = 2_000;
const COLUMNS = ['job', 'key', 'value', 'revision', 'at', 'sum'];

/** A job of a file: which store it is, and its last revision. */
export interface JobStanding {
  readonly store: string;
  readonly revision: number;
}

/** What a file is. */
export type Inspection =
  | { readonly kind: 'absent' | 'empty' | 'no-database' | 'without-records' | 'foreign-table' }
  | { readonly kind: 'newer'; readonly format: number }
  | { readonly kind: 'damaged'; readonly reason: string }
  | { readonly kind: 'sound'; readonly isOpen: boolean; readonly jobs: ReadonlyMap<string, JobStanding> };

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
    if (isDamage(error)) return { kind: 'damaged', reason: error instanceof Error ? error.message : String(error) };
    throw error;
  }
}

/** Holds every record of the database attached as `store` against its check sum. Errors: `DamagedError`, those of SQLite. */
export async function verifyRecords(connection: SqlConnection): Promise<void> {
  const check = await connection.query('PRAGMA store.quick_check(1)');
  const verdict = textOf(check[0] ?? {}, 'quick_check');
  if (verdict !== 'ok') throw new DamagedError(verdict);
  let after = ['', ''];
  for (;;) {
    const rows = await connection.query(
      `SELECT * FROM ${TABLE} WHERE (job, key) > (?1, ?2) ORDER BY job, key LIMIT ${ROWS_AT_ONCE}`,
      after,
    );
    for (const { job, key } of rows.map(toStoredRow)) after = [job, key];
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
  const { format, isOpen } = parseFileHeader(textOf(header, 'value'));
  if (format > FORMAT) return { kind: 'newer', format };
  if (!COLUMNS.every((name) => columns.includes(name))) return { kind: 'foreign-table' };
  if (depth === 'every') await verifyRecords(connection);
  return { kind: 'sound', isOpen, jobs: await readJobs(connection) };
}

async function readJobs(connection: SqlConnection): Promise<ReadonlyMap<string, JobStanding>> {
  const rows = await connection.query(
    `SELECT job, value, (SELECT max(revision) FROM ${TABLE} AS r WHERE r.job = h.job) AS last FROM ${TABLE} AS h WHERE key = '' AND job <> ''`,
  );
  return new Map(
    rows.map((row) => [textOf(row, 'job'), { store: parseJobHeader(textOf(row, 'value')).store, revision: numberOf(row, 'last') }]),
  );
}
