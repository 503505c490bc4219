/** What is to be said of a database: pure, from facts to findings. */
import {
  bytesText,
  type DiagnosisFinding,
  judgePlace,
  type LoopStateError,
  noState,
  type PlaceUse,
  type RecoveryFinding,
  sentence,
} from '@loopstate/core';
import type { FindingCode } from './findings.js';
import type { Inspection } from './inspection.js';

const LARGE_LOG_BYTES = 64 * 1_024 * 1_024;
const JOBS_SHOWN = 10;

/** What the files hold, found out on copies of them. */
export interface Examined {
  /** The database and its copy as they stand, each looked at to its end. */
  readonly database: Inspection;
  readonly copy: Inspection;
  /** What the next to open it alone would do: repairs, or a refusal. */
  readonly outcome: { readonly repairs: readonly RecoveryFinding[] } | { readonly refusal: LoopStateError };
  /** The jobs, and the records of the one that was asked for, as they would be then. */
  readonly jobs: readonly string[];
  readonly records: number;
}

/** What {@link judgeSqlite} judges. */
export interface SqliteFacts extends PlaceUse {
  readonly job: string;
  /** The name of the network file system that it is on. */
  readonly network?: string | undefined;
  /** Those files that this process may not use as a writer has to. */
  readonly closedTo: readonly string[];
  /** What the write-ahead log holds; 0 if there is none. */
  readonly logBytes: number;
  /** When the copy was written; undefined if there is none. */
  readonly copiedAt?: Date | undefined;
  /** The reason why it could not be examined, if it could not. */
  readonly content: Examined | { readonly reason: string } | 'absent' | 'unknown';
}

/** The ids of {@link judgeSqlite} besides those of a place and of repairs, each with what it means. */
export const SQLITE_DIAGNOSES = {
  'network-file-system': 'The database is on a network file system, where SQLite can lose data.',
  'database-not-writable': 'This user may not use the database, or a file beside it, as a writer has to.',
  'not-a-database': 'The file is no SQLite database, and no copy stands beside it.',
  'foreign-table': 'The database has a table of our name that loopstate did not make.',
  'newer-format': 'A newer loopstate wrote the database, or its copy.',
  'damaged-beyond-repair': 'The database is damaged, nothing of it can be read, and there is no copy.',
  'no-such-job': 'The database has no job of that name yet.',
  'backup-missing': 'There is no copy of the database.',
  'wal-large': 'The write-ahead log has grown large, which it does while somebody holds a transaction open.',
  'not-examined': 'The database could not be copied, and only a copy is examined.',
  records: 'How many records the job has.',
} as const;

/** See the file's comment. */
export function judgeSqlite(facts: SqliteFacts): DiagnosisFinding[] {
  return [...judgePlace(facts), ...judgeAccess(facts), ...judgeContent(facts), ...judgeLog(facts)];
}

function judgeAccess({ place, network, closedTo }: SqliteFacts): DiagnosisFinding[] {
  const { path } = place;
  const findings: DiagnosisFinding[] = [];
  if (network !== undefined) {
    const found = `${path} is on a network file system (${network}), where SQLite can lose data.`;
    findings.push({
      id: 'network-file-system',
      severity: 'problem',
      where: path,
      found,
      remedy: 'Name a file on a local disk, or use redis:.',
    });
  }
  for (const where of closedTo) {
    findings.push({
      id: 'database-not-writable',
      severity: 'problem',
      where,
      found: `This user may not use ${where} as a writer has to.`,
      remedy: 'Run as the user that owns it, or change its permissions.',
    });
  }
  return findings;
}

function judgeContent(facts: SqliteFacts): DiagnosisFinding[] {
  const { place, content } = facts;
  const { path } = place;
  if (content === 'unknown') return [];
  if (content === 'absent') return [noState(path)];
  if ('reason' in content) {
    const remedy = 'Free some space for temporary files, or set TMPDIR to a directory that has some.';
    return [{ id: 'not-examined', severity: 'warning', where: path, found: sentence(content.reason), remedy }];
  }
  if ('refusal' in content.outcome) return [judgeRefusal(content.outcome.refusal, content, path)];
  const { repairs } = content.outcome;
  return [
    ...repairs.map((repair) => judgeRepair(repair, facts)),
    ...judgeCopy(facts, content, repairs),
    ...judgeJob(facts, content, repairs),
  ];
}

function judgeRefusal({ code, message }: LoopStateError, { database }: Examined, path: string): DiagnosisFinding {
  const problem = { severity: 'problem', where: path } as const;
  if (code === 'LOOPSTATE_NEWER_FORMAT')
    return {
      id: 'newer-format',
      ...problem,
      found: `${path}, or its copy, was written by a newer loopstate.`,
      remedy: 'Update loopstate.',
    };
  if (database.kind === 'foreign-table') {
    const found = `${path} has a table loopstate_records that loopstate did not make.`;
    return { id: 'foreign-table', ...problem, found, remedy: 'Name another file.' };
  }
  if (code === 'LOOPSTATE_FOREIGN') {
    const found = `${path} is no SQLite database, or its beginning is damaged, and no copy of one stands beside it.`;
    return { id: 'not-a-database', ...problem, found, remedy: 'Name another file, or put back a backup.' };
  }
  if (database.kind === 'damaged') {
    const found = `${path} is damaged (${database.reason}), nothing of it can be read, and there is no copy.`;
    return { id: 'damaged-beyond-repair', ...problem, found, remedy: 'Put back a backup, or move it away to start from nothing.' };
  }
  return { id: 'not-readable', ...problem, found: sentence(message), remedy: 'Put that right, or name another file.' };
}

const BACKUP = 'If there is a later backup of the state, put it back before anything else starts.';
const REPAIR = 'The next start repairs that and keeps what is damaged aside, and `loopstate doctor --repair` does so now.';
const TOLD: Readonly<Record<Exclude<FindingCode, 'backup-failed'>, { readonly found: string; readonly remedy: string }>> = {
  'database-missing': { found: 'is gone.', remedy: BACKUP },
  'database-emptied': { found: 'was emptied.', remedy: BACKUP },
  'database-damaged': { found: 'is damaged, and every record that it lacks comes from its copy.', remedy: REPAIR },
  'database-older': { found: 'is older than its own copy: someone restored it.', remedy: 'To begin anew, use `loopstate reset`.' },
  'started-from-backup': { found: 'does not hold what its copy holds, from which the next start goes on.', remedy: BACKUP },
  'wal-missing': {
    found: 'was not closed, and its write-ahead log is gone: unless a reader took it in, the latest commits are missing.',
    remedy: BACKUP,
  },
  'wal-damaged': { found: 'has a damaged write-ahead log: the commits in it from the first damaged one on are lost.', remedy: BACKUP },
  'wal-torn': { found: 'has a write-ahead log that ends in a commit cut short, which was never acknowledged.', remedy: REPAIR },
  'backup-damaged': { found: 'is damaged.', remedy: REPAIR },
  'backup-of-other-store': { found: 'belongs to another state.', remedy: REPAIR },
};

/** Tried out on copies: what it says was done is what the next start does. */
function judgeRepair({ code, severity }: RecoveryFinding, { place, copiedAt }: SqliteFacts): DiagnosisFinding {
  const { path } = place;
  const where = code.startsWith('backup-') ? `${path}.backup` : path;
  const told = TOLD[code as keyof typeof TOLD];
  const isAlone = severity === 'loss' && code.startsWith('database-');
  const lost = isAlone ? ' What can not be read of it is lost: there is no sound copy.' : '';
  const since = code === 'started-from-backup' ? ` What was committed after ${copiedAt?.toISOString()} may be missing.` : '';
  return {
    id: code,
    severity: severity === 'info' ? 'info' : 'warning',
    where,
    found: code === 'database-damaged' && isAlone ? `${path} is damaged.${lost}` : `${where} ${told.found}${lost}${since}`,
    remedy: told.remedy,
    isRepairable: true,
  };
}

function judgeCopy({ place }: SqliteFacts, { database, copy }: Examined, repairs: readonly RecoveryFinding[]): DiagnosisFinding[] {
  const where = `${place.path}.backup`;
  // A database that is put together again gets a new copy with that.
  if (database.kind !== 'sound' || repairs.some(({ code }) => code.startsWith('database-'))) return [];
  if (copy.kind === 'absent') {
    if (database.revision === 0) return []; // Nothing was committed yet.
    const found = `There is no copy of ${place.path}.`;
    // One that was never closed has none yet; closing always makes one.
    const severity = database.isOpen ? 'info' : 'warning';
    return [{ id: 'backup-missing', severity, where, found, remedy: 'The last to close the state makes one.', isRepairable: true }];
  }
  const isKnown = repairs.some(({ code }) => code.startsWith('backup-'));
  if (copy.kind === 'sound' || copy.kind === 'newer' || isKnown) return [];
  // Opening looks at the beginning of a copy that it does not need.
  const remedy = `Remove ${where}: the last to close the state makes another.`;
  return [{ id: 'backup-damaged', severity: 'warning', where, found: `${where} is damaged.`, remedy }];
}

function judgeJob({ job, place }: SqliteFacts, { jobs, records }: Examined, repairs: readonly RecoveryFinding[]): DiagnosisFinding[] {
  const where = place.path;
  if (jobs.includes(job))
    return [{ id: 'records', severity: 'ok', where, found: `The job ${JSON.stringify(job)} has ${records} records.` }];
  if (jobs.length === 0) return repairs.length === 0 ? [noState(where)] : [];
  const others = jobs.slice(0, JOBS_SHOWN).map((other) => JSON.stringify(other));
  const found = `${where} has no job ${JSON.stringify(job)}; it has ${others.join(', ')}${jobs.length > JOBS_SHOWN ? ' and more' : ''}.`;
  return [{ id: 'no-such-job', severity: 'info', where, found, remedy: 'If there should be one, look for a misspelt name.' }];
}

function judgeLog({ place, logBytes }: SqliteFacts): DiagnosisFinding[] {
  if (logBytes <= LARGE_LOG_BYTES) return [];
  const where = `${place.path}-wal`;
  const found = `${where} has ${bytesText(logBytes)}, so some process holds a transaction open, or the state was not closed for long.`;
  return [
    {
      id: 'wal-large',
      severity: 'warning',
      where,
      found,
      remedy: 'End the process that does: the log is taken in when the last one closes.',
    },
  ];
}
