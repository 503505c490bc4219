/**
 * What a live run does when its store turns out to be older than what was seen of it, or another one: it reads the store anew, gives up
 * the claims that are gone, registers again, and records again the outcomes it knows, never over an outcome that is there.
 */
import { Calls } from './calls.js';
import type { ClaimBook } from './claim-book.js';
import { isLoopStateError, UnavailableError } from './errors.js';
import type { NextRecord } from './item-results.js';
import { isFinal, itemKey } from './loop-records.js';
import type { KnownItem, LoopView } from './loop-view.js';
import type { Membership } from './membership.js';
import type { Replacement, StoreLink } from './store-link.js';

/** How many outcomes one commit records again: well below the bounds of *commit/shape* by number, and small enough by size. */
const BATCH_ITEMS = 100;
const BATCH_BYTES = 4 * 1_024 * 1_024;

type Outcome = readonly [id: string, record: NextRecord];

/** A store that went backwards was brought up to date. */
export interface WentBackwardsEvent {
  readonly type: 'went-backwards';
  /** How many outcomes of this run were missing and were recorded again. */
  readonly recordedAgain: number;
  /** Of how many of those only the status and the cost were still known. */
  readonly withoutResult: number;
}

/**
 * Makes calls of a run; when one finds that the store went backwards, what the run knows is restored before any other goes on.
 *
 * **Invariants:**
 * - At most one restoration is under way, and no guarded call begins meanwhile.
 * - A restoration begins when every guarded call has been answered: what was acknowledged before the loss is known then.
 * - A restoration is due from the first news of the loss until one has succeeded, and no guarded call goes out before it.
 * - No guarded call waits for another.
 */
export class BackwardsGuard {
  readonly #restore: () => Promise<void>;
  readonly #calls = new Calls();
  #restoring: Promise<void> | undefined;
  /** The store itself tells of a loss once: reading it from the start accepts it, whatever becomes of the restoration after that. */
  #isDue = false;
  /** What told of the loss that was dealt with last, and what interrupted a restoration last: the very same again is no further loss. */
  #restoredFrom: unknown;
  #metInRestoring: unknown;

  constructor(restore: () => Promise<void>) {
    this.#restore = restore;
  }

  /**
   * Makes a call, after the restoration that is due. Errors: those of the call, and of that restoration; `LOOPSTATE_UNAVAILABLE` in place of
   * `LOOPSTATE_WENT_BACKWARDS`: it may be made again.
   */
  run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#isDue) return this.#restoreOnce().then(() => this.run(call));
    // Whether it succeeds or not, it is answered: the restoration need not wait for it.
    return this.#calls.make(call).catch(this.#recovered);
  }

  /** Guards a long reading, which others need not wait for: one that meets the loss breaks off. Errors: as of a call. */
  async *reading<T>(read: () => AsyncIterable<T>): AsyncGenerator<T> {
    if (this.#isDue) await this.#restoreOnce();
    try {
      yield* read();
    } catch (error) {
      await this.#recover(error);
    }
  }

  readonly #recovered = (cause: unknown): Promise<never> => this.#recover(cause);

  async #recover(cause: unknown): Promise<never> {
    if (!isLoopStateError(cause, 'LOOPSTATE_WENT_BACKWARDS')) throw cause;
    // A loss that reading anew does not make good: the store has to be opened again.
    if (cause === this.#restoredFrom) throw cause;
    this.#isDue = true;
    await this.#restoreOnce();
    this.#restoredFrom = cause;
    throw new UnavailableError('The store had lost records; what this run knows of them is recorded again. Try again.', { cause });
  }

  #restoreOnce(): Promise<void> {
    this.#restoring ??= this.#restoreInQuiet().finally(() => {
      this.#restoring = undefined;
    });
    return this.#restoring;
  }

  async #restoreInQuiet(): Promise<void> {
    await this.#calls.none();
    // Whoever made those calls takes their answers in.
    await new Promise(setImmediate);
    try {
      await this.#restore();
    } catch (cause) {
      if (!isLoopStateError(cause, 'LOOPSTATE_WENT_BACKWARDS') || cause === this.#metInRestoring) throw cause;
      this.#metInRestoring = cause;
      throw new UnavailableError('The store went backwards once more, while what it had lost was recorded again. Try again.', { cause });
    }
    this.#isDue = false;
  }
}

/** See the file's comment. Errors: what the backend raises; then it can be called again. */
export async function restore(link: StoreLink, membership: Membership, claims: ClaimBook): Promise<WentBackwardsEvent> {
  // What is known is taken down first: the view's news of older records would have it forgotten.
  const outcomes = [...(claims.outcomes?.records() ?? [])];
  try {
    await link.readFromTheStart();
  } finally {
    for (const [id, record] of outcomes) claims.outcomes?.add(id, record);
  }
  // Whoever only looks on has nothing to record, and may not be allowed to.
  const mustRegister = membership.isRegistered || outcomes.length > 0;
  membership.noticeLoss();
  claims.loseForgotten();
  if (mustRegister) await membership.register();
  let recordedAgain = 0;
  let withoutResult = 0;
  for (let done = 0; done < outcomes.length; ) {
    const { batch, end } = takeBatch(outcomes, done, link.view);
    const puts = batch.map(([id, value]): Replacement => ({ key: itemKey(id), value, revision: link.view.item(id)?.revision ?? 0 }));
    // If it is refused the view has learnt what stands instead: outcomes drop out, other records are replaced by their new revision.
    if (puts.length > 0 && !(await link.send({ puts }, link.nextBy(membership.runId))).ok) continue;
    done = end;
    recordedAgain += batch.length;
    withoutResult += batch.filter(([, { recordedAgain: how }]) => how === 'status').length;
  }
  return { type: 'went-backwards', recordedAgain, withoutResult };
}

/** Whether an outcome is not in its place. One of an earlier round has none any more: an operator wanted another. */
function isMissing(item: KnownItem | undefined, { round = 1 }: NextRecord): boolean {
  return item === undefined || (!isFinal(item.status) && (item.record?.round ?? 1) <= round);
}

/** As many missing outcomes as one commit takes, from the place `from` on, and the place where the next batch begins. */
function takeBatch(
  outcomes: readonly Outcome[],
  from: number,
  view: LoopView,
): { readonly batch: readonly Outcome[]; readonly end: number } {
  const batch: Outcome[] = [];
  let bytes = 0;
  let end = from;
  for (; end < outcomes.length && batch.length < BATCH_ITEMS; end++) {
    const [id, record] = outcomes[end] as Outcome;
    if (!isMissing(view.item(id), record)) continue;
    bytes += id.length * 3 + JSON.stringify(record).length * 3;
    if (batch.length > 0 && bytes > BATCH_BYTES) break;
    batch.push([id, record]);
  }
  return { batch, end };
}
