/**
 * What can become of a claimed item, as pure functions from its record to the next one.
 */
import type { Json } from './backend.js';
import { encodeValue, isPlainAndSmall } from './checked-commit.js';
import { isLoopStateError, LoopStateError } from './errors.js';
import { CRASHES_UNTIL_ALONE, cutReason, type ItemRecord } from './loop-records.js';
import { isUsd, nanoUsdOf, usdOf } from './nano-usd.js';

/** What an attempt cost. Anything beside `usd` is kept as it is. */
export interface Cost {
  /** In US dollars; from 0 to 1e15. */
  readonly usd?: number;
  readonly [name: string]: Json | undefined;
}

/** How an attempt ended. */
export type ItemResult =
  /** Done; `output` (JSON, at most 1 MiB with the rest of the record) is kept. */
  | { readonly status: 'success'; readonly output?: Json | undefined; readonly cost?: Cost | undefined }
  /** Failed for good. */
  | { readonly status: 'error'; readonly reason?: string | undefined; readonly cost?: Cost | undefined }
  /** The fault of the circumstances (rate limit, network): the item comes back and the attempt is not counted. */
  | {
      readonly status: 'glitch';
      readonly reason?: string | undefined;
      /** Try again no sooner than this, in ms. */
      readonly retryAfterMs?: number | undefined;
      readonly cost?: Cost | undefined;
    };

/** A record without its `by`, which the commit adds. */
export type NextRecord = Omit<ItemRecord, 'by'>;

/** Refuses a result that is not one of the three. Errors: `LOOPSTATE_RESULT_REFUSED`. */
export function checkResult(result: unknown): ItemResult {
  if (result === null || typeof result !== 'object') throw badResult(`it is ${result === null ? 'null' : typeof result}, not an object`);
  const { status, reason, retryAfterMs } = result as { status?: unknown; reason?: unknown; retryAfterMs?: unknown };
  if (status !== 'success' && status !== 'error' && status !== 'glitch') {
    const found = status === undefined ? 'missing' : typeof status === 'string' ? JSON.stringify(status) : `of type ${typeof status}`;
    throw badResult(`its status is ${found}, and must be "success", "error" or "glitch"`);
  }
  if (reason !== undefined && typeof reason !== 'string') throw badResult(`its reason is a ${typeof reason}, not a string`);
  if (retryAfterMs !== undefined && !(typeof retryAfterMs === 'number' && Number.isFinite(retryAfterMs) && retryAfterMs >= 0)) {
    throw badResult('its retryAfterMs is not a number of milliseconds from 0');
  }
  return result as ItemResult;
}

/** The record of a claim on an item whose record was `before` (or absent). */
export function claimed(
  before: ItemRecord | undefined,
  run: string,
  { isAlone, digest }: { readonly isAlone: boolean; readonly digest?: string | undefined },
): NextRecord {
  const record: Draft = { status: 'claimed', attempt: (before?.attempt ?? 0) + (before?.status === 'claimed' ? 0 : 1), run };
  if (isAlone) record.alone = true;
  if (before !== undefined) {
    handOn(before, record);
    handOnTroubles(before, record);
  }
  if (digest !== undefined) record.digest = digest;
  return record;
}

/**
 * The record of an outcome. What can't be stored (no JSON, too large, a cost that is no amount) is recorded as an error with
 * the code `LOOPSTATE_RESULT_REFUSED`: the work was done, and doing it again would end the same way.
 */
export function ended(claim: NextRecord, result: Extract<ItemResult, { status: 'success' | 'error' }>, key: string): NextRecord {
  const usd = usableUsd(result.cost);
  const refusal = whyRefused(result, key);
  if (refusal !== undefined) {
    const why = `The result was refused: ${refusal}`;
    // What went wrong in the work comes first: of a long reason the beginning is kept.
    const record = failed(claim, result.status === 'error' && result.reason !== undefined ? `${result.reason}\n${why}` : why, usd);
    record.code = 'LOOPSTATE_RESULT_REFUSED';
    return record;
  }
  const record: Draft =
    result.status === 'error'
      ? failed(claim, result.reason ?? 'It failed without a reason.', usd)
      : handOn(claim, { status: 'completed', attempt: claim.attempt }, usd);
  if (result.cost !== undefined) record.cost = result.cost as Json;
  if (result.status === 'success' && result.output !== undefined) record.output = result.output;
  return record;
}

/** The record of an attempt that came to nothing because of the circumstances: not counted, tried again after `waitMs`. */
export function glitched(claim: NextRecord, reason: string | undefined, cost: Cost | undefined, waitMs: number): NextRecord {
  const record = handOn(claim, { status: 'outstanding', attempt: claim.attempt - 1 }, usableUsd(cost));
  record.glitches = (claim.glitches ?? 0) + 1;
  if (waitMs > 0) record.waitMs = Math.ceil(waitMs);
  if (reason !== undefined) record.lastError = cutReason(reason);
  return record;
}

/** The record of an attempt that failed while more are allowed: counted, tried again after `waitMs`. */
export function postponed(claim: NextRecord, reason: string | undefined, cost: Cost | undefined, waitMs: number): NextRecord {
  const record = handOn(claim, { status: 'outstanding', attempt: claim.attempt }, usableUsd(cost));
  if (waitMs > 0) record.waitMs = Math.ceil(waitMs);
  record.lastError = cutReason(reason ?? 'It failed without a reason.');
  return record;
}

/** The record of an item that was given back unused: the attempt is not counted. */
export function released(claim: NextRecord): NextRecord {
  return handOnTroubles(claim, handOn(claim, { status: 'outstanding', attempt: claim.attempt - 1 }));
}

/**
 * The record of an item whose run was proven gone. The crash is counted, the attempt is not. Whatever else ran in that process
 * may have been the cause, so only a crash while the item ran alone, after {@link CRASHES_UNTIL_ALONE} others, condemns it.
 */
export function crashed(claim: NextRecord): NextRecord {
  const crashes = (claim.crashes ?? 0) + 1;
  if (claim.alone === true && crashes > CRASHES_UNTIL_ALONE) {
    const reason = `Its process died ${crashes} times while it ran, the last time while it ran alone.`;
    return { ...failed({ ...claim, crashes }, reason, 0), quarantined: true };
  }
  return { ...released({ ...claim, crashes }), lastError: 'Its process died while it ran.' };
}

/** The record of an item that the operator puts back after its outcome: a new round, with all counts but the cost at 0. */
export function retried(before: ItemRecord): NextRecord {
  return {
    status: 'outstanding',
    attempt: 0,
    ...(before.costUsd === undefined ? {} : { costUsd: before.costUsd }),
    ...(before.reason === undefined ? {} : { lastError: before.reason }),
    round: (before.round ?? 1) + 1,
  };
}

/** A record that is being made. A field is set only where it has a value. */
type Draft = { -readonly [Name in keyof NextRecord]: NextRecord[Name] };

function failed(claim: NextRecord, reason: string, usd: number): Draft {
  const record = handOn(claim, { status: 'failed', attempt: claim.attempt }, usd);
  record.reason = cutReason(reason);
  return record;
}

/** What every record of an item hands on to the next; returns that. */
function handOn(before: NextRecord, record: Draft, usd = 0): Draft {
  const costUsd = usd === 0 ? before.costUsd : usdOf(nanoUsdOf(before.costUsd ?? 0) + nanoUsdOf(usd));
  if (before.crashes !== undefined) record.crashes = before.crashes;
  if (costUsd !== undefined && costUsd > 0) record.costUsd = costUsd;
  if (before.round !== undefined) record.round = before.round;
  if (before.digest !== undefined) record.digest = before.digest;
  return record;
}

/** What an item hands on that has come to nothing yet; returns the next record. */
function handOnTroubles(before: NextRecord, record: Draft): Draft {
  if (before.glitches !== undefined) record.glitches = before.glitches;
  if (before.lastError !== undefined) record.lastError = before.lastError;
  return record;
}

/** What a record holds besides: a reason of 4 KiB, a digest and a few numbers. A control character is six bytes as JSON. */
const REST_BYTES = 40 * 1_024;

function whyRefused(result: ItemResult, key: string): string | undefined {
  let text: string;
  try {
    const usd: unknown = result.cost?.usd;
    if (usd !== undefined && !isUsd(usd)) return 'cost.usd is not an amount from 0 to 1e15.';
    const stored = { output: result.status === 'success' ? (result.output ?? null) : null, cost: result.cost ?? null };
    if (isPlainAndSmall(stored)) return undefined;
    text = encodeValue(stored, key);
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_VALUE_REFUSED')) return error.message.replace(' Nothing was written.', '');
    return 'it cannot be read: a getter or a proxy in it threw an error.';
  }
  return Buffer.byteLength(text) > 1_024 * 1_024 - REST_BYTES ? `it has ${Buffer.byteLength(text)} bytes as JSON.` : undefined;
}

/** A cost that is no amount (missing, negative, endless, not to be read) counts as nothing. */
function usableUsd(cost: Cost | undefined): number {
  try {
    const usd: unknown = cost?.usd;
    return isUsd(usd) ? usd : 0;
  } catch {
    return 0;
  }
}

/** An error for what is no result, or can't be one here. */
export function badResult(reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_RESULT_REFUSED', `The result was refused: ${reason}. Nothing was written.`);
}
