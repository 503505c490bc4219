/** What can still be read of a damaged database: every row that SQLite finds and whose check sum is right. */
import { numberOf, type SqlConnection, type SqlRow, textOf, withAttached } from './connection.js';
import { COLUMNS, type StoredRow, sumOf, TABLE, toStoredRow } from './records.js';
import { hasCode, isDamage } from './trouble.js';

const ROWS_AT_ONCE = 500;

/** How much of a damaged database could be read. */
export interface Salvaged {
  /** Sound rows, each counted once. */
  readonly rows: number;
  /** Every row that the index knows was found, and sound: nothing is missing. */
  readonly isComplete: boolean;
}

/**
 * Hands the sound rows of the database at `path` to `take`, some of them perhaps twice. What SQLite can't read on the way forward is
 * approached from the other end.
 *
 * Errors: those of `take`; damage is none.
 */
export async function salvage(path: string, take: (rows: readonly StoredRow[]) => Promise<void>): Promise<Salvaged> {
  const seen = new Map<number, string>();
  let areSound = true;
  const takeSound = async (rows: readonly SqlRow[]) => {
    const sound = rows.map(soundRow).filter((row) => row !== undefined);
    for (const { seq, job, key } of sound) seen.set(seq, nameOf(job, key));
    areSound &&= sound.length === rows.length;
    await take(sound);
  };
  const isRead = (await walk(path, 'ASC', takeSound)) === 'end';
  if (!isRead) await walk(path, 'DESC', takeSound);
  const isComplete = isRead && areSound && (await indexKnowsOnly(path, new Set(seen.values())));
  return { rows: seen.size, isComplete };
}

/**
 * Adds rows to the database that is attached as `store`, where they are newer than what stands there. Of a header only one that is
 * missing is taken: what stands there is from a sound copy. Errors: those of SQLite.
 */
export async function addRows(into: SqlConnection, rows: readonly StoredRow[]): Promise<void> {
  const list = rows.map(({ seq, job, key, value, at }) => [seq, job, key, value, at, sumOf(job, key, value)]);
  await into.query(
    `INSERT OR REPLACE INTO ${TABLE} (${COLUMNS})
     SELECT found.value ->> 0, found.value ->> 1, found.value ->> 2, found.value ->> 3, found.value ->> 4, found.value ->> 5
     FROM json_each(?1) AS found
     WHERE NOT EXISTS (SELECT 1 FROM ${TABLE} AS r WHERE r.job = found.value ->> 1 AND r.key = found.value ->> 2
       AND (r.key = '' OR r.seq >= found.value ->> 0))`,
    [JSON.stringify(list)],
  );
}

async function walk(path: string, direction: 'ASC' | 'DESC', take: (rows: readonly SqlRow[]) => Promise<void>): Promise<'end' | 'damage'> {
  return await withReadable(path, 'damage', async (connection) => {
    let limit = ROWS_AT_ONCE;
    let after: number | undefined;
    for (;;) {
      const rows = await readOn(connection, direction, after, limit);
      if (rows === 'damage') {
        // Closer and closer to the damaged page, row by row at last.
        if (limit === 1) return 'damage';
        limit = Math.ceil(limit / 8);
        continue;
      }
      await take(rows);
      const last = rows.at(-1);
      if (last === undefined) return 'end';
      const reached = numberOf(last, 'seq');
      // A damaged page can put rows out of order, and lead round in a circle.
      if (after !== undefined && (direction === 'ASC' ? reached <= after : reached >= after)) return 'damage';
      after = reached;
    }
  });
}

/** A page may have lost rows without a trace, but for the index. */
async function indexKnowsOnly(path: string, found: ReadonlySet<string>): Promise<boolean> {
  return await withReadable(path, false, async (connection) => {
    const rows = await connection.query(`SELECT job, key FROM ${TABLE} INDEXED BY sqlite_autoindex_loopstate_records_1`);
    return rows.every((row) => found.has(nameOf(textOf(row, 'job'), textOf(row, 'key'))));
  });
}

/** Resolves to `otherwise` where SQLite cannot make sense of the file. */
async function withReadable<T>(path: string, otherwise: T, run: (connection: SqlConnection) => Promise<T>): Promise<T> {
  try {
    return await withAttached(path, 'store', run);
  } catch (error) {
    if (isDamage(error) || hasCode(error, 'SQLITE_ERROR')) return otherwise;
    throw error;
  }
}

function nameOf(job: string, key: string): string {
  return JSON.stringify([job, key]);
}

async function readOn(
  connection: SqlConnection,
  direction: 'ASC' | 'DESC',
  after: number | undefined,
  limit: number,
): Promise<readonly SqlRow[] | 'damage'> {
  const from = after === undefined ? '' : `WHERE seq ${direction === 'ASC' ? '>' : '<'} ${after}`;
  try {
    return await connection.query(`SELECT ${COLUMNS} FROM ${TABLE} ${from} ORDER BY seq ${direction} LIMIT ${limit}`);
  } catch (error) {
    if (isDamage(error)) return 'damage';
    throw error;
  }
}

function soundRow(row: SqlRow): StoredRow | undefined {
  try {
    return toStoredRow(row);
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}
