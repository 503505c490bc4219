/**
 * Follows a loop: everything at first, from then on only what changed.
 *
 * **Invariants:**
 * - `overview` holds all changes up to `#cursor`, and perhaps some after it;
 * - while everything is read anew, `overview` stays what it was.
 */
import { isLoopStateError, type LoopReader } from '@loopstate/core';
import { LoopOverview, type OverviewClocks } from './loop-overview.js';

/** See the file's comment. */
export class LoopFollower {
  readonly #reader: LoopReader;
  readonly #clocks: OverviewClocks;
  #cursor = 0;
  overview: LoopOverview;
  /** Why the last reading failed, while it may succeed later. */
  trouble: string | undefined;

  constructor(reader: LoopReader, clocks: OverviewClocks) {
    this.#reader = reader;
    this.#clocks = clocks;
    this.overview = new LoopOverview(clocks);
  }

  /** Takes in what changed. Errors: what the backend raises, unless the same reading may succeed later: then it is the `trouble`. */
  async read(): Promise<void> {
    try {
      await this.#readOrStartAnew();
      this.trouble = undefined;
    } catch (error) {
      if (!isLoopStateError(error) || !error.retryable) throw error;
      this.trouble = error.message;
    }
  }

  async #readOrStartAnew(): Promise<void> {
    try {
      await this.#readAfter(this.#cursor);
    } catch (error) {
      const isOutdated = isLoopStateError(error, 'LOOPSTATE_HISTORY_GONE') || isLoopStateError(error, 'LOOPSTATE_WENT_BACKWARDS');
      if (!isOutdated) throw error;
      await this.#readAfter(0);
    }
  }

  async #readAfter(since: number): Promise<void> {
    const overview = since === 0 ? new LoopOverview(this.#clocks) : this.overview;
    let last = since;
    for await (const change of this.#reader.changes(since)) {
      overview.take(change);
      last = change.revision;
    }
    this.#cursor = last;
    this.overview = overview;
  }
}
