/**
 * What goes wrong between a handle and its server, and what it means to the caller: whether the call can have had an effect, and
 * what to do next. Errors of the driver are known by the names of their classes, since several copies of it may be loaded.
 */
import { isError, isLoopStateError, LoopStateError, OutcomeUnknownError, UnavailableError } from '@loopstate/core';

/** The names of the driver's errors for a command that never left this process. */
const NEVER_SENT: ReadonlySet<string> = new Set(['ClientOfflineError', 'ClientClosedError', 'AbortError']);

/** The names of the driver's errors that carry what the server replied. */
const REPLIES: ReadonlySet<string> = new Set(['ErrorReply', 'SimpleError', 'BlobError']);

/** By the first word of a refusal, which comes before anything is written: what to tell, and what else it means. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  READONLY: { remedy: 'It is a replica now: the next call looks for the master.', dropsConnection: true },
  LOADING: { remedy: 'It is still loading its data: try again in a moment.', dropsConnection: true },
  MASTERDOWN: { remedy: 'It is a replica that lost its master: try again when there is one.', dropsConnection: true },
  CLUSTERDOWN: { remedy: 'The cluster does not serve this job now: try again when all its slots are covered.', dropsConnection: true },
  MOVED: { remedy: 'The job moves to another node of the cluster: try again in a moment.', dropsConnection: true },
  ASK: { remedy: 'The job moves to another node of the cluster: try again in a moment.', dropsConnection: true },
  TRYAGAIN: { remedy: 'The job moves to another node of the cluster: try again in a moment.' },
  OOM: { remedy: 'Its memory is full: raise maxmemory or free some, and the loop can go on.' },
  MISCONF: { remedy: 'It cannot write to its disk and refuses writes: look at its log.' },
  NOREPLICAS: { remedy: 'Fewer replicas are connected than min-replicas-to-write demands.' },
  BUSY: { remedy: 'It is busy running a script: try again in a moment.' },
  NOAUTH: { remedy: 'It wants a password: give it in the URL, before the @.', isFinal: true },
  WRONGPASS: { remedy: 'It refuses the user name or the password.', isFinal: true },
  NOPERM: { remedy: 'This user may not do that: allow it, or name another user.', isFinal: true },
  CROSSSLOT: { remedy: 'It is a cluster: use a redis+cluster: URL.', isFinal: true },
  WRONGTYPE: { remedy: 'The keys of this job hold something that loopstate did not write.', isForeign: true, isFinal: true },
};

interface Refusal {
  readonly remedy: string;
  /** Another server must be looked for. */
  readonly dropsConnection?: boolean;
  /** It will be refused again. */
  readonly isFinal?: boolean;
  readonly isForeign?: boolean;
}

/** The store is not the one, or not as new, as this handle has seen. Nothing was written; neither will anything be, until `changes(0)`. */
export class WentBackwardsError extends LoopStateError {
  /** The id of the store that stands there now; none: there is no store. */
  readonly storeId: string | undefined;
  /** The revision at which it stands. */
  readonly revision: number;

  constructor(message: string, found: { storeId: string | undefined; revision: number }) {
    super('LOOPSTATE_WENT_BACKWARDS', message);
    this.storeId = found.storeId;
    this.revision = found.revision;
  }
}

/** What is done when a call fails. */
export interface Verdict {
  readonly error: LoopStateError;
  /** The connection serves no further call. */
  readonly dropsConnection: boolean;
}

/** What `error`, which ended a call, means. `isWrite`: the call may have had an effect, unless the server or the driver says otherwise. */
export function judgeFailure(error: unknown, { where, isWrite }: { where: string; isWrite: boolean }): Verdict {
  if (isLoopStateError(error)) return { error, dropsConnection: false };
  const cause = plainCause(error);
  const code = refusalCode(error);
  const refusal = code === undefined ? undefined : REFUSALS[code];
  if (refusal !== undefined) {
    const message = `${where} refused the call (${code}). ${refusal.remedy}`;
    const details = { cause, retryable: refusal.isFinal !== true };
    const errorCode = refusal.isForeign === true ? 'LOOPSTATE_FOREIGN' : 'LOOPSTATE_UNAVAILABLE';
    return { error: new LoopStateError(errorCode, message, details), dropsConnection: refusal.dropsConnection ?? false };
  }
  if (NEVER_SENT.has(classOf(error)) || !isWrite) {
    return {
      error: new UnavailableError(`${where} cannot be reached now: ${cause.message}.`, { cause }),
      dropsConnection: !isReply(error),
    };
  }
  const message = `${where} gave no clear answer (${cause.message}): the commit may or may not have been made.`;
  return { error: new OutcomeUnknownError(message, { cause }), dropsConnection: !isReply(error) };
}

/** The call could not be sent, or must not be. */
export function unavailable(message: string, cause?: unknown): LoopStateError {
  return new UnavailableError(message, cause === undefined ? {} : { cause: plainCause(cause) });
}

/** The server is there and does not fit; it will not fit the next time either. */
export function unfit(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_UNAVAILABLE', message);
}

/** What stands in the keys of the job is not what was written there. */
export class DamagedJobError extends LoopStateError {
  /** The record that is not what was written; empty: the records do not fit together. */
  readonly key: string;

  constructor(where: string, key: string) {
    const what = key === '' ? 'the records do not fit together' : `the record ${JSON.stringify(key)} is not what was written`;
    const remedy = 'It is left as it is: restore the job from a backup or a replica, or reset it.';
    super('LOOPSTATE_FOREIGN', `${where} is damaged: ${what}. ${remedy}`);
    this.key = key;
  }
}

/** The word with which the server refused what led to `error`, as far as that is one of those known here. */
export function refusalOf({ cause }: LoopStateError): string | undefined {
  const word = isError(cause) ? /^(?<word>[A-Z]+)\b/.exec(cause.message)?.groups?.word : undefined;
  return word !== undefined && Object.hasOwn(REFUSALS, word) ? word : undefined;
}

/** True when the server does not know a script that it was asked to run. */
export function isUnknownScript(error: unknown): boolean {
  return refusalCode(error) === 'NOSCRIPT';
}

/**
 * A copy of an error that holds its message and code and nothing else: what the driver attaches (options, sockets, arguments) may
 * hold a password.
 */
export function plainCause(error: unknown): Error {
  if (!isError(error)) return new Error('an error without a message');
  const first = error instanceof AggregateError ? (error.errors[0] as unknown) : undefined;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const message = error.message || (isError(first) ? first.message : undefined) || code || classOf(error);
  const copy = new Error(message);
  copy.name = error.name;
  return code === undefined ? copy : Object.assign(copy, { code });
}

/** Redis before 7 wraps what a script's command was refused with. */
function refusalCode(error: unknown): string | undefined {
  if (!isReply(error)) return undefined;
  const text = (error as Error).message;
  const inScript = /^ERR Error running script .*: -(?<code>[A-Z]+) /s.exec(text)?.groups?.code;
  if (/^ERR (ACL failure in script|The user executing the script)/.test(text)) return 'NOPERM';
  return inScript ?? /^(?<code>[A-Z]+)\b/.exec(text)?.groups?.code;
}

function isReply(error: unknown): boolean {
  return REPLIES.has(classOf(error));
}

function classOf(error: unknown): string {
  return isError(error) ? error.constructor.name : typeof error;
}
