import type { Items, LoopItem } from './item-source.js';
import { LoopRunner } from './loop-runner.js';
import type { LoopState } from './loop-state.js';
import type { Progress } from './loop-view.js';
import { badOption, numberOption, optionLike, refuseUnknownOptions, signalOption } from './options.js';
import type { Work } from './work.js';

/** How long to wait between attempts: doubled each time from `minDelayMs` to `maxDelayMs`, and spread by chance over its upper half. */
export interface Backoff {
  readonly minDelayMs?: number | undefined;
  readonly maxDelayMs?: number | undefined;
}

/** Options of {@link runLoop}. */
export interface RunLoopOptions<I extends LoopItem> {
  /** Pulled as needed, one at a time; may be endless. A repeated id runs once. */
  readonly items: Items<I>;
  readonly work: Work<I>;
  readonly state: LoopState;
  /** How many items run at once; 1 to 10,000. Default: 1. */
  readonly concurrency?: number | undefined;
  /** Aborted: nothing new begins, running work is told by its own signal and has `graceMs` to end. */
  readonly signal?: AbortSignal | undefined;
  /**
   * SIGINT, SIGTERM or SIGHUP: nothing new begins and running work finishes. A SIGINT or SIGTERM after that is like `signal`; a SIGHUP is not,
   * since a terminal that goes away may send two. Default: true.
   */
  readonly handleSignals?: boolean | undefined;
  /** Aborted: nothing new begins, running work finishes. Default: never. */
  readonly halt?: AbortSignal | undefined;
  /** How long aborted work may take to end before its item is given back, in ms. Default: 5,000. */
  readonly graceMs?: number | undefined;
  /** How many more attempts an item has after an error. Default: 0. */
  readonly retries?: number | undefined;
  /** The wait before such an attempt. Default: 0 ms, up to 60,000 ms. */
  readonly backoff?: Backoff | undefined;
  /** What glitches do: the wait after one (default: from 1,000 to 60,000 ms), and how many in a row end the loop (default: 10 per worker). */
  readonly glitches?: (Backoff & { readonly maxInRow?: number | undefined }) | undefined;
  /** Stop after this many items were begun, each attempt counted. Default: no bound. */
  readonly maxItems?: number | undefined;
  /** Begin nothing more once the state's `costUsd` has reached this, in US dollars. What is in flight may still add to it. Default: no bound. */
  readonly maxBudgetUsd?: number | undefined;
  /**
   * What an item, and the work on it, is like: kept with the item. One that has an outcome under another digest has changed. An item whose
   * record has no digest has not, as far as is known. Default: nothing is kept or compared.
   */
  readonly digest?: ((item: I) => string | Promise<string>) | undefined;
  /** What to do with a changed item: tell and go on, run it again in a new round, or end with `LOOPSTATE_ITEM_CHANGED`. Default: `refuse`. */
  readonly onChange?: 'warn' | 'rerun' | 'refuse' | undefined;
  /** Whether to wait for items that other runs hold, and take them over if those die. Default: true. */
  readonly waitForOthers?: boolean | undefined;
  /** How long to go on trying when the state can't be read or written, in ms. Default: for ever. */
  readonly giveUpAfterMs?: number | undefined;
  /** Told of everything that happens, as it happens; not waited for. What it throws, or rejects with until the loop has ended, ends the loop. */
  readonly onProgress?: ((event: LoopEvent) => void) | undefined;
}

/** Something that happened in a loop. */
export type LoopEvent =
  | { readonly type: 'started'; readonly id: string; readonly attempt: number }
  | { readonly type: 'completed'; readonly id: string }
  | { readonly type: 'failed'; readonly id: string; readonly reason: string }
  /** The item comes back after `waitMs`: it glitched, or failed and has attempts left. */
  | { readonly type: 'glitch' | 'retry'; readonly id: string; readonly reason: string; readonly waitMs: number }
  /** The item was not finished and is outstanding again. */
  | { readonly type: 'given-back'; readonly id: string }
  /** Another run took the item over, or the store lost the claim; what was done here was not recorded. */
  | { readonly type: 'lost'; readonly id: string }
  /** The item had its outcome already, or got it from another run. */
  | { readonly type: 'skipped'; readonly id: string }
  /** The item has an outcome, and was another one then. */
  | { readonly type: 'changed'; readonly id: string }
  /** The state can't be read or written: nothing new begins, what is done is kept and tried again. */
  | { readonly type: 'unavailable'; readonly error: unknown }
  | { readonly type: 'available' }
  /** Only items that other runs hold are left. */
  | { readonly type: 'waiting-for-others'; readonly items: number }
  | { readonly type: 'stopping'; readonly reason: StopReason };

/** Why a loop ended before all its items had an outcome. */
export type StopReason =
  | 'max-items'
  | 'max-budget'
  | 'held-elsewhere'
  | 'too-many-glitches'
  | 'state-unavailable'
  | 'halted'
  | 'aborted'
  | 'SIGINT'
  | 'SIGTERM'
  | 'SIGHUP';

/** What a loop did, itself; the state's `progress` counts all runs. */
export interface LoopCounts {
  /** Attempts begun. */
  readonly started: number;
  readonly completed: number;
  readonly failed: number;
  readonly glitches: number;
  readonly retries: number;
  /** Items that had an outcome when their turn came. */
  readonly skipped: number;
  /** Items whose id had come before. */
  readonly duplicates: number;
  /** Items that other runs took over. */
  readonly lost: number;
  /** Items whose work ended but whose outcome could not be recorded before the loop was stopped; they run again. */
  readonly unrecorded: number;
}

/** How a loop ended. */
export interface LoopResult {
  /** `completed`: every item of the input got an outcome, or had one. `stopped`: on purpose. `interrupted`: by a signal. */
  readonly status: 'completed' | 'stopped' | 'interrupted';
  readonly reason: 'all-done' | StopReason;
  readonly counts: LoopCounts;
  readonly progress: Progress;
}

/** `T` with nothing left out. */
type Given<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> };

/** The options with all defaults. */
export interface RunLoopSettings<I extends LoopItem>
  extends Given<Omit<RunLoopOptions<I>, 'signal' | 'halt' | 'digest' | 'backoff' | 'glitches'>> {
  readonly signal: AbortSignal | undefined;
  readonly halt: AbortSignal | undefined;
  readonly digest: RunLoopOptions<I>['digest'];
  readonly backoff: { readonly minDelayMs: number; readonly maxDelayMs: number };
  readonly glitches: { readonly minDelayMs: number; readonly maxDelayMs: number; readonly maxInRow: number };
}

const OPTION_NAMES = [
  ...['items', 'work', 'state', 'concurrency', 'signal', 'halt', 'handleSignals', 'graceMs', 'retries', 'backoff', 'glitches'],
  ...['digest', 'onChange', 'maxItems', 'maxBudgetUsd', 'waitForOthers', 'giveUpAfterMs', 'onProgress'],
];

const FOREVER = Number.POSITIVE_INFINITY;

/**
 * Runs `work` on every item that has no outcome yet, and ends when every item of the input has one: it waits for items that back off
 * or that other runs hold, and takes them over when their holder dies. Each item gets exactly one recorded outcome; its work runs at
 * least once, and again if the process dies meanwhile. What loses its outcome when its turn is over (it was put back, or the store lost it) is
 * for the next loop.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` and `LOOPSTATE_BAD_ID` (with the item's place in the input); what the input throws; what the state
 * raises and trying again can't mend. Whatever the error, work that had begun was finished and recorded first.
 */
export async function runLoop<I extends LoopItem>(options: RunLoopOptions<I>): Promise<LoopResult> {
  return await new LoopRunner(checkRunLoopOptions(options)).run();
}

function checkRunLoopOptions<I extends LoopItem>(options: RunLoopOptions<I>): RunLoopSettings<I> {
  refuseUnknownOptions(options, OPTION_NAMES);
  const { backoff = {}, glitches = {} } = options;
  refuseUnknownOptions(backoff, ['minDelayMs', 'maxDelayMs']);
  refuseUnknownOptions(glitches, ['minDelayMs', 'maxDelayMs', 'maxInRow']);
  if (typeof options.work !== 'function') throw badOption('work must be a function of an item.');
  if (typeof options.state?.claim !== 'function') throw badOption('state must be a LoopState: await LoopState.open(…).');
  const { digest, onChange = 'refuse' } = options;
  if (digest !== undefined && typeof digest !== 'function') throw badOption('digest must be a function of an item.');
  if (!['warn', 'rerun', 'refuse'].includes(onChange)) throw badOption('onChange must be "warn", "rerun" or "refuse".');
  const concurrency = numberOption('concurrency', options.concurrency, 1, { min: 1, max: 10_000, isWhole: true });
  const day = 86_400_000;
  return {
    items: options.items,
    work: options.work,
    state: options.state,
    concurrency,
    signal: signalOption('signal', options.signal),
    halt: signalOption('halt', options.halt),
    digest,
    onChange,
    handleSignals: optionLike('handleSignals', options.handleSignals, true),
    graceMs: numberOption('graceMs', options.graceMs, 5_000, { min: 0, max: day }),
    retries: numberOption('retries', options.retries, 0, { min: 0, max: FOREVER, isWhole: true }),
    backoff: {
      minDelayMs: numberOption('backoff.minDelayMs', backoff.minDelayMs, 0, { min: 0, max: day }),
      maxDelayMs: numberOption('backoff.maxDelayMs', backoff.maxDelayMs, 60_000, { min: 0, max: day }),
    },
    glitches: {
      minDelayMs: numberOption('glitches.minDelayMs', glitches.minDelayMs, 1_000, { min: 0, max: day }),
      maxDelayMs: numberOption('glitches.maxDelayMs', glitches.maxDelayMs, 60_000, { min: 0, max: day }),
      maxInRow: numberOption('glitches.maxInRow', glitches.maxInRow, 10 * concurrency, { min: 1, max: FOREVER, isWhole: true }),
    },
    maxItems: numberOption('maxItems', options.maxItems, FOREVER, { min: 1, max: FOREVER, isWhole: true }),
    maxBudgetUsd: numberOption('maxBudgetUsd', options.maxBudgetUsd, FOREVER, { min: 0, max: FOREVER }),
    waitForOthers: optionLike('waitForOthers', options.waitForOthers, true),
    giveUpAfterMs: numberOption('giveUpAfterMs', options.giveUpAfterMs, FOREVER, { min: 0, max: FOREVER }),
    onProgress: optionLike('onProgress', options.onProgress, () => undefined),
  };
}
