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

/** What an {@link ItemSource} needs of its loop. */
export interface ItemSourceOptions<I> {
  /** Says, and takes note, that an item of the input needs no turn. */
  readonly needsNoTurn: (candidate: Candidate<I>) => boolean;
  /** Called when an input that is there at once can be pulled from again. */
  readonly onRested: () => void;
}

/**
 * Pulls items when they are wanted, one at a time, each id once, and passes over those that need no turn.
 *
 * **Invariants:** at most one `next` of the input is under way; after the input ended or failed, or was closed, it is not asked again, and
 * what it still answers is nobody's concern.
 */
export class ItemSource<I extends LoopItem> {
  readonly #iterator: Iterator<I> | AsyncIterator<I>;
  readonly #options: ItemSourceOptions<I>;
  readonly #seen = new KeyTable();
  #position = 0;
  #isResting = false;
  /** How many items had an id that had come before. */
  duplicates = 0;
  /** The input has ended. */
  isDone = false;
  /** The next item is always there at once: {@link pullNow}, else {@link pull}. */
  readonly isSynchronous: boolean;

  constructor(items: Items<I>, options: ItemSourceOptions<I>) {
    if (items === null || typeof items !== 'object' || !(Symbol.asyncIterator in items || Symbol.iterator in items)) {
      throw new LoopStateError(
        'LOOPSTATE_BAD_OPTION',
        'items must be an iterable or an async iterable of ids or of objects with an id. Nothing was written.',
      );
    }
    this.#options = options;
    this.isSynchronous = !(Symbol.asyncIterator in items);
    this.#iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  }

  /**
   * The next item whose id is new; `undefined` once the input has ended, or while it rests until the next turn of the event loop. Errors:
   * `LOOPSTATE_BAD_ID`, and what the input throws.
   */
  pullNow(): Candidate<I> | undefined {
    while (!this.isDone && !this.#isResting) {
      const candidate = this.#accept(this.#asked(() => this.#iterator.next() as IteratorResult<I>));
      if (this.#isTurnOver) this.#rest();
      if (candidate !== undefined) return candidate;
    }
    return undefined;
  }

  /** The next item whose id is new; `undefined` once the input has ended. One call at a time. Errors: as {@link pullNow}. */
  async pull(): Promise<Candidate<I> | undefined> {
    while (!this.isDone) {
      const next = this.#asked(() => this.#iterator.next());
      const candidate = this.#accept(await Promise.resolve(next).catch((error: unknown) => this.#fail(error)));
      if (this.#isTurnOver) await new Promise((resolve) => setImmediate(resolve));
      if (candidate !== undefined) return candidate;
    }
    return undefined;
  }

  /** Tells the input that no more is wanted. It is not waited for: a generator that waits for its own input would never answer. */
  close(): void {
    if (this.isDone) return;
    this.isDone = true;
    void Promise.resolve()
      .then(() => this.#iterator.return?.())
      .catch(() => undefined);
  }

  get #isTurnOver(): boolean {
    return !this.isDone && this.#position % PULLED_PER_TURN === 0;
  }

  #rest(): void {
    this.#isResting = true;
    setImmediate(() => {
      this.#isResting = false;
      this.#options.onRested();
    });
  }

  #asked<T>(next: () => T): T | undefined {
    try {
      return next();
    } catch (error) {
      return this.#fail(error);
    }
  }

  /** An input that ends by the same signal as the loop may say so by an error. */
  #fail(error: unknown): undefined {
    if (this.isDone) return undefined;
    this.isDone = true;
    throw error;
  }

  /** The item of a step; `undefined`: it needs no turn, or there is none. */
  #accept(step: IteratorResult<I> | undefined): Candidate<I> | undefined {
    if (this.isDone || step === undefined || step.done === true) {
      this.isDone = true;
      return undefined;
    }
    this.#position += 1;
    const candidate = { id: this.#idOf(step.value), item: step.value };
    if (this.#isNew(candidate.id)) return this.#options.needsNoTurn(candidate) ? undefined : candidate;
    this.duplicates += 1;
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
