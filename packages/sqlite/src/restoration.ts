/**
 * Puts a store together again from its copy, and from what is readable of the database itself.
 *
 * A process may be killed after each step, and the next must find all that this one had found:
 * 1. The new database is filled under a random name, which nobody ever reads. What is to be told stands in its header.
 * 2. It is synced, and only then named `state.db.restored`: what has that name is finished.
 * 3. The old files are put aside, the database first and durably: where it still stands, its log is with it.
 * 4. `state.db.restored` takes the place of the database.
 *
 * So a database that is not sound beside a finished one is what that was made of, or less, and step 3 goes on. A sound one is none that any
 * step leaves there: someone has put it there since, maybe with newer records, and it is not replaced.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import type { RecoveryFinding } from '@loopstate/core';
import { copyInto } from './backup.js';
import { inTransaction, numberOf, type SqlConnection, textOf, withAttached } from './connection.js';
import { writeFileHeader, writeJobHeader } from './headers.js';
import type { StoreNames } from './names.js';
import { asideOf, freeTime, makeFile, publish, putAside, statIfPresent, syncDirectory, takeRights } from './place.js';
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

/** What is to be told of it. */
type Tell = (restored: Restored) => readonly RecoveryFinding[];

/** How {@link restoreFile} is to do it. */
export interface FileRestoration {
  readonly copy: CopyUse;
  readonly salvageOld: boolean;
  readonly mayBeEmpty: boolean;
  readonly now: number;
  readonly tell: Tell;
  /** Called before the old files are touched, by when nothing more is to be found in them. */
  readonly release: () => Promise<void>;
}

/**
 * Makes a new database from the copy and from the sound rows of the old one (if `salvageOld`), puts the old files aside and the new one in
 * their place. With neither any row nor a copy, unless it `mayBeEmpty`, nothing is changed and `undefined` is returned; else what is to be told.
 *
 * Errors: those of SQLite, any system error; the old files are then as they were, or a finished database waits to take their place.
 */
export async function restoreFile(
  names: StoreNames,
  { copy, salvageOld, mayBeEmpty, now, tell, release }: FileRestoration,
): Promise<readonly RecoveryFinding[] | undefined> {
  const temporary = names.temporary();
  try {
    const salvaged = salvageOld ? await look(names.database) : NOTHING;
    const { rows: rowsOfCopy } = copy === 'sound-rows' && !salvaged.isComplete ? await lookAtCopy(names, salvaged) : NOTHING;
    if (!mayBeEmpty && copy !== 'whole' && salvaged.rows + rowsOfCopy === 0) return undefined;
    if (copy === 'whole') await fs.copyFile(names.backup, temporary, fs.constants.COPYFILE_EXCL);
    else await makeFile(temporary);
    const like = (await statIfPresent(names.database)) ?? (await statIfPresent(names.backup)) ?? (await fs.stat(temporary));
    // Until it is finished it is nobody else's; the copy may be older than a change of modes.
    await fs.chmod(temporary, 0o600);
    const sources = [...(salvaged.rows > 0 ? [names.database] : []), ...(rowsOfCopy > 0 ? [names.backup] : [])];
    const found = tell({ keptAs: await asideOf(names, names.files, now), salvaged, rowsOfCopy });
    const untold = await withAttached(temporary, 'store', (connection) => fill(connection, sources, found));
    await takeRights(temporary, like);
    await putAside(names, [names.restored], now);
    await publish(temporary, names.restored);
    await release();
    await putInPlace(names, now);
    return untold;
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/** Puts aside what there is of the database, and the finished one in its place. Errors: any system error. */
export async function putInPlace(names: StoreNames, now: number): Promise<void> {
  await putAside(names, names.files, now);
  await fs.rename(names.restored, names.database);
  await syncDirectory(names.directory);
}

function look(path: string): Promise<Salvaged> {
  return salvage(path, async () => undefined);
}

/** A copy of another store is none of this one. */
async function lookAtCopy(names: StoreNames, { store }: Salvaged): Promise<Salvaged> {
  const found = await look(names.backup);
  return store === undefined || found.store === undefined || found.store === store ? found : NOTHING;
}

async function fill(
  connection: SqlConnection,
  sources: readonly string[],
  found: readonly RecoveryFinding[],
): Promise<readonly RecoveryFinding[]> {
  return await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
    await connection.query(CREATION);
    for (const source of sources) await salvage(source, (sound) => addRows(connection, sound));
    return await skipRevisions(connection, { found });
  });
}

/**
 * Takes the records of the copy at `from`, or what can be read of it, into the database that stands, in place of its own; whatever else is
 * in it stays. What it held is kept aside where `keep` says so. Resolves to what is to be told.
 *
 * Errors: those of SQLite, any system error; the database is then as it was.
 */
export async function restoreRecords(
  names: StoreNames,
  { from, copy, keep, now, tell }: Pick<FileRestoration, 'copy' | 'now' | 'tell'> & { from: string; keep: boolean },
): Promise<readonly RecoveryFinding[]> {
  return await withAttached(names.database, 'store', async (connection) => {
    const aside = names.aside(names.database, await freeTime(names, [names.database], now));
    if (keep) await copyInto(connection, aside);
    const isWhole = copy === 'whole';
    if (isWhole) await connection.query('ATTACH ? AS copy', [from]);
    const { rows: rowsOfCopy } = isWhole ? NOTHING : await look(from);
    const found = tell({ keptAs: keep ? aside : undefined, salvaged: NOTHING, rowsOfCopy });
    return await inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      await connection.query(CREATION);
      await connection.query(`DELETE FROM ${TABLE}`);
      if (isWhole) await connection.query(`INSERT INTO ${TABLE} (${COLUMNS}) SELECT ${COLUMNS} FROM copy.loopstate_records`);
      else await salvage(from, (sound) => addRows(connection, sound));
      return await skipRevisions(connection, { found });
    });
  });
}

/**
 * Lifts the revisions above all that may have been given, and forgets the deletions so far: what followers have seen may be more
 * than what stands now. Within a transaction: a job that forgot deletions above the last revision could not be read.
 *
 * Notes what was `found` in the header, lest it dies with this process; resolves to all that is to be told.
 */
export async function skipRevisions(
  connection: SqlConnection,
  { count = REVISIONS_SKIPPED, found }: { count?: number; found: readonly RecoveryFinding[] },
): Promise<readonly RecoveryFinding[]> {
  const [file] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = '' AND key = ''`);
  const { store, untold: earlier } = file === undefined ? { store: randomUUID(), untold: [] } : parseFileHeader(textOf(file, 'value'));
  const [row] = await connection.query(`SELECT coalesce(max(seq), 0) AS last FROM ${TABLE}`);
  const floor = revisionOf(numberOf(row ?? {}, 'last')) + count;
  for (const { job } of await connection.query(`SELECT DISTINCT job FROM ${TABLE} WHERE job <> ''`)) {
    if (typeof job === 'string') await writeJobHeader(connection, job, { forgotten: floor });
  }
  const untold = [...earlier, ...found];
  await writeFileHeader(connection, { format: FORMAT, store, isOpen: false, untold }, floor);
  return untold;
}
