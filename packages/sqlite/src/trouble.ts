/** What an error of SQLite or of the system means to the caller, in one sentence that says what to do. */
import { isError, isLoopStateError, LoopStateError, OutcomeUnknownError, UnavailableError } from '@loopstate/core';

const REMEDIES: Readonly<Record<string, string>> = {
  SQLITE_BUSY: 'Other processes kept it locked all the time: try again, or look for one that holds a transaction open.',
  SQLITE_LOCKED: 'Other processes kept it locked all the time: try again, or look for one that holds a transaction open.',
  SQLITE_FULL: 'No space is left on the device that holds it: free some, and the loop can go on.',
  SQLITE_IOERR: 'The disk reports an error: look at the system log, and at the disk.',
  SQLITE_READONLY: 'It, or its directory, may not be written: change the permissions, or name another file.',
  SQLITE_CANTOPEN: 'It, or a file beside it, may not be opened: change the permissions, or name another file.',
  SQLITE_CORRUPT: 'It is damaged: open it again, and it starts from its copy.',
  SQLITE_NOTADB: 'It is no SQLite database, or its beginning is damaged: open it again, and it starts from its copy.',
  ENOSPC: 'No space is left on the device that holds it: free some, and the loop can go on.',
  EDQUOT: 'The disk quota is used up: free some space, and the loop can go on.',
  EROFS: 'It is on a read-only file system: name a file on a writable one.',
  EACCES: 'This user may not do that there: change the permissions, or name another file.',
  EPERM: 'This user may not do that there: change the permissions, or name another file.',
  EIO: 'The disk reports an error: look at the system log, and at the disk.',
  EMFILE: 'Too many files are open in this process: raise the limit, or open fewer.',
  ENFILE: 'Too many files are open on this machine: raise the limit, or open fewer.',
  ENOTDIR: 'A part of its path is a file, not a directory: name another place.',
  ENAMETOOLONG: 'Its name is too long, with what is added to it: name a shorter one.',
  ELOOP: 'Its symlinks lead in a circle: name the file itself.',
};

/** Errors that SQLite raises before the last step of a commit, so that it certainly had no effect. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'SQLITE_BUSY',
  'SQLITE_LOCKED',
  'SQLITE_FULL',
  'SQLITE_READONLY',
  'SQLITE_CANTOPEN',
  'SQLITE_CORRUPT',
  'SQLITE_NOTADB',
  'SQLITE_ERROR',
  'SQLITE_CONSTRAINT',
  'SQLITE_TOOBIG',
  'SQLITE_SCHEMA',
  'SQLITE_MISUSE',
]);

/** Errors that trying again does not cure. */
const LASTING: ReadonlySet<string> = new Set(['SQLITE_ERROR', 'SQLITE_SCHEMA', 'SQLITE_MISUSE']);

/** The call had no effect: an error with code `LOOPSTATE_UNAVAILABLE`, unless `error` is one of ours already. */
export function unavailable(error: unknown, what: string): LoopStateError {
  if (isLoopStateError(error)) return error;
  const message = explain(error, what);
  if (isDamage(error) || LASTING.has(codeOf(error) ?? '')) return new LoopStateError('LOOPSTATE_UNAVAILABLE', message, { cause: error });
  return new UnavailableError(message, { cause: error });
}

/** A statement that commits has failed: `LOOPSTATE_UNAVAILABLE` where it had no effect for sure, else `LOOPSTATE_OUTCOME_UNKNOWN`. */
export function commitFailed(error: unknown, path: string): LoopStateError {
  const what = `${path} could not take a commit`;
  if (isLoopStateError(error) || WITHOUT_EFFECT.has(codeOf(error) ?? '')) return unavailable(error, what);
  return new OutcomeUnknownError(explain(error, `${what}, or took it and could not say so`), { cause: error });
}

/** The call was made of a handle that was closed. */
export function closed(path: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_CLOSED', `This handle on ${path} was closed: open another.`);
}

/** An option, a URL or a place that cannot be meant. Nothing was written. */
export function badOption(message: string, cause?: unknown): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message, { cause });
}

/** Another connection is in the way: the same call may succeed in a moment. */
export function isBusy(error: unknown): boolean {
  return hasCode(error, 'SQLITE_BUSY', 'SQLITE_LOCKED');
}

/** The bytes of a database are not what was written, although SQLite can read them. Never leaves this package by itself. */
export class DamagedError extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = new.target.name;
  }
}

/** The bytes of a file are not what was written there. */
export function isDamage(error: unknown): boolean {
  return error instanceof DamagedError || hasCode(error, 'SQLITE_CORRUPT', 'SQLITE_NOTADB');
}

/** True for an error of the system or of SQLite with one of the given codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  const code = codeOf(error);
  return code !== undefined && codes.includes(code);
}

function codeOf(error: unknown): string | undefined {
  return isError(error) && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function explain(error: unknown, what: string): string {
  const remedy = REMEDIES[codeOf(error) ?? ''];
  if (remedy !== undefined) return `${what}. ${remedy}`;
  if (error instanceof DamagedError) return `${what}: ${error.message}. Open it again, and it starts from its copy.`;
  return `${what}: ${isError(error) ? error.message : String(error)}`;
}
