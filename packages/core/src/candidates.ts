/**
 * The items of a loop that have not begun: those that were pulled ahead, those that wait, and the input behind them.
 *
 * **Invariants:**
 * - an item is in one place: in the input, pulled ahead, or waiting;
 * - at most `AHEAD_SHARED` items are pulled ahead, and none while `WAITING_MAX` wait, or `HELD_MAX` for other runs.
 */
import { type Candidate, ItemSource, type Items, type LoopItem } from './item-source.js';

/** How many items may wait before no more are pulled from the input. */
const WAITING_MAX = 1_000;

/** The same for those that other runs hold: so many may be held by one. What is free behind them need not wait until they end. */
const HELD_MAX = 10_000;

/**
 * How many items are pulled ahead where other runs share the loop. Each takes one of them by chance: with 16 runs that would all
 * take the first one, 15 of 16 claims would be refused.
 */
const AHEAD_SHARED = 512;

/** Why an item waits: for its time, for the run that holds it, or until nothing else runs. */
export type WaitingFor = 'time' | 'holder' | 'being-alone';

interface Waiting<I> extends Candidate<I> {
  readonly for: WaitingFor;
  readonly dueMs: number;
}

/** An item whose turn it is. */
export interface Taken<I> extends Candidate<I> {
  /** Why it waited before, if it did. */
  readonly for?: WaitingFor;
}

/** What a {@link Candidates} needs of its loop. */
export interface CandidatesOptions<I extends LoopItem> {
  /** Ms of a clock that never jumps. */
  readonly nowMs: () => number;
  readonly random: () => number;
  /** Says, and takes note, that an item of the input needs no turn. */
  readonly needsNoTurn: (candidate: Candidate<I>) => boolean;
  /** Called when an item may have become available. */
  readonly onChange: () => void;
  /** Called when the input failed. */
  readonly onFailure: (error: unknown) => void;
}

/** How an item is to be chosen. */
export interface Choice {
  /** Nothing runs here: an item that must run alone may be taken. */
  readonly isIdle: boolean;
  /** Other runs take from the same items. */
  readonly isShared: boolean;
}

/** See the file's comment. */
export class Candidates<I extends LoopItem> {
  readonly #source: ItemSource<I>;
  readonly #options: CandidatesOptions<I>;
  readonly #waiting = new Map<string, Waiting<I>>();
  /** Those that wait for the run that holds them, in the order in which they are due: each waits for as long. */
  readonly #held = new Map<string, Waiting<I>>();
  readonly #ahead: Candidate<I>[] = [];
  #waitingAlone = 0;
  #isPulling = false;

  constructor(items: Items<I>, options: CandidatesOptions<I>) {
    this.#source = new ItemSource(items, { needsNoTurn: options.needsNoTurn, onRested: options.onChange });
    this.#options = options;
  }

  /** How many items of the input had an id that had come before. */
  get duplicates(): number {
    return this.#source.duplicates;
  }

  /** Nothing is left, as far as the input goes. */
  get isExhausted(): boolean {
    return this.#source.isDone && this.#ahead.length === 0 && this.#waiting.size + this.#held.size === 0;
  }

  /** How many items are left if all of them are held by other runs, or so many that no others are looked for; 0 if there are others. */
  get onlyHeld(): number {
    const hasOthers = this.#held.size < HELD_MAX && (!this.#source.isDone || this.#ahead.length > 0);
    return hasOthers || this.#waiting.size > 0 ? 0 : this.#held.size;
  }

  /** When the next waiting item is due; infinite if none waits for a time. */
  get dueMs(): number {
    let dueMs = firstOf(this.#held)?.dueMs ?? Number.POSITIVE_INFINITY;
    for (const waiting of this.#waiting.values()) if (waiting.for !== 'being-alone') dueMs = Math.min(dueMs, waiting.dueMs);
    return dueMs;
  }

  /** The next item; `undefined`: none can be taken now. Errors: what the input throws, and `LOOPSTATE_BAD_ID`. */
  take(choice: Choice): Taken<I> | undefined {
    const due = this.#takeDue(choice);
    if (due !== undefined) return due;
    // While one must run alone nothing else begins, so that its turn comes.
    if (this.#waitingAlone > 0 || this.#waiting.size >= WAITING_MAX || this.#held.size >= HELD_MAX) return undefined;
    const wanted = choice.isShared ? AHEAD_SHARED : 1;
    if (this.#source.isSynchronous) this.#pullAhead(wanted);
    else this.#pullBeside(wanted);
    return choice.isShared ? this.#takeByChance() : this.#ahead.shift();
  }

  /** Puts an item by until `dueMs`, or until nothing else runs. */
  putBack({ id, item }: Candidate<I>, waitingFor: WaitingFor, dueMs = 0): void {
    const waiting = waitingFor === 'holder' ? this.#held : this.#waiting;
    waiting.set(id, { id, item, for: waitingFor, dueMs });
    if (waitingFor === 'being-alone') this.#waitingAlone += 1;
  }

  /**
   * Takes out of what was pulled ahead what `isSettled` says needs no turn any more. Without it most of what is ahead would be done: each
   * run takes one of it in the time in which all runs together do as many as there are runs.
   */
  prune(isSettled: (candidate: Candidate<I>) => boolean): void {
    let kept = 0;
    for (const candidate of this.#ahead) if (!isSettled(candidate)) this.#ahead[kept++] = candidate;
    this.#ahead.length = kept;
  }

  /** Pulls nothing more. */
  close(): void {
    this.#source.close();
  }

  #takeDue({ isIdle }: Choice): Taken<I> | undefined {
    const held = firstOf(this.#held);
    if (this.#waiting.size === 0 && held === undefined) return undefined;
    const nowMs = this.#options.nowMs();
    for (const waiting of this.#waiting.values()) {
      const isDue = waiting.for === 'being-alone' ? isIdle : waiting.dueMs <= nowMs;
      if (!isDue) continue;
      this.#waiting.delete(waiting.id);
      if (waiting.for === 'being-alone') this.#waitingAlone -= 1;
      return waiting;
    }
    if (held === undefined || held.dueMs > nowMs) return undefined;
    this.#held.delete(held.id);
    return held;
  }

  #takeByChance(): Candidate<I> | undefined {
    const last = this.#ahead.pop();
    const place = Math.floor(this.#options.random() * (this.#ahead.length + 1));
    const chosen = this.#ahead[place];
    if (last === undefined || chosen === undefined) return last;
    this.#ahead[place] = last;
    return chosen;
  }

  #pullAhead(wanted: number): void {
    while (this.#ahead.length < wanted) {
      const candidate = this.#source.pullNow();
      if (candidate === undefined) return;
      this.#ahead.push(candidate);
    }
  }

  /** An input that may let us wait is pulled beside: meanwhile other items may become due, or the loop may be stopped. */
  #pullBeside(wanted: number): void {
    if (this.#isPulling || this.#source.isDone || this.#ahead.length >= wanted) return;
    this.#isPulling = true;
    const pulled = this.#source.pull().then((candidate) => {
      if (candidate !== undefined) this.#ahead.push(candidate);
    }, this.#options.onFailure);
    void pulled.finally(() => {
      this.#isPulling = false;
      this.#options.onChange();
      this.#pullBeside(wanted);
    });
  }
}

function firstOf<T>(map: ReadonlyMap<string, T>): T | undefined {
  const [first] = map.values();
  return first;
}
