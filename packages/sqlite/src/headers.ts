/** Writes the headers: that of the file, and that of each job. */
import type { SqlConnection } from './connection.js';
import { COLUMNS, type FileHeader, type JobHeader, SEQS_PER_REVISION, sumOf, TABLE } from './records.js';

/** Writes the header of the file, at a floor under all revisions to come. */
export async function writeFileHeader(connection: SqlConnection, header: FileHeader, floor: number): Promise<void> {
  const text = JSON.stringify(header);
  const seq = floor * SEQS_PER_REVISION;
  await connection.query(`INSERT OR REPLACE INTO ${TABLE} (${COLUMNS}) VALUES (?1, '', '', ?2, 0, ?3)`, [seq, text, sumOf('', '', text)]);
}

/** Changes the header of the file, which keeps its place. */
export async function updateFileHeader(connection: SqlConnection, header: FileHeader): Promise<void> {
  const text = JSON.stringify(header);
  await connection.query(`UPDATE ${TABLE} SET value = ?1, sum = ?2 WHERE job = '' AND key = ''`, [text, sumOf('', '', text)]);
}

/** Writes the header of a job; a new one gets a place below all others. */
export async function writeJobHeader(connection: SqlConnection, job: string, header: JobHeader): Promise<void> {
  const text = JSON.stringify(header);
  await connection.query(
    `INSERT INTO ${TABLE} (${COLUMNS}) VALUES (min(0, (SELECT min(seq) FROM ${TABLE})) - 1, ?1, '', ?2, 0, ?3)
     ON CONFLICT (job, key) DO UPDATE SET value = excluded.value, sum = excluded.sum`,
    [job, text, sumOf(job, '', text)],
  );
}
