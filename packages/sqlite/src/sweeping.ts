/** Forgets old deletions, so that a job with many of them does not grow for ever. */
import { inTransaction, numberOf, type SqlConnection, type SqlRow, textOf } from './connection.js';
import { writeJobHeader } from './headers.js';
import { parseJobHeader, revisionOf, TABLE } from './records.js';

const ROWS_AT_ONCE = 1_000;

/**
 * Removes all tombstones of a job but the newest `kept` (at least one stays, so that the last revision does not fall), a thousand
 * in one transaction; the header says up to where deletions are forgotten, from before the first is gone.
 *
 * Errors: those of SQLite; what was removed until then stays removed.
 */
export async function sweepDeletions(connection: SqlConnection, job: string, kept: number): Promise<void> {
  const old = await connection.query(`SELECT seq FROM ${TABLE} WHERE +job = ?1 AND value IS NULL ORDER BY seq DESC LIMIT -1 OFFSET ?2`, [
    job,
    Math.max(1, kept),
  ]);
  const newest = old[0];
  if (newest === undefined) return;
  // Of one commit all or none are known.
  const forgotten = revisionOf(numberOf(newest, 'seq'));
  for (let index = 0; index < old.length; index += ROWS_AT_ONCE) {
    const rows = old.slice(index, index + ROWS_AT_ONCE);
    await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      await raiseForgotten(connection, job, forgotten);
      await remove(connection, rows);
    });
  }
}

async function raiseForgotten(connection: SqlConnection, job: string, forgotten: number): Promise<void> {
  const [row] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = ?1 AND key = ''`, [job]);
  if (row === undefined || parseJobHeader(textOf(row, 'value')).forgotten >= forgotten) return;
  await writeJobHeader(connection, job, { forgotten });
}

/** A key that was put or deleted again meanwhile has another row. */
async function remove(connection: SqlConnection, rows: readonly SqlRow[]): Promise<void> {
  await connection.query(`DELETE FROM ${TABLE} WHERE seq IN (SELECT value FROM json_each(?1))`, [
    JSON.stringify(rows.map((row) => numberOf(row, 'seq'))),
  ]);
}
