/**
 * What the command's exit says, in one place: the README's table is this one.
 */
import { type ErrorCode, isLoopStateError, type LoopResult } from '@loopstate/core';

/** The exit codes of `loopstate`, each with its meaning. */
export const EXIT_CODES = {
  0: 'all done',
  1: 'all done, and some items failed',
  2: 'wrong usage, or a command that can not be run',
  3: 'stopped early on purpose (--max-items, --max-cost, --halt); run it again to go on',
  4: 'too many glitches in a row; run it again to go on',
  5: 'the state is held by another process, or this run lost its claims',
  6: 'the state is unavailable, damaged beyond repair, foreign, or of a newer format',
  70: 'a defect of loopstate itself: please report it',
  129: 'interrupted by SIGHUP (the terminal went away); run it again to go on',
  130: 'interrupted by SIGINT, or because the output could not be written; run it again to go on',
  143: 'interrupted by SIGTERM; run it again to go on',
} as const;

/** An exit code of `loopstate`. */
export type ExitCode = keyof typeof EXIT_CODES;

/** The exit codes of the signals that stop a command. */
export const SIGNAL_EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

const OF_REASON: Readonly<Record<Exclude<LoopResult['reason'], 'all-done'>, ExitCode>> = {
  'max-items': 3,
  'max-budget': 3,
  'held-elsewhere': 3,
  'too-many-glitches': 4,
  'state-unavailable': 6,
  halted: 3,
  aborted: 130,
  ...SIGNAL_EXIT_CODES,
};

const OF_ERROR: Readonly<Record<ErrorCode, ExitCode>> = {
  LOOPSTATE_BAD_ID: 2,
  LOOPSTATE_BAD_OPTION: 2,
  LOOPSTATE_ITEM_CHANGED: 2,
  LOOPSTATE_BAD_COMMIT: 70,
  LOOPSTATE_BAD_KEY: 70,
  LOOPSTATE_VALUE_REFUSED: 70,
  LOOPSTATE_RESULT_REFUSED: 70,
  LOOPSTATE_CLOSED: 70,
  LOOPSTATE_NOT_CLAIMED: 70,
  LOOPSTATE_LOCKED: 5,
  LOOPSTATE_LEASE_LOST: 5,
  LOOPSTATE_LOCK_UNAVAILABLE: 6,
  LOOPSTATE_READ_ONLY: 6,
  LOOPSTATE_FOREIGN: 6,
  LOOPSTATE_NEWER_FORMAT: 6,
  LOOPSTATE_UNAVAILABLE: 6,
  LOOPSTATE_ABSENT: 6,
  LOOPSTATE_OUTCOME_UNKNOWN: 6,
  LOOPSTATE_HISTORY_GONE: 6,
  LOOPSTATE_WENT_BACKWARDS: 6,
  LOOPSTATE_BACKEND_MISSING: 6,
};

/** The exit code of a loop that ended by itself. */
export function exitCodeOfResult({ reason, progress }: LoopResult): ExitCode {
  if (reason !== 'all-done') return OF_REASON[reason];
  return progress.failed > 0 ? 1 : 0;
}

/** The exit code of an error that ended the command. */
export function exitCodeOfError(error: unknown): ExitCode {
  return isLoopStateError(error) ? OF_ERROR[error.code] : 70;
}
