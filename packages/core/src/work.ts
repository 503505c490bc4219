/**
 * What work returns or throws, made into a result.
 */
import { inspect } from 'node:util';
import { isError } from './errors.js';
import { type Cost, checkResult, type ItemResult } from './item-results.js';

/** How a thrown value that is no error is told of: getters, proxies and methods of its own are left alone. */
const BRIEFLY = {
  depth: 2,
  maxArrayLength: 8,
  maxStringLength: 1_000,
  breakLength: Number.POSITIVE_INFINITY,
  customInspect: false,
} as const;

/** What a loop hands to the work beside the item. */
export interface WorkContext {
  readonly id: string;
  /** Which attempt this is, from 1. Glitches, crashes and give-backs are not counted. */
  readonly attempt: number;
  /** Larger than that of every earlier attempt on this item: pass it along with writes of your own, so that they can be fenced too. */
  readonly fence: number;
  /** Aborted when the item was taken over, or the loop is to stop at once. Hand it on to whatever can be aborted. */
  readonly signal: AbortSignal;
}

/**
 * The work on one item. What it returns is the item's output (JSON), unless it returns a result with a `status` of its own.
 * What it throws is the reason of an error; {@link Glitch} makes it a glitch.
 */
export type Work<I> = (item: I, context: WorkContext) => unknown;

/** Thrown by work when the circumstances are at fault (rate limit, network): the item comes back and the attempt is not counted. */
export class Glitch extends Error {
  /** Try again no sooner than this, in ms. */
  readonly retryAfterMs: number | undefined;
  /** What the attempt cost all the same. */
  readonly cost: Cost | undefined;

  constructor(message: string, options: { readonly retryAfterMs?: number; readonly cost?: Cost; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Glitch';
    this.retryAfterMs = options.retryAfterMs;
    this.cost = options.cost;
  }
}

/** The result that a returned value stands for. A malformed one is an error: its work was done, and done again would end the same way. */
export function resultOfValue(value: unknown): ItemResult {
  const status: unknown = typeof value === 'object' && value !== null && 'status' in value ? value.status : undefined;
  const isResult = status === 'success' || status === 'error' || status === 'glitch';
  if (!isResult) return value === undefined ? { status: 'success' } : { status: 'success', output: value as never };
  try {
    return checkResult(value);
  } catch (error) {
    return { status: 'error', reason: reasonOf(error) };
  }
}

/** The result that a thrown value stands for, whatever it is. */
export function resultOfThrown(error: unknown): ItemResult {
  try {
    if (!isError(error) || error.name !== 'Glitch') return { status: 'error', reason: reasonOf(error) };
    const { retryAfterMs, cost } = error as Glitch;
    const isWait = typeof retryAfterMs === 'number' && Number.isFinite(retryAfterMs) && retryAfterMs >= 0;
    return { status: 'glitch', reason: reasonOf(error), ...(isWait ? { retryAfterMs } : {}), ...(cost === undefined ? {} : { cost }) };
  } catch {
    return { status: 'error', reason: 'It failed with a value that cannot be read.' };
  }
}

/** What an error says for itself, never empty. Errors: what its getters raise. */
export function reasonOf(error: unknown): string {
  const said: unknown = isError(error) ? error.message || error.name : error;
  // Not `String`: it would write out what an array holds, however much that is.
  const text = typeof said === 'string' ? said : inspect(said, BRIEFLY);
  return text || 'It failed without a reason.';
}
