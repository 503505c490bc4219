/** What a system error means to the caller, in one sentence that says what to do. */
import { isError, isLoopStateError, LoopStateError, OutcomeUnknownError, UnavailableError } from '@loopstate/core';
import { JournalInDoubtError } from './journal-file.js';

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'No space is left on the device that holds it: free some, and the loop can go on.',
  EDQUOT: 'The disk quota is used up: free some space, and the loop can go on.',
  EROFS: 'It is on a read-only file system: name a file on a writable one.',
  EACCES: 'This user may not do that there: change the permissions, or name another file.',
  EPERM: 'This user may not do that there: change the permissions, or name another file.',
  EIO: 'The disk reports an error: look at the system log, and at the disk.',
  EMFILE: 'Too many files are open in this process: raise the limit, or open fewer.',
  ENFILE: 'Too many files are open on this machine: raise the limit, or open fewer.',
  EINTR: 'The call was interrupted: try again.',
  ENOTDIR: 'A part of its path is a file, not a directory: name another place.',
  ENAMETOOLONG: 'Its name is too long, with what is added to it: name a shorter one.',
  ERR_FS_FILE_TOO_LARGE: 'A file of it has more than 2 GiB, which cannot be read: begin anew with several states, or with a sqlite: one.',
  ELOOP: 'Its symlinks lead in a circle: name the file itself.',
};

/** The call had no effect: an error with code `LOOPSTATE_UNAVAILABLE`, unless `error` is one of ours already. */
export function unavailable(error: unknown, what: string): LoopStateError {
  if (isLoopStateError(error)) return error;
  const cause = error instanceof JournalInDoubtError ? error.cause : error;
  return new UnavailableError(explain(cause, what), { cause });
}

/** The call may have had its effect, or may have it yet: an error with code `LOOPSTATE_OUTCOME_UNKNOWN`. */
export function outcomeUnknown(error: unknown, what: string): LoopStateError {
  return new OutcomeUnknownError(explain(error, what), { cause: error });
}

/** The call was made of a handle that was closed. */
export function closed(path: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_CLOSED', `This handle on ${path} was closed: open another.`);
}

/** More deletions than are kept came while all was read; a law wants no other answer than to read again. */
export function changedTooMuch(path: string): LoopStateError {
  return new UnavailableError(`${path} changed too much while it was read: read the changes again.`);
}

function explain(error: unknown, what: string): string {
  const code = isError(error) && 'code' in error ? String(error.code) : undefined;
  const remedy = code === undefined ? undefined : REMEDIES[code];
  if (remedy !== undefined) return `${what}. ${remedy}`;
  return `${what}: ${isError(error) ? error.message : String(error)}`;
}
