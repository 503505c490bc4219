/** What can still be read of a damaged database: every row that SQLite finds and whose check sum is right. */
import { numberOf, openAttached, type SqlConnection, type SqlRow } from './connection.js';
import { COLUMNS, type StoredRow, sumOf, TABLE, toStoredRow } from './records.js';
import { isDamage } from './trouble.js';

const ROWS_AT_ONCE = 500;

/** How much of a damaged database could be read. */
export interface Salvaged {
  /** Sound rows, each counted once. */
  readonly rows: number;
  /** Every row was found, and sound: what is damaged is an index, or nothing of ours. */
  readonly isComplete: boolean;
}

/**
 * Hands the sound rows of the database at `path` to `take`, some of them perhaps twice. What SQLite can't read on the way forward is
 * approached from the other end.
 *
 * Errors: those of `take`; damage is none.
 */
export async function salvage(path: string, take: (rows: readonly StoredRow[]) => Promise<void>): Promise<Salvaged> {
  const seen = new Set<number>();
  let isSound = true;
  const takeSound = async (rows: readonly SqlRow[]) => {
    const sound = rows.map(soundRow).filter((row) => row !== undefined);
    for (const { seq } of sound) seen.add(seq);
    isSound &&= sound.length === rows.length;
    await take(sound);
  };
  const isRead = (await walk(path, 'ASC', takeSound)) === 'end';
  if (!isRead) await walk(path, 'DESC', takeSound);
  return { rows: seen.size, isComplete: isRead && isSound };
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
  let connection: SqlConnection | undefined;
  try {
    connection = await openAttached(path, 'store');
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
      after = numberOf(last, 'seq');
    }
  } finally {
    await connection?.close();
  }
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
