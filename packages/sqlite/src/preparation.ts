/** What the first to open a database does while nobody else has it open: finds out what is there, and puts right what is wrong. */
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { LoopStateError, type RecoveryFinding } from '@loopstate/core';
import { withAttached } from './connection.js';
import { type FindingCode, HOW_TO_RESET } from './findings.js';
import { type Inspection, inspect } from './inspection.js';
import type { StoreNames } from './names.js';
import { makeFile, putAside, statIfPresent } from './place.js';
import { type Restored, restoreFile, restoreRecords, skipRevisions } from './restoration.js';

/** A finding, before it is reported. */
type Finding = RecoveryFinding & { readonly code: FindingCode };

/** The troubles in which the records are taken from somewhere else. */
type Trouble = Extract<FindingCode, `database-${string}`>;

/** What is wrong with a database, and what is to be done. */
export type Remedy =
  | { readonly do: 'nothing' }
  | { readonly do: 'refuse'; readonly error: LoopStateError }
  | { readonly do: 'restore-file'; readonly code: Trouble; readonly useCopy: boolean; readonly salvageOld: boolean }
  | { readonly do: 'restore-records'; readonly code: Trouble }
  | { readonly do: 'skip-revisions'; readonly code: 'wal-missing' };

/** Errors: `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`, `LOOPSTATE_UNAVAILABLE`, those of SQLite, any system error. */
export async function prepare(names: StoreNames, now: number): Promise<Finding[]> {
  await removeTemporaries(names);
  const database = await inspect(names.database);
  const hasLog = (await statIfPresent(names.log)) !== undefined;
  const findings: Finding[] = [];
  const copy = await soundCopy(names, { database, now, findings });
  const remedy = remedyFor(names.database, { database, copy, hasLog });
  if (remedy.do === 'refuse') throw remedy.error;
  if (remedy.do !== 'nothing') findings.push(...(await apply(names, remedy, { reason: reasonOf(database), now })));
  await makeFile(names.database);
  return findings;
}

/**
 * Errors that a place gets which cannot become a store; anything else is left to {@link prepare}.
 *
 * Errors: `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`.
 */
export function refuse(path: string, found: Inspection): void {
  const error = refusal(path, found);
  if (error !== undefined) throw error;
}

/** What is to be done, by what was found: pure, so that every case can be read here. */
export function remedyFor(path: string, { database, copy, hasLog }: { database: Inspection; copy: Inspection; hasLog: boolean }): Remedy {
  const hasCopy = copy.kind === 'sound';
  const fromCopy = (code: Trouble, salvageOld: boolean): Remedy => ({ do: 'restore-file', code, useCopy: hasCopy, salvageOld });
  // Without its database, a copy that we can't read is all there is.
  if (copy.kind === 'newer' && database.kind !== 'sound') return refused(`${path}.backup`, copy);
  switch (database.kind) {
    case 'absent':
      // A log without its database would be taken for that of the next one.
      return hasCopy || hasLog ? fromCopy('database-missing', false) : { do: 'nothing' };
    case 'empty':
      return hasCopy || hasLog ? fromCopy('database-emptied', false) : { do: 'nothing' };
    case 'without-records':
      return hasCopy ? { do: 'restore-records', code: 'database-emptied' } : { do: 'nothing' };
    case 'no-database':
      return hasCopy ? fromCopy('database-damaged', false) : refused(path, database);
    case 'damaged':
      return fromCopy('database-damaged', true);
    case 'foreign-table':
    case 'newer':
      return refused(path, database);
    case 'sound':
      if (copy.kind === 'sound' && copy.revision > database.revision) return { do: 'restore-records', code: 'database-older' };
      return database.isOpen && !hasLog ? { do: 'skip-revisions', code: 'wal-missing' } : { do: 'nothing' };
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

/** What the copy is; one that is of no use is put aside. */
async function soundCopy(
  names: StoreNames,
  { database, now, findings }: { database: Inspection; now: number; findings: Finding[] },
): Promise<Inspection> {
  let copy = await inspect(names.backup, 'first');
  // Only one that may be needed is read to its end.
  const isNeeded = copy.kind === 'sound' && (database.kind !== 'sound' || copy.revision > database.revision);
  if (isNeeded) copy = await inspect(names.backup);
  const code = whyUseless(copy, database);
  if (code === undefined) return copy;
  const keptAs = await putAside(names, [names.backup], now);
  const message = {
    'backup-damaged': `The copy ${names.backup} is damaged.`,
    'backup-of-other-store': `The copy ${names.backup} belongs to another store than the database beside it.`,
  }[code];
  findings.push(finding({ code, severity: 'warning', where: names.backup, message: `${message} It is put aside.` }, keptAs));
  return { kind: 'absent' };
}

function whyUseless(copy: Inspection, database: Inspection): 'backup-damaged' | 'backup-of-other-store' | undefined {
  if (copy.kind === 'absent' || copy.kind === 'newer') return undefined;
  if (copy.kind !== 'sound') return 'backup-damaged';
  return database.kind === 'sound' && database.store !== copy.store ? 'backup-of-other-store' : undefined;
}

async function apply(
  names: StoreNames,
  remedy: Exclude<Remedy, { do: 'nothing' | 'refuse' }>,
  { reason, now }: { reason: string; now: number },
): Promise<Finding[]> {
  const where = names.database;
  if (remedy.do === 'skip-revisions') {
    await withAttached(names.database, 'store', skipRevisions);
    const message = `${where} was not closed, and its write-ahead log ${names.log} is gone: the latest commits may be missing.`;
    return [{ code: remedy.code, severity: 'warning', where, message }];
  }
  const writtenAt = (await statIfPresent(names.backup))?.mtime.toISOString() ?? 'earlier';
  const { keptAs, salvaged } = await restore(names, remedy, now);
  const message = {
    'database-missing': `${where} was gone.`,
    'database-emptied': `${where} was emptied.`,
    'database-damaged': `${where} was damaged (${reason}); ${salvaged.isComplete ? 'all' : salvaged.rows} rows of it could be read.`,
    'database-older': `${where} was older than its copy.`,
  }[remedy.code];
  const isFromCopy = !salvaged.isComplete && (remedy.do === 'restore-records' || remedy.useCopy);
  const severity = isFromCopy || salvaged.isComplete ? 'warning' : 'loss';
  const found = finding({ code: remedy.code, severity, where, message: `${message} ${HOW_TO_RESET}` }, keptAs);
  if (!isFromCopy) return [found];
  const sequel = `The store goes on from ${names.backup}, written ${writtenAt}: what was committed after that may be missing.`;
  // An older database is the work of someone who had the choice.
  return [found, { code: 'started-from-backup', severity: remedy.code === 'database-older' ? 'warning' : 'loss', where, message: sequel }];
}

async function restore(
  names: StoreNames,
  remedy: Extract<Remedy, { do: 'restore-file' | 'restore-records' }>,
  now: number,
): Promise<Restored> {
  if (remedy.do === 'restore-records') return await restoreRecords(names, { keep: remedy.code === 'database-older', now });
  const restored = await restoreFile(names, { ...remedy, now });
  if (restored !== undefined) return restored;
  if (remedy.code !== 'database-damaged')
    return { keptAs: await putAside(names, names.files, now), salvaged: { rows: 0, isComplete: false } };
  throw new LoopStateError(
    'LOOPSTATE_UNAVAILABLE',
    `${names.database} is damaged, nothing of it can be read, and there is no copy. It is left untouched: move it away to start from nothing.`,
  );
}

async function removeTemporaries(names: StoreNames): Promise<void> {
  for (const name of names.temporariesAmong(await fs.readdir(names.directory))) await fs.rm(join(names.directory, name), { force: true });
}

function finding(found: Finding, keptAs: string | undefined): Finding {
  return keptAs === undefined ? found : { ...found, message: `${found.message} It is kept as ${keptAs}.`, keptAs };
}

function reasonOf(found: Inspection): string {
  if (found.kind === 'damaged') return found.reason;
  return found.kind === 'no-database' ? 'its beginning is no SQLite database' : found.kind;
}
