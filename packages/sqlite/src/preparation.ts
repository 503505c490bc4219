/** What the first to open a database does while nobody else has it open: finds out what is there, and puts right what is wrong. */
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { LoopStateError, type RecoveryFinding } from '@loopstate/core';
import { withAttached } from './connection.js';
import { type FindingCode, HOW_TO_RESET } from './findings.js';
import { type Inspection, inspect, type JobStanding } from './inspection.js';
import type { StoreNames } from './names.js';
import { makeFile, putAside, statIfPresent } from './place.js';
import { type Restored, restoreFile, restoreJobs, skipRevisions } from './restoration.js';

/** A finding, before it is reported. */
type Finding = RecoveryFinding & { readonly code: FindingCode };

/** What is wrong with a database, and what is to be done. */
export type Remedy =
  | { readonly do: 'nothing' }
  | { readonly do: 'refuse'; readonly error: LoopStateError }
  | { readonly do: 'restore-file'; readonly code: FindingCode; readonly useCopy: boolean; readonly salvageOld: boolean }
  | { readonly do: 'restore-jobs'; readonly code: FindingCode; readonly jobs: readonly string[] }
  | { readonly do: 'skip-revisions'; readonly code: FindingCode };

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
  const hasCopy = copy.kind === 'sound' && copy.jobs.size > 0;
  const fromCopy = (code: FindingCode, salvageOld: boolean): Remedy => ({ do: 'restore-file', code, useCopy: hasCopy, salvageOld });
  switch (database.kind) {
    case 'absent':
      // A log without its database would be taken for that of the next one.
      return hasCopy || hasLog ? fromCopy('database-missing', false) : { do: 'nothing' };
    case 'empty':
      return hasCopy || hasLog ? fromCopy('database-emptied', false) : { do: 'nothing' };
    case 'without-records':
      return hasCopy ? { do: 'restore-jobs', code: 'database-emptied', jobs: [...copy.jobs.keys()] } : { do: 'nothing' };
    case 'no-database':
      return hasCopy ? fromCopy('database-damaged', false) : refused(path, database);
    case 'damaged':
      return fromCopy('database-damaged', true);
    case 'foreign-table':
    case 'newer':
      return refused(path, database);
    case 'sound': {
      const older = copy.kind === 'sound' ? jobsAhead(copy.jobs, database.jobs) : [];
      if (older.length > 0) return { do: 'restore-jobs', code: 'database-older', jobs: older };
      return database.isOpen && !hasLog ? { do: 'skip-revisions', code: 'wal-missing' } : { do: 'nothing' };
    }
  }
}

/** The jobs whose copy is newer than the database itself. */
function jobsAhead(copy: ReadonlyMap<string, JobStanding>, database: ReadonlyMap<string, JobStanding>): string[] {
  return [...copy].filter(([job, { revision }]) => revision > (database.get(job)?.revision ?? -1)).map(([job]) => job);
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
  const copy = await inspect(names.backup);
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
  if (database.kind !== 'sound') return undefined;
  const isOther = [...copy.jobs].some(([job, { store }]) => (database.jobs.get(job)?.store ?? store) !== store);
  return isOther ? 'backup-of-other-store' : undefined;
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
  const writtenAt = (await statIfPresent(names.backup))?.mtime.toISOString();
  const isFromCopy = remedy.do === 'restore-jobs' || remedy.useCopy;
  const restored = await restore(names, remedy, now);
  const message = {
    'database-missing': `${where} was gone.`,
    'database-emptied': `${where} was emptied.`,
    'database-damaged': `${where} was damaged (${reason}); ${restored.salvaged} rows of it could be read.`,
    'database-older': `${where} was older than its copy.`,
  }[remedy.code as 'database-missing'];
  const severity = isFromCopy ? 'warning' : 'loss';
  const found = finding({ code: remedy.code, severity, where, message: `${message} ${HOW_TO_RESET}` }, restored.keptAs);
  if (!isFromCopy) return [found];
  const from = `${names.backup}, written ${writtenAt ?? 'earlier'}`;
  return [
    found,
    {
      code: 'started-from-backup',
      severity: remedy.code === 'database-older' ? 'warning' : 'loss',
      where,
      message: `The store goes on from ${from}: what was committed after that may be missing.`,
    },
  ];
}

async function restore(
  names: StoreNames,
  remedy: Extract<Remedy, { do: 'restore-file' | 'restore-jobs' }>,
  now: number,
): Promise<Restored> {
  if (remedy.do === 'restore-jobs') return await restoreJobs(names, { jobs: remedy.jobs, keep: remedy.code === 'database-older', now });
  const restored = await restoreFile(names, { ...remedy, now });
  if (restored !== undefined) return restored;
  if (remedy.code !== 'database-damaged') return { keptAs: await putAside(names, names.files, now), salvaged: 0 };
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
