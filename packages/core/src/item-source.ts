import { LoopStateError } from './errors.js';
import { KeyTable } from './key-table.js';
import { checkId } from './loop-records.js';

/** An item of a loop: its id, or an object that has one. */
export type LoopItem = string | { readonly id: string };

/** Items one after another, or as they come. */
export type Items<I extends LoopItem> = Iterable<I> | AsyncIterable<I>;

/** An item with its id. */
export interface Candidate<I> {
  readonly id: string;
  readonly item: I;
}

/** So many items are pulled in one turn of the event loop: where all are done, timers and signals must not wait for a million. */
const PULLED_PER_TURN = 1_000;

/**
 * Pulls items when they are wanted, one at a time, each id once, and passes over those that need no turn.
 *
 * **Invariants:** at most one `next` of the input is under way; after the input ended or failed, or was closed, it is not asked again, and
 * what it still answers is nobody's concern.
 */
export class ItemSource<I extends LoopItem> {
  readonly #iterator: Iterator<I> | AsyncIterator<I>;
  readonly #needsNoTurn: (candidate: Candidate<I>) => boolean;
  readonly #seen = new KeyTable();
  #pulling: Promise<unknown> = Promise.resolve();
  #position = 0;
  /** How many items had an id that had come before. */
  duplicates = 0;
  /** The input has ended. */
  isDone = false;
  /** The next item is always there at once. */
  readonly isSynchronous: boolean;

  constructor(items: Items<I>, needsNoTurn: (candidate: Candidate<I>) => boolean) {
    if (items === null || typeof items !== 'object' || !(Symbol.asyncIterator in items || Symbol.iterator in items)) {
      throw new LoopStateError(
        'LOOPSTATE_BAD_OPTION',
        'items must be an iterable or an async iterable of ids or of objects with an id. Nothing was written.',
      );
    }
    this.#needsNoTurn = needsNoTurn;
    this.isSynchronous = !(Symbol.asyncIterator in items);
    this.#iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  }

  /** The next item whose id is new; `undefined` once the input has ended. Errors: `LOOPSTATE_BAD_ID`, and what the input throws. */
  next(): Promise<Candidate<I> | undefined> {
    const next = this.#pulling.then(() => this.#pull());
    // The next caller pulls after this one, whatever became of it.
    this.#pulling = next.catch(() => undefined);
    return next;
  }

  /** Tells the input that no more is wanted. It is not waited for: a generator that waits for its own input would never answer. */
  close(): void {
    if (this.isDone) return;
    this.isDone = true;
    void Promise.resolve()
      .then(() => this.#iterator.return?.())
      .catch(() => undefined);
  }

  async #pull(): Promise<Candidate<I> | undefined> {
    while (!this.isDone) {
      let step: IteratorResult<I>;
      try {
        const next = this.#iterator.next();
        // What is there at once is not waited for: that would take longer than it.
        step = this.isSynchronous ? (next as IteratorResult<I>) : await next;
      } catch (error) {
        // An input that ends by the same signal as the loop may say so by an error.
        if (this.isDone) break;
        this.isDone = true;
        throw error;
      }
      if (this.isDone || step.done === true) {
        this.isDone = true;
        break;
      }
      this.#position += 1;
      const candidate = { id: this.#idOf(step.value), item: step.value };
      if (this.#position % PULLED_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      if (!this.#isNew(candidate.id)) this.duplicates += 1;
      else if (!this.#needsNoTurn(candidate)) return candidate;
    }
    return undefined;
  }

  #isNew(id: string): boolean {
    const { size } = this.#seen;
    this.#seen.place(id);
    return this.#seen.size > size;
  }

  #idOf(item: unknown): string {
    const id: unknown = typeof item === 'object' && item !== null && 'id' in item ? item.id : item;
    try {
      return checkId(id);
    } catch (error) {
      this.close();
      throw error instanceof LoopStateError
        ? new LoopStateError(error.code, `Item ${this.#position} of the input: ${error.message}`, { cause: error })
        : error;
    }
  }
}
