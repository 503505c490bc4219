import type { LeaseLostError } from './errors.js';
import type { ItemResult, NextRecord } from './item-results.js';
import type { ItemStatus } from './loop-records.js';
import { numberOption, refuseUnknownOptions } from './options.js';

/** The right to work on one item, until `end` or `release`. */
export interface Claim {
  readonly id: string;
  /** Larger than that of every earlier claim on this item; pass it along with writes of your own, so that they can be fenced too. */
  readonly fence: number;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** How many attempts in a row before this one were glitches. */
  readonly glitches: number;
  /** Aborted, with a `LeaseLostError` as its reason, when it is proven that another run took the item over. */
  readonly signal: AbortSignal;

  /**
   * Records the result; resolves with where the item stands then: `completed`, `failed`, or `outstanding` after a glitch.
   * A result that can't be stored is recorded as `failed` with the code `LOOPSTATE_RESULT_REFUSED`.
   *
   * Errors: `LOOPSTATE_LEASE_LOST` (taken over; nothing was recorded), `LOOPSTATE_NOT_CLAIMED` (ended before),
   * `LOOPSTATE_CLOSED` (the state was closed, which gave the item back), `LOOPSTATE_RESULT_REFUSED` (not a result; nothing was written);
   * `LOOPSTATE_UNAVAILABLE` and `LOOPSTATE_OUTCOME_UNKNOWN`: the claim stands, call again.
   */
  end(result: ItemResult): Promise<ItemStatus>;

  /**
   * Records a failed attempt without an outcome: the item is outstanding again, the attempt counts, and runs wait `waitMs` before the next.
   * Errors: as `end`, and `LOOPSTATE_BAD_OPTION`.
   */
  postpone(failure: Extract<ItemResult, { status: 'error' }>, options: { readonly waitMs: number }): Promise<ItemStatus>;

  /**
   * Gives the item back; the attempt does not count. Errors: as `end`, but a claim that was lost, ended or given back is fine. After an error
   * the claim is over too: this run may claim the item again, others once this run has ended.
   */
  release(): Promise<void>;

  /** Aborts `signal` for a reason of the caller's own; the claim stands. */
  abort(reason: unknown): void;
}

/**
 * A claim's modes: *held* until it is settled or lost; *settled* once an `end` was answered, or a `release` was, with whatever answer;
 * *lost* once another run's record was seen in its place. A lost claim stays on the books until its holder ends or releases it.
 */
export type ClaimMode = 'held' | 'settled' | 'lost';

/** Settles claims. */
export interface ClaimKeeper {
  /** As `Claim.end`. */
  endClaim(held: HeldClaim, result: ItemResult): Promise<ItemStatus>;
  /** As `Claim.postpone`. */
  postponeClaim(held: HeldClaim, failure: ItemResult, waitMs: number): Promise<ItemStatus>;
  /** As `Claim.release`. */
  releaseClaim(held: HeldClaim): Promise<void>;
}

/** A claim, and what is kept of it. */
export class HeldClaim implements Claim {
  readonly id: string;
  readonly fence: number;
  readonly record: NextRecord;
  /** The `by` of the commit that claimed it. */
  readonly by: string;
  readonly #keeper: ClaimKeeper;
  /** The `by` of every commit that tried to settle it: a record that carries one of them is this claim's own. */
  readonly sent: string[] = [];
  /** At which revision a record of its own was last seen: that of the claim, or one that settles it and whose reply was lost. */
  seen: number;
  mode: ClaimMode = 'held';
  lost: LeaseLostError | undefined;
  #controller: AbortController | undefined;

  constructor(
    keeper: ClaimKeeper,
    id: string,
    { fence, record, by }: { readonly fence: number; readonly record: NextRecord; readonly by: string },
  ) {
    this.#keeper = keeper;
    this.id = id;
    this.fence = fence;
    this.seen = fence;
    this.record = record;
    this.by = by;
  }

  get attempt(): number {
    return this.record.attempt;
  }

  get glitches(): number {
    return this.record.glitches ?? 0;
  }

  end(result: ItemResult): Promise<ItemStatus> {
    return this.#keeper.endClaim(this, result);
  }

  async postpone(failure: Extract<ItemResult, { status: 'error' }>, options: { readonly waitMs: number }): Promise<ItemStatus> {
    refuseUnknownOptions(options, ['waitMs']);
    const waitMs = numberOption('waitMs', options.waitMs, 0, { min: 0, max: Number.MAX_SAFE_INTEGER });
    return await this.#keeper.postponeClaim(this, failure, waitMs);
  }

  release(): Promise<void> {
    return this.#keeper.releaseClaim(this);
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  /** Aborts the work without giving up the claim. */
  abort(reason: unknown): void {
    this.#controller ??= new AbortController();
    this.#controller.abort(reason);
  }

  lose(error: LeaseLostError): void {
    this.mode = 'lost';
    this.lost = error;
    this.abort(error);
  }
}
