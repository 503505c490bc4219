/**
 * Every error that loopstate raises carries a stable `code`. Programs match on the code; the message is for people and says
 * what was wrong, where, and what to do next.
 */
import { types } from 'node:util';

/** The codes, each with what it means for the caller. */
export const ERROR_CODES = {
  LOOPSTATE_BAD_ID: 'An item id is empty, too long, not well-formed Unicode, or not a string. Nothing was written.',
  LOOPSTATE_BAD_OPTION: 'An option, a URL or an argument is not one that is known or allowed. Nothing was written.',
  LOOPSTATE_BAD_COMMIT: 'A commit has the wrong shape: too many keys, a key twice, nothing to write. Nothing was written.',
  LOOPSTATE_BAD_KEY: 'A key is empty, over 1,040 bytes, or not well-formed Unicode. Nothing was written.',
  LOOPSTATE_VALUE_REFUSED: 'A value would not come back from JSON as it went in, or is over 1 MiB. Nothing was written.',
  LOOPSTATE_RESULT_REFUSED: 'The result of an item could not be stored; the item is recorded as failed with this code.',
  LOOPSTATE_CLOSED: 'The store, or the state, was closed before this call.',
  LOOPSTATE_LOCKED: 'Another process (or worker thread) has the store open.',
  LOOPSTATE_LOCK_UNAVAILABLE: 'This machine cannot take the kernel lock that keeps a second process out.',
  LOOPSTATE_READ_ONLY: 'The store was opened for reading; this call writes.',
  LOOPSTATE_FOREIGN: 'The place holds something that loopstate did not write. It is left untouched.',
  LOOPSTATE_NEWER_FORMAT: 'The place was written by a newer loopstate. It is left untouched.',
  LOOPSTATE_UNAVAILABLE: 'The store cannot be reached or written now. The call had no effect; it may be tried again.',
  LOOPSTATE_ABSENT: 'There is no state at that place yet, and it was opened only to be read.',
  LOOPSTATE_OUTCOME_UNKNOWN: 'The call was sent and its answer lost: it may have had its effect, or may have it yet.',
  LOOPSTATE_HISTORY_GONE: 'Deletions after the given revision were forgotten: start again from 0.',
  LOOPSTATE_LEASE_LOST: 'Another run took this item over; what this worker did with it was not recorded.',
  LOOPSTATE_NOT_CLAIMED: 'This run holds no claim on the item, so it cannot end it.',
  LOOPSTATE_WENT_BACKWARDS: 'The store is older than what was already seen of it, or is another store.',
  LOOPSTATE_ITEM_CHANGED: 'An item that has an outcome is no longer what it was then. Nothing was written.',
  LOOPSTATE_BACKEND_MISSING: 'The package that serves this URL is not installed.',
} as const;

/** A stable error code; see {@link ERROR_CODES} for what each means. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** What every error may carry besides its message. */
export interface ErrorDetails {
  /** The error that led to this one. */
  readonly cause?: unknown;
  /** True when the same call may succeed later without any change by the caller. */
  readonly retryable?: boolean;
}

/** The one error class of loopstate; subclasses only add fields. */
export class LoopStateError extends Error {
  readonly code: ErrorCode;
  /** True when the same call may succeed later without any change by the caller. */
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.retryable = details.retryable ?? false;
  }
}

/**
 * The third answer of a commit: neither yes nor no. The same conditional commit may be sent again; at most one of the two
 * applies. A read that does not show it proves nothing, since it may still land.
 */
export class OutcomeUnknownError extends LoopStateError {
  constructor(message: string, details: Omit<ErrorDetails, 'retryable'> = {}) {
    super('LOOPSTATE_OUTCOME_UNKNOWN', message, { ...details, retryable: true });
  }
}

/** The store could not be reached or written; the call had no effect and may be tried again. */
export class UnavailableError extends LoopStateError {
  constructor(message: string, details: Omit<ErrorDetails, 'retryable'> = {}) {
    super('LOOPSTATE_UNAVAILABLE', message, { ...details, retryable: true });
  }
}

/** There is nothing at the place yet; opening it for reading makes nothing. */
export class AbsentError extends LoopStateError {
  constructor(message: string) {
    super('LOOPSTATE_ABSENT', message, { retryable: true });
  }
}

/** Deletions after the given revision are no longer known; read the changes from 0. */
export class HistoryGoneError extends LoopStateError {
  constructor(since: number) {
    super('LOOPSTATE_HISTORY_GONE', `Deletions after revision ${since} are no longer known: read the changes from 0.`);
  }
}

/** Another run took over the item that this worker held; its result was not recorded. */
export class LeaseLostError extends LoopStateError {
  /** The item. */
  readonly id: string;

  constructor(id: string, message: string, details: Omit<ErrorDetails, 'retryable'> = {}) {
    super('LOOPSTATE_LEASE_LOST', message, details);
    this.id = id;
  }
}

/** Who holds a lock, as far as it could be found out. */
export interface LockHolder {
  readonly pid?: number;
  readonly host?: string;
  /** When it took the lock, in ms since the epoch by its own clock. */
  readonly since?: number;
}

/** Another process has the store open. */
export class LockedError extends LoopStateError {
  readonly holder: LockHolder;

  constructor(message: string, holder: LockHolder) {
    super('LOOPSTATE_LOCKED', message);
    this.holder = holder;
  }
}

/**
 * True for an error, be it of another realm: in a context of `node:vm`, in which Jest runs its tests, what Node's own modules raise is no
 * `instanceof Error`.
 */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value);
}

/** True for an error of loopstate, with the given code where one is given; works across copies of the package. */
export function isLoopStateError(error: unknown, code?: ErrorCode): error is LoopStateError {
  if (!isError(error) || !('code' in error) || typeof error.code !== 'string') return false;
  return code === undefined ? Object.hasOwn(ERROR_CODES, error.code) : error.code === code;
}
