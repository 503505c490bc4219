/** Forgets old deletions, so that a job with many of them does not grow for ever. */
import { inTransaction, numberOf, type SqlConnection, type SqlRow, textOf } from './connection.js';
import { parseJobHeader, TABLE } from './records.js';
import { writeHeader } from './restoration.js';

const ROWS_AT_ONCE = 1_000;

/**
 * Removes all tombstones of a job but the newest `kept` (at least one stays, so that the last revision does not fall), a thousand
 * in one transaction; the header says up to where deletions are forgotten, from before the first is gone.
 *
 * Errors: those of SQLite; what was removed until then stays removed.
 */
export async function sweepDeletions(connection: SqlConnection, job: string, kept: number): Promise<void> {
  const old = await connection.query(
    `SELECT key, revision FROM ${TABLE} WHERE job = ?1 AND value IS NULL ORDER BY revision DESC LIMIT -1 OFFSET ?2`,
    [job, Math.max(1, kept)],
  );
  const newest = old[0];
  if (newest === undefined) return;
  // Of one commit all or none are known.
  const forgotten = numberOf(newest, 'revision');
  for (let index = 0; index < old.length; index += ROWS_AT_ONCE) {
    const rows = old.slice(index, index + ROWS_AT_ONCE);
    await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      await raiseForgotten(connection, job, forgotten);
      await remove(connection, job, rows);
    });
  }
}

async function raiseForgotten(connection: SqlConnection, job: string, forgotten: number): Promise<void> {
  const [row] = await connection.query(`SELECT value, revision FROM ${TABLE} WHERE job = ?1 AND key = ''`, [job]);
  if (row === undefined) return;
  const header = parseJobHeader(textOf(row, 'value'));
  if (header.forgotten >= forgotten) return;
  await writeHeader(connection, { job, revision: numberOf(row, 'revision'), value: { ...header, forgotten } });
}

/** A key that was put again meanwhile, or deleted again, is left alone. */
async function remove(connection: SqlConnection, job: string, rows: readonly SqlRow[]): Promise<void> {
  await connection.query(
    `DELETE FROM ${TABLE} WHERE job = ?1 AND value IS NULL AND (key, revision) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?2))`,
    [job, JSON.stringify(rows.map((row) => [textOf(row, 'key'), numberOf(row, 'revision')]))],
  );
}
