import { LoopStateError } from './errors.js';
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

/**
 * Pulls items when they are wanted, one at a time, each id once.
 *
 * **Invariants:** at most one `next` of the input is under way; after the input ended or failed it is not asked again.
 */
export class ItemSource<I extends LoopItem> {
  readonly #iterator: Iterator<I> | AsyncIterator<I>;
  readonly #seen = new Set<string>();
  #pulling: Promise<unknown> = Promise.resolve();
  #position = 0;
  /** How many items had an id that had come before. */
  duplicates = 0;
  /** The input has ended. */
  isDone = false;
  /** The next item is always there at once. */
  readonly isSynchronous: boolean;

  constructor(items: Items<I>) {
    if (items === null || typeof items !== 'object' || !(Symbol.asyncIterator in items || Symbol.iterator in items)) {
      throw new LoopStateError(
        'LOOPSTATE_BAD_OPTION',
        'items must be an iterable or an async iterable of ids or of objects with an id. Nothing was written.',
      );
    }
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
      const step = await this.#step();
      if (step.done === true) {
        this.isDone = true;
        break;
      }
      this.#position += 1;
      const id = this.#idOf(step.value);
      if (this.#seen.has(id)) {
        this.duplicates += 1;
        continue;
      }
      this.#seen.add(id);
      return { id, item: step.value };
    }
    return undefined;
  }

  async #step(): Promise<IteratorResult<I>> {
    try {
      return await this.#iterator.next();
    } catch (error) {
      this.isDone = true;
      throw error;
    }
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
