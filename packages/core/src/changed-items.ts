/**
 * Notices items that have an outcome and are no longer what they were then.
 */
import { LoopStateError } from './errors.js';
import type { Candidate, LoopItem } from './item-source.js';
import { isFinal } from './loop-records.js';
import type { LoopState } from './loop-state.js';
import { checkDigest } from './options.js';
import type { RunLoopSettings } from './run-loop.js';

/** What is to become of an item that is done. */
export type DoneVerdict = 'skip' | 'changed' | 'run-again';

/** See the file's comment. */
export class ChangedItems<I extends LoopItem> {
  readonly #state: LoopState;
  readonly #digestOf: RunLoopSettings<I>['digest'];
  readonly #onChange: RunLoopSettings<I>['onChange'];

  constructor({ state, digest, onChange }: Pick<RunLoopSettings<I>, 'state' | 'digest' | 'onChange'>) {
    this.#state = state;
    this.#digestOf = digest;
    this.#onChange = onChange;
  }

  /** The digest to claim an item with. Errors: `LOOPSTATE_BAD_OPTION`, and what the user's function throws. */
  async digestOf({ item }: Candidate<I>): Promise<string | undefined> {
    return this.#digestOf === undefined ? undefined : checkDigest(await this.#digestOf(item));
  }

  /**
   * Judges an item that has an outcome; one that is to run again is outstanding then, as far as the view knows. Errors:
   * `LOOPSTATE_ITEM_CHANGED`; those of `digestOf`; what the backend raises.
   */
  async judge(candidate: Candidate<I>): Promise<DoneVerdict> {
    const digest = await this.digestOf(candidate);
    const { id } = candidate;
    const item = await this.#state.read(id);
    if (item === undefined || !isFinal(item.status)) return await this.#putBackMeanwhile();
    if (item.digest === undefined || item.digest === digest) return 'skip';
    if (this.#onChange === 'warn') return 'changed';
    if (this.#onChange === 'rerun') return (await this.#state.retry([id])) > 0 ? 'run-again' : await this.#putBackMeanwhile();
    throw new LoopStateError(
      'LOOPSTATE_ITEM_CHANGED',
      `The item ${JSON.stringify(id)} has an outcome, and it or the work on it has changed since. Run it again (rerun), or go on as it is (warn).`,
    );
  }

  /** An operator, or another run that found it changed, put it back: the view has to know, or the item would be taken for done. */
  async #putBackMeanwhile(): Promise<DoneVerdict> {
    await this.#state.refresh();
    return 'run-again';
  }
}
