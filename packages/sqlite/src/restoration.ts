/** Puts a store together again from its copy, and from what is readable of the database itself. */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import { inTransaction, numberOf, type SqlConnection, textOf, withAttached } from './connection.js';
import { writeFileHeader, writeJobHeader } from './headers.js';
import type { StoreNames } from './names.js';
import { freeTime, makeFile, publish, putAside, statIfPresent } from './place.js';
import { COLUMNS, CREATION, FORMAT, parseFileHeader, revisionOf, TABLE } from './records.js';
import { addRows, NOTHING, type Salvaged, salvage } from './salvage.js';

/** Commits that were lost had revisions too, and none may be given again; nobody commits more than this between two copies. */
const REVISIONS_SKIPPED = 1_000_000_000;

/** The same where only the last transaction can have been lost: a group of commits. Few enough, since it happens with a crash. */
export const REVISIONS_OF_A_GROUP = 1_000_000;

/** What is taken of a copy: all of it, or, if it is damaged, what can be read of it. */
export type CopyUse = 'whole' | 'sound-rows' | 'none';

/** What was done. */
export interface Restored {
  /** Where the files that were replaced are kept. */
  readonly keptAs: string | undefined;
  /** What could be read of the damaged database. */
  readonly salvaged: Salvaged;
  /** How many rows of a damaged copy could be read, and were taken in. */
  readonly rowsOfCopy: number;
}

/**
 * Makes a new database from the copy and from the sound rows of the old one (if `salvageOld`), puts the old files aside and the new one in
 * their place. With neither any row nor a copy, nothing is changed and `undefined` is returned.
 *
 * Errors: those of SQLite, any system error; the old files are then as they were, or put aside.
 */
export async function restoreFile(
  names: StoreNames,
  { copy, salvageOld, now }: { copy: CopyUse; salvageOld: boolean; now: number },
): Promise<Restored | undefined> {
  const temporary = names.temporary();
  try {
    const salvaged = salvageOld ? await look(names.database) : NOTHING;
    const { rows: rowsOfCopy } = copy === 'sound-rows' && !salvaged.isComplete ? await lookAtCopy(names, salvaged) : NOTHING;
    if (copy !== 'whole' && salvaged.rows + rowsOfCopy === 0) return undefined;
    if (copy === 'whole') await fs.copyFile(names.backup, temporary, fs.constants.COPYFILE_EXCL);
    else await makeFile(temporary);
    const sources = [...(salvaged.rows > 0 ? [names.database] : []), ...(rowsOfCopy > 0 ? [names.backup] : [])];
    await withAttached(temporary, 'store', (connection) => fill(connection, sources));
    const old = await statIfPresent(names.database);
    if (old !== undefined) await fs.chmod(temporary, Number(old.mode) & 0o777);
    const keptAs = await putAside(names, names.files, now);
    await publish(temporary, names.database);
    return { keptAs, salvaged, rowsOfCopy };
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

function look(path: string): Promise<Salvaged> {
  return salvage(path, async () => undefined);
}

/** A copy of another store is none of this one. */
async function lookAtCopy(names: StoreNames, { store }: Salvaged): Promise<Salvaged> {
  const found = await look(names.backup);
  return store === undefined || found.store === undefined || found.store === store ? found : NOTHING;
}

async function fill(connection: SqlConnection, sources: readonly string[]): Promise<void> {
  await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
    await connection.query(CREATION);
    for (const source of sources) await salvage(source, (sound) => addRows(connection, sound));
    await skipRevisions(connection);
  });
}

/**
 * Takes the records of the copy into the database that stands, in place of its own; whatever else is in it stays. What it held is
 * kept aside where `keep` says so.
 *
 * Errors: those of SQLite, any system error; the database is then as it was.
 */
export async function restoreRecords(names: StoreNames, { keep, now }: { keep: boolean; now: number }): Promise<Restored> {
  return await withAttached(names.database, 'store', async (connection) => {
    const aside = names.aside(names.database, await freeTime(names, [names.database], now));
    if (keep) await connection.query('VACUUM store INTO ?', [aside]);
    await connection.query('ATTACH ? AS copy', [names.backup]);
    await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      await connection.query(CREATION);
      await connection.query(`DELETE FROM ${TABLE}`);
      await connection.query(`INSERT INTO ${TABLE} (${COLUMNS}) SELECT ${COLUMNS} FROM copy.loopstate_records`);
      await skipRevisions(connection);
    });
    return { keptAs: keep ? aside : undefined, salvaged: NOTHING, rowsOfCopy: 0 };
  });
}

/**
 * Lifts the revisions above all that may have been given, and forgets the deletions so far: what followers have seen may be more
 * than what stands now. Within a transaction: a job that forgot deletions above the last revision could not be read.
 */
export async function skipRevisions(connection: SqlConnection, count = REVISIONS_SKIPPED): Promise<void> {
  const [file] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = '' AND key = ''`);
  const store = file === undefined ? randomUUID() : parseFileHeader(textOf(file, 'value')).store;
  const [row] = await connection.query(`SELECT coalesce(max(seq), 0) AS last FROM ${TABLE}`);
  const floor = revisionOf(numberOf(row ?? {}, 'last')) + count;
  for (const { job } of await connection.query(`SELECT DISTINCT job FROM ${TABLE} WHERE job <> ''`)) {
    if (typeof job === 'string') await writeJobHeader(connection, job, { forgotten: floor });
  }
  await writeFileHeader(connection, { format: FORMAT, store, isOpen: true }, floor);
}
