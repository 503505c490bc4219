/** Puts a store together again from its copy, and from what is readable of the database itself. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import { inTransaction, numberOf, type SqlConnection, textOf, withAttached } from './connection.js';
import type { StoreNames } from './names.js';
import { freeTime, makeFile, publish, putAside, statIfPresent } from './place.js';
import { creation, FORMAT, parseJobHeader, sumOf, TABLE } from './records.js';
import { salvage } from './salvage.js';

/** Commits that were lost had revisions too, and none may be given again; nobody commits more than this between two copies. */
const REVISIONS_SKIPPED = 1_000_000_000;

/** What was done. */
export interface Restored {
  /** Where the files that were replaced are kept. */
  readonly keptAs: string | undefined;
  /** How many rows of the damaged database were read. */
  readonly salvaged: number;
}

/**
 * Makes a new database from the copy (if `useCopy`) and from the sound rows of the old one (if `salvageOld`), puts the old files
 * aside and the new one in their place. With neither any row nor a copy, nothing is changed and `undefined` is returned.
 *
 * Errors: those of SQLite, any system error; the old files are then as they were, or put aside.
 */
export async function restoreFile(
  names: StoreNames,
  { useCopy, salvageOld, now }: { useCopy: boolean; salvageOld: boolean; now: number },
): Promise<Restored | undefined> {
  const temporary = names.temporary();
  try {
    if (useCopy) await fs.copyFile(names.backup, temporary, fs.constants.COPYFILE_EXCL);
    else await makeFile(temporary);
    const salvaged = await withAttached(temporary, 'store', (connection) =>
      inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
        for (const statement of creation('store')) await connection.query(statement);
        const count = salvageOld ? await salvage(names.database, connection) : 0;
        await skipRevisions(connection);
        return count;
      }),
    );
    if (!useCopy && salvaged === 0) return undefined;
    const old = await statIfPresent(names.database);
    if (old !== undefined) await fs.chmod(temporary, Number(old.mode) & 0o777);
    const keptAs = await putAside(names, names.files, now);
    await publish(temporary, names.database);
    return { keptAs, salvaged };
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/**
 * Takes jobs from the copy into the database that stands, all or none; everything else in it stays. What the database held of
 * them is kept aside where `keep` says so.
 *
 * Errors: those of SQLite, any system error; the database is then as it was.
 */
export async function restoreJobs(
  names: StoreNames,
  { jobs, keep, now }: { jobs: readonly string[]; keep: boolean; now: number },
): Promise<Restored> {
  return await withAttached(names.database, 'store', async (connection) => {
    const aside = names.aside(names.database, await freeTime(names, [names.database], now));
    if (keep) await connection.query('VACUUM store INTO ?', [aside]);
    await connection.query('ATTACH ? AS copy', [names.backup]);
    await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      for (const statement of creation('store')) await connection.query(statement);
      for (const job of ['', ...jobs]) {
        await connection.query(`DELETE FROM ${TABLE} WHERE job = ?1`, [job]);
        await connection.query(
          `INSERT INTO ${TABLE} SELECT job, key, value, revision, at, sum FROM copy.loopstate_records WHERE job = ?1`,
          [job],
        );
      }
      await skipRevisions(connection);
    });
    return { keptAs: keep ? aside : undefined, salvaged: 0 };
  });
}

/**
 * Lifts the revisions of every job above all that may have been given, and forgets the deletions so far: what followers have
 * seen may be more than what stands now.
 */
export async function skipRevisions(connection: SqlConnection): Promise<void> {
  await writeHeader(connection, { job: '', revision: 0, value: { format: FORMAT, isOpen: true } });
  const rows = await connection.query(
    `SELECT job, max(revision) AS last, (SELECT value FROM ${TABLE} AS h WHERE h.job = r.job AND key = '') AS header
     FROM ${TABLE} AS r WHERE job <> '' GROUP BY job`,
  );
  for (const row of rows) {
    const revision = numberOf(row, 'last') + REVISIONS_SKIPPED;
    const store = row.header === null ? randomUUID() : parseJobHeader(textOf(row, 'header')).store;
    await writeHeader(connection, { job: textOf(row, 'job'), revision, value: { store, forgotten: revision } });
  }
}

/** Writes the header of a job, or (job '') of the file. */
export async function writeHeader(
  connection: SqlConnection,
  { job, revision, value }: { job: string; revision: number; value: object },
): Promise<void> {
  const text = JSON.stringify(value);
  await connection.query(`INSERT OR REPLACE INTO ${TABLE} (job, key, value, revision, at, sum) VALUES (?1, '', ?2, ?3, 0, ?4)`, [
    job,
    text,
    revision,
    sumOf(job, '', text),
  ]);
}
