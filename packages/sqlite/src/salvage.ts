/** What can still be read of a damaged database: every row that SQLite finds and whose check sum is right. */
import { openAttached, type SqlConnection, type SqlRow, type SqlValue } from './connection.js';
import { sumOf, TABLE, toStoredRow } from './records.js';
import { isDamage } from './trouble.js';

const ROWS_AT_ONCE = 500;

/**
 * Adds the sound rows of the database at `path` to the one that is attached as `store`, where they are newer than what stands
 * there. Resolves to how many were found. What SQLite can't read on the way forward is approached from the other end.
 *
 * Errors: those of `into`; damage of the file itself is none.
 */
export async function salvage(path: string, into: SqlConnection): Promise<number> {
  let found = 0;
  for (const direction of ['ASC', 'DESC'] as const) {
    const result = await walk(path, direction, async (rows) => {
      found += rows.length;
      await addRows(into, rows);
    });
    if (result === 'end') break;
  }
  return found;
}

async function walk(path: string, direction: 'ASC' | 'DESC', take: (rows: readonly SqlRow[]) => Promise<void>): Promise<'end' | 'damage'> {
  let connection: SqlConnection | undefined;
  try {
    connection = await openAttached(path, 'store');
    let limit = ROWS_AT_ONCE;
    let after: readonly SqlValue[] | undefined;
    for (;;) {
      const rows = await readOn(connection, direction, after, limit);
      if (rows === 'damage') {
        // Closer and closer to the damaged page, row by row at last.
        if (limit === 1) return 'damage';
        limit = Math.ceil(limit / 8);
        continue;
      }
      await take(rows.filter(isSound));
      const last = rows.at(-1);
      if (last === undefined) return 'end';
      after = [last.job as SqlValue, last.key as SqlValue];
    }
  } finally {
    await connection?.close();
  }
}

async function readOn(
  connection: SqlConnection,
  direction: 'ASC' | 'DESC',
  after: readonly SqlValue[] | undefined,
  limit: number,
): Promise<readonly SqlRow[] | 'damage'> {
  const from = after === undefined ? '' : `WHERE (job, key) ${direction === 'ASC' ? '>' : '<'} (?1, ?2)`;
  try {
    return await connection.query(`SELECT * FROM ${TABLE} ${from} ORDER BY job ${direction}, key ${direction} LIMIT ${limit}`, after ?? []);
  } catch (error) {
    if (isDamage(error)) return 'damage';
    throw error;
  }
}

function isSound(row: SqlRow): boolean {
  try {
    toStoredRow(row);
    return true;
  } catch {
    return false;
  }
}

/** Of a header only one that is missing is taken: what stands there is from a sound copy. */
async function addRows(into: SqlConnection, rows: readonly SqlRow[]): Promise<void> {
  const list = rows.map(toStoredRow).map((row) => [row.job, row.key, row.value, row.revision, row.at, sumOf(row.job, row.key, row.value)]);
  await into.query(
    `INSERT INTO ${TABLE} (job, key, value, revision, at, sum)
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?1) WHERE true
     ON CONFLICT (job, key) DO UPDATE SET value = excluded.value, revision = excluded.revision, at = excluded.at, sum = excluded.sum
     WHERE excluded.revision > revision AND key <> ''`,
    [JSON.stringify(list)],
  );
}
