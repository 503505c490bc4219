/** What the first to open a database does while nobody else has it open: finds out what is there, and puts right what is wrong. */
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { LoopStateError, type RecoveryFinding } from '@loopstate/core';
import { inTransaction, type SqlConnection, withAttached } from './connection.js';
import { type FindingCode, HOW_TO_RESET } from './findings.js';
import { type Inspection, inspect, inspectLeft } from './inspection.js';
import { dropTornLog, type KeptLog, putLogBack } from './kept-log.js';
import type { LogKind } from './log-inspection.js';
import type { StoreNames } from './names.js';
import { makeFile, putAside, statIfPresent } from './place.js';
import {
  type CopyUse,
  type FileRestoration,
  putInPlace,
  REVISIONS_OF_A_GROUP,
  type Restored,
  restoreFile,
  restoreRecords,
  skipRevisions,
} from './restoration.js';

/** A finding, before it is reported. */
type Finding = RecoveryFinding & { readonly code: FindingCode };

/** The troubles in which the records are taken from somewhere else. */
type Trouble = Extract<FindingCode, `database-${string}`>;

/** The troubles in which the latest commits may be missing. */
type LogTrouble = Extract<FindingCode, `wal-${string}`>;

/** What is wrong with a database, and what is to be done. */
export type Remedy =
  | { readonly do: 'nothing' }
  | { readonly do: 'refuse'; readonly error: LoopStateError }
  | { readonly do: 'restore-file'; readonly code: Trouble; readonly copy: CopyUse; readonly salvageOld: boolean }
  | { readonly do: 'restore-records'; readonly code: Trouble; readonly from: 'backup' | 'restored'; readonly copy: CopyUse }
  | { readonly do: 'finish-repair' }
  | { readonly do: 'skip-revisions'; readonly code: LogTrouble };

type Restoration = Extract<Remedy, { do: 'restore-file' | 'restore-records' }>;

/** What preparing found and did. */
export interface Prepared {
  readonly findings: readonly RecoveryFinding[];
  /** To be called once the database is open. */
  readonly release: () => Promise<void>;
}

/**
 * `log`: as it was before SQLite saw the database for the first time.
 *
 * Errors: `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`, `LOOPSTATE_UNAVAILABLE`, those of SQLite, any system error.
 */
export async function prepare(names: StoreNames, log: KeptLog, now: number): Promise<Prepared> {
  const { found: database, release } = await inspectLeft(names);
  try {
    const { copy, copyTrouble } = await inspectCopy(names, database);
    const restored = await inspect(names.restored);
    const remedy = remedyFor(names.database, { database, copy, restored, log: log.kind });
    if (remedy.do === 'refuse') {
      await release();
      await putLogBack(names, log);
      throw remedy.error;
    }
    if (remedy.do === 'finish-repair') {
      await release();
      await putInPlace(names, now);
      await dropTornLog(log);
      return await prepare(names, { kind: 'absent' }, now);
    }
    const findings = [...(await apply(names, remedy, { database, log, now, release }))];
    // Whatever is left of a repair was of no use.
    await putAside(names, [names.restored], now);
    // A copy that is in trouble is moved last: a place that is refused keeps all that stands there.
    if (copyTrouble !== undefined) findings.push(await putCopyAside(names, copyTrouble, now));
    await makeFile(names.database);
    await dropTornLog(log);
    return { findings, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Removes what was on its way to another name when its process ended. */
export async function removeTemporaries(names: StoreNames): Promise<void> {
  for (const name of names.temporariesAmong(await fs.readdir(names.directory))) await fs.rm(join(names.directory, name), { force: true });
}

/** What is to be done, by what was found: pure, so that every case can be read here. */
export function remedyFor(
  path: string,
  { database, copy, restored, log }: { database: Inspection; copy: Inspection; restored: Inspection; log: LogKind },
): Remedy {
  const use: CopyUse = copy.kind === 'sound' ? 'whole' : copy.kind === 'damaged' ? 'sound-rows' : 'none';
  const hasCopy = use !== 'none';
  const isLeft = hasCopy || log !== 'absent';
  const fromCopy = (code: Trouble, salvageOld: boolean): Remedy => ({ do: 'restore-file', code, copy: use, salvageOld });
  // Without its database, a copy that we can't read is all there is.
  if (copy.kind === 'newer' && database.kind !== 'sound') return refused(`${path}.backup`, copy);
  if (restored.kind === 'newer' && database.kind !== 'sound') return refused(`${path}.restored`, restored);
  if (isUnfinished(database, restored)) return { do: 'finish-repair' };
  switch (database.kind) {
    case 'absent':
      // A log without its database would be taken for that of the next one.
      return isLeft ? fromCopy('database-missing', false) : { do: 'nothing' };
    case 'empty':
      return isLeft ? fromCopy('database-emptied', false) : { do: 'nothing' };
    case 'without-records':
      // Made by another program since, if a repair has not ended.
      if (restored.kind === 'sound') return { do: 'restore-records', code: 'database-emptied', from: 'restored', copy: 'whole' };
      return hasCopy ? { do: 'restore-records', code: 'database-emptied', from: 'backup', copy: use } : { do: 'nothing' };
    case 'no-database':
      return hasCopy ? fromCopy('database-damaged', false) : refused(path, database);
    case 'damaged':
      return fromCopy('database-damaged', true);
    case 'foreign-table':
    case 'newer':
      return refused(path, database);
    case 'sound':
      if (copy.kind === 'sound' && copy.revision > database.revision)
        return { do: 'restore-records', code: 'database-older', from: 'backup', copy: 'whole' };
      if (log === 'damaged') return { do: 'skip-revisions', code: 'wal-damaged' };
      if (log === 'torn') return { do: 'skip-revisions', code: 'wal-torn' };
      return database.isOpen && log === 'absent' ? { do: 'skip-revisions', code: 'wal-missing' } : { do: 'nothing' };
  }
}

/** A finished database waits to take the place of what stands there: see restoration.ts. */
function isUnfinished(database: Inspection, restored: Inspection): boolean {
  switch (database.kind) {
    case 'absent':
    case 'empty':
      return restored.kind === 'sound' || restored.kind === 'damaged';
    case 'no-database':
    case 'damaged':
      return restored.kind === 'sound';
    default:
      return false;
  }
}

function refused(path: string, found: Inspection): Remedy {
  const error = refusal(path, found);
  if (error === undefined) throw new TypeError(`A file that is ${found.kind} is not refused.`);
  return { do: 'refuse', error };
}

function refusal(path: string, found: Inspection): LoopStateError | undefined {
  switch (found.kind) {
    case 'newer':
      return new LoopStateError(
        'LOOPSTATE_NEWER_FORMAT',
        `${path} was written by a newer loopstate (format ${found.format}). It is left untouched: update loopstate.`,
      );
    case 'foreign-table':
      return new LoopStateError(
        'LOOPSTATE_FOREIGN',
        `${path} has a table loopstate_records that loopstate did not make. It is left untouched: name another file.`,
      );
    case 'no-database':
      return new LoopStateError(
        'LOOPSTATE_FOREIGN',
        `${path} is no SQLite database, and no copy of one stands beside it. It is left untouched: name another file.`,
      );
    default:
      return undefined;
  }
}

type CopyTrouble = 'backup-damaged' | 'backup-of-other-store';

/** What the copy is; one of which nothing may be taken counts as absent. */
export async function inspectCopy(
  names: StoreNames,
  database: Inspection,
): Promise<{ copy: Inspection; copyTrouble: CopyTrouble | undefined }> {
  let copy = await inspect(names.backup, 'first');
  // Only one that may be needed, or was by a repair that did not end, is read to its end.
  const isNeeded = copy.kind === 'sound' && (database.kind !== 'sound' || copy.revision > database.revision || database.untold.length > 0);
  if (isNeeded) copy = await inspect(names.backup);
  const copyTrouble = troubleOfCopy(copy, database);
  return { copy: copyTrouble === undefined || copy.kind === 'damaged' ? copy : { kind: 'absent' }, copyTrouble };
}

async function putCopyAside(names: StoreNames, code: CopyTrouble, now: number): Promise<Finding> {
  const keptAs = await putAside(names, [names.backup], now);
  const message = {
    'backup-damaged': `The copy ${names.backup} is damaged.`,
    'backup-of-other-store': `The copy ${names.backup} belongs to another store than the database beside it.`,
  }[code];
  return finding({ code, severity: 'warning', where: names.backup, message: `${message} It is put aside.` }, keptAs);
}

function troubleOfCopy(copy: Inspection, database: Inspection): CopyTrouble | undefined {
  if (copy.kind === 'absent' || copy.kind === 'newer') return undefined;
  if (copy.kind !== 'sound') return 'backup-damaged';
  return database.kind === 'sound' && database.store !== copy.store ? 'backup-of-other-store' : undefined;
}

/** Resolves to all that is to be told, also by a repair whose process was killed. */
async function apply(
  names: StoreNames,
  remedy: Exclude<Remedy, { do: 'refuse' | 'finish-repair' }>,
  { database, log, now, release }: { database: Inspection; log: KeptLog; now: number; release: () => Promise<void> },
): Promise<readonly RecoveryFinding[]> {
  const untold = database.kind === 'sound' ? database.untold : [];
  const ofLog = log.kind === 'damaged' ? [logFinding(names, 'wal-damaged', log)] : [];
  if (remedy.do === 'nothing') return [...untold, ...ofLog];
  if (remedy.do === 'skip-revisions') {
    // Until the log is begun anew, its rest looks the same to the next.
    const found = untold.some(({ code }) => code === remedy.code) ? [] : [logFinding(names, remedy.code, log)];
    return await withAttached(names.database, 'store', (connection) => skipAfterLog(connection, remedy.code, found));
  }
  const from = remedy.do === 'restore-records' ? names[remedy.from] : names.backup;
  const writtenAt = (await statIfPresent(from))?.mtime.toISOString() ?? 'earlier';
  const about = { from, writtenAt, reason: reasonOf(database) };
  const tell = (restored: Restored): Finding[] => [...restorationFindings(names, remedy, { ...about, restored }), ...ofLog];
  return await restore(names, remedy, { from, log, now, tell, release });
}

/**
 * What goes with taking in a log whose last commit was cut short, for one who only looks: its revision is given to nobody, and the next who
 * opens the database to write tells of it. Errors: those of SQLite.
 */
export async function passOverTornCommit(names: StoreNames, connection: SqlConnection): Promise<void> {
  await skipAfterLog(connection, 'wal-torn', [logFinding(names, 'wal-torn', { kind: 'torn' })]);
}

async function skipAfterLog(connection: SqlConnection, code: LogTrouble, found: readonly Finding[]): Promise<readonly RecoveryFinding[]> {
  const count = code === 'wal-torn' ? { count: REVISIONS_OF_A_GROUP } : {};
  return await inTransaction(connection, 'BEGIN IMMEDIATE', () => skipRevisions(connection, { ...count, found }));
}

function restorationFindings(
  { database: where }: StoreNames,
  remedy: Restoration,
  { from, writtenAt, reason, restored }: { from: string; writtenAt: string; reason: string; restored: Restored },
): Finding[] {
  const { keptAs, salvaged, rowsOfCopy } = restored;
  const message = {
    'database-missing': `${where} was gone.`,
    'database-emptied': `${where} was emptied.`,
    'database-damaged': `${where} was damaged (${reason}); ${salvaged.isComplete ? 'all' : salvaged.rows} rows of it could be read.`,
    'database-older': `${where} was older than its copy.`,
  }[remedy.code];
  const isFromCopy = !salvaged.isComplete && remedy.copy === 'whole';
  const severity = isFromCopy || salvaged.isComplete ? 'warning' : 'loss';
  const taken = rowsOfCopy > 0 ? ` ${rowsOfCopy} rows were read of its copy, which is damaged too.` : '';
  const found = finding({ code: remedy.code, severity, where, message: `${message}${taken} ${HOW_TO_RESET}` }, keptAs);
  if (!isFromCopy) return [found];
  const sequel = `The store goes on from ${from}, written ${writtenAt}: what was committed after that may be missing.`;
  // An older database is the work of someone who had the choice.
  return [found, { code: 'started-from-backup', severity: remedy.code === 'database-older' ? 'warning' : 'loss', where, message: sequel }];
}

function logFinding({ database, log }: StoreNames, code: LogTrouble, { copy }: KeptLog): Finding {
  switch (code) {
    case 'wal-missing': {
      const message = `${database} was not closed, and its write-ahead log ${log} is gone: the latest commits may be missing.`;
      return { code, severity: 'warning', where: database, message };
    }
    case 'wal-torn':
      return {
        code,
        severity: 'info',
        where: log,
        message: `${log} ends in a commit that was cut short: nobody was told of it, and it is dropped.`,
      };
    case 'wal-damaged': {
      const message = `${log} is damaged: the commits from there on are lost.`;
      return finding({ code, severity: 'loss', where: log, message }, copy);
    }
  }
}

async function restore(
  names: StoreNames,
  remedy: Restoration,
  { from, log, ...how }: Pick<FileRestoration, 'now' | 'tell' | 'release'> & { from: string; log: KeptLog },
): Promise<readonly RecoveryFinding[]> {
  if (remedy.do === 'restore-records')
    return await restoreRecords(names, { ...remedy, ...how, from, keep: remedy.code === 'database-older' });
  const found = await restoreFile(names, { ...remedy, ...how, mayBeEmpty: remedy.code !== 'database-damaged' });
  if (found !== undefined) return found;
  await how.release();
  await putLogBack(names, log);
  throw new LoopStateError(
    'LOOPSTATE_UNAVAILABLE',
    `${names.database} is damaged, nothing of it can be read, and there is no copy that can. It is left there: move it away to start from nothing.`,
  );
}

function finding(found: Finding, keptAs: string | undefined): Finding {
  return keptAs === undefined ? found : { ...found, message: `${found.message} It is kept as ${keptAs}.`, keptAs };
}

function reasonOf(found: Inspection): string {
  if (found.kind === 'damaged') return found.reason;
  return found.kind === 'no-database' ? 'its beginning is no SQLite database' : found.kind;
}
