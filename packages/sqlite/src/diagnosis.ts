/** Looks at a database and what is beside it, and changes nothing; what is found is judged in `judge-sqlite.ts`. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type DiagnoseOptions,
  type Diagnosis,
  isLoopStateError,
  learnPlace,
  type PlaceFacts,
  type StateRecord,
  unusablePlace,
} from '@loopstate/core';
import { type SqlConnection, textOf, withAttached } from './connection.js';
import { withCopies } from './copies.js';
import { inspect, inspectLeft } from './inspection.js';
import { type Examined, judgeSqlite, type SqliteFacts } from './judge-sqlite.js';
import { type KeptLog, keepLog } from './kept-log.js';
import { StoreNames } from './names.js';
import { type FileSystemType, judgeFileSystem, realFileSystemType, resolveDatabasePath, statIfPresent } from './place.js';
import { prepare } from './preparation.js';
import { COLUMNS, TABLE, toRecord, toStoredRow } from './records.js';
import { locationOf, type SqliteAdapter, type SqliteLocation } from './target.js';
import { unavailable } from './trouble.js';

const ROWS_AT_ONCE = 1_000;

/** Options of {@link diagnoseSqlite}. */
export interface DiagnoseSqliteOptions extends DiagnoseOptions {
  /** For tests: the type of the file system of a directory, as `statfs` tells it. */
  readonly fileSystemType?: FileSystemType;
}

/** Looks at what a URL of the form `sqlite:./state.db?job=review` means; see {@link diagnoseSqlite}. */
export async function diagnose(url: string, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  return await diagnoseSqlite(url, options);
}

/**
 * Says what the database that `target` names is like, without changing anything: what is read, and repaired to see what comes of it, are
 * copies in the directory for temporary files. Only a database that others write to all the time is read itself.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`. Whatever else is wrong is a finding.
 */
export async function diagnoseSqlite(
  target: string | SqliteLocation | SqliteAdapter,
  { onRecord = () => undefined, fileSystemType = realFileSystemType }: DiagnoseSqliteOptions = {},
): Promise<Diagnosis> {
  const { path, job } = locationOf(target);
  const about = { backend: 'sqlite', reach: 'host' } as const;
  try {
    const names = new StoreNames(await resolveDatabasePath(path));
    const facts = await gather(names, { job, fileSystemType, onRecord });
    return { ...about, where: names.database, findings: judgeSqlite(facts) };
  } catch (error) {
    const { message } = unavailable(error, `${path} cannot be looked at`);
    return { ...about, where: path, findings: [unusablePlace(path, message)] };
  }
}

interface Asked {
  readonly job: string;
  readonly fileSystemType: FileSystemType;
  readonly onRecord: (record: StateRecord) => void;
}

async function gather(names: StoreNames, asked: Asked): Promise<SqliteFacts> {
  const place = await learnPlace(names.database);
  const sizes = await Promise.all(
    [...names.files, names.backup, names.restored].map(async (path) => Number((await statIfPresent(path))?.size ?? 0)),
  );
  return {
    place,
    ...judgeFileSystem(await asked.fileSystemType(place.nearestDirectory)),
    storeBytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
    temporaries: names.temporariesAmong(place.names).map((name) => join(names.directory, name)),
    putAside: names.asidesAmong(place.names).map((name) => join(names.directory, name)),
    job: asked.job,
    closedTo: [
      ...(await closedAmong([names.database, names.log, names.presence, names.door], constants.R_OK | constants.W_OK)),
      ...(await closedAmong([names.backup, names.restored], constants.R_OK)),
    ],
    logBytes: Number((await statIfPresent(names.log))?.size ?? 0),
    copiedAt: (await statIfPresent(names.backup))?.mtime,
    content: await examine(names, place, asked),
  };
}

async function examine(names: StoreNames, place: PlaceFacts, asked: Asked): Promise<SqliteFacts['content']> {
  if (place.kind !== 'absent' && !place.isReadable) return 'unknown';
  const siblings = await Promise.all([names.log, names.backup, names.restored].map(statIfPresent));
  if (place.kind === 'absent' && siblings.every((stats) => stats === undefined)) return 'absent';
  try {
    return (await withCopies(names, (copies) => examineCopies(copies, asked))) ?? (await examineInUse(names, asked));
  } catch (error) {
    const { message } = unavailable(error, `${names.database} could not be examined`);
    return { reason: message };
  }
}

/** The copies are nobody else's: here one can look to the end, and try what the next to open it would do. */
async function examineCopies(copies: StoreNames, asked: Asked): Promise<Examined> {
  // Kept first: SQLite takes the log away as soon as it sees the database.
  const log = await keepLog(copies, Date.now());
  const copy = await inspect(copies.backup);
  const { found: database, release } = await inspectLeft(copies, 'first');
  await release();
  const outcome = await tryPreparation(copies, log);
  return { database, copy, outcome, ...(await readJob(copies.database, asked)) };
}

async function tryPreparation(copies: StoreNames, log: KeptLog): Promise<Examined['outcome']> {
  try {
    const { findings, release } = await prepare(copies, log, Date.now());
    await release();
    return { repairs: findings };
  } catch (error) {
    if (isLoopStateError(error)) return { refusal: error };
    throw error;
  }
}

/** Others write to it, so that it stays open, and to look at it changes nothing. */
async function examineInUse(names: StoreNames, asked: Asked): Promise<Examined> {
  const database = await inspect(names.database);
  const copy = await inspect(names.backup, 'first');
  const found = { code: 'database-damaged', severity: 'loss', where: names.database, message: '' } as const;
  const outcome = { repairs: database.kind === 'damaged' ? [found] : [] };
  return { database, copy, outcome, ...(await readJob(names.database, asked)) };
}

async function readJob(path: string, { job, onRecord }: Asked): Promise<Pick<Examined, 'jobs' | 'records'>> {
  if ((await inspect(path, 'first')).kind !== 'sound') return { jobs: [], records: 0 };
  return await withAttached(path, 'store', async (connection) => {
    const rows = await connection.query(`SELECT DISTINCT job FROM ${TABLE} WHERE job <> ''`);
    return { jobs: rows.map((row) => textOf(row, 'job')), records: await readRecords(connection, job, onRecord) };
  });
}

async function readRecords(connection: SqlConnection, job: string, onRecord: Asked['onRecord']): Promise<number> {
  let records = 0;
  for (let after = 0; ; ) {
    const rows = await connection.query(
      `SELECT ${COLUMNS} FROM ${TABLE} WHERE seq > ?1 AND +job = ?2 AND key <> '' AND value IS NOT NULL ORDER BY seq LIMIT ${ROWS_AT_ONCE}`,
      [after, job],
    );
    for (const row of rows.map(toStoredRow)) {
      const record = toRecord(row);
      if (record !== undefined) onRecord(record);
      after = row.seq;
    }
    records += rows.length;
    if (rows.length < ROWS_AT_ONCE) return records;
  }
}

/** The files among these that are there, and that this user may not use in some `way`. */
async function closedAmong(paths: readonly string[], way: number): Promise<string[]> {
  const closed = await Promise.all(paths.map(async (path) => ((await isClosed(path, way)) ? [path] : [])));
  return closed.flat();
}

async function isClosed(path: string, way: number): Promise<boolean> {
  if ((await statIfPresent(path))?.isFile() !== true) return false;
  return await access(path, way).then(
    () => false,
    () => true,
  );
}
