/**
 * The workers of a loop that have nothing to do, as leader and followers: the leader waits for a change, and the others for being called. If
 * thousands waited for changes, all of them would look for something to do whenever an item ends.
 *
 * **Invariants**, of which the workers keep their part:
 * - at most one leads: one that saw no change since before it looked for something to do. The next change wakes it;
 * - while some follow, another one leads, or looks for something to do and calls the next of them when it stops looking, whatever it found.
 */
import type { Environment } from './environment.js';

/** See the file's comment. */
export class IdleWorkers {
  readonly #environment: Environment;
  readonly #wakers = new Set<() => void>();
  readonly #followers: (() => void)[] = [];
  /** Until when the leader waits at the longest; `undefined`: nobody leads. */
  #leadsUntilMs: number | undefined;
  #changes = 0;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** How many changes there were. Whoever looks for something to do takes it down before, so as to miss none. */
  get changes(): number {
    return this.#changes;
  }

  get hasLeader(): boolean {
    return this.#leadsUntilMs !== undefined;
  }

  /** Something changed: who waits for that goes on. */
  wake(): void {
    this.#changes += 1;
    for (const wake of this.#wakers) wake();
  }

  /** Has one follower look for something to do: there may be more than the caller takes. */
  callNext(): void {
    this.#followers.pop()?.();
  }

  /** Waits for a change, or until `dueMs` on the monotonic clock; meanwhile there is a leader. */
  async lead(dueMs: number): Promise<void> {
    this.#leadsUntilMs = dueMs;
    await this.nextChange(dueMs - this.#environment.monotonicMs());
    this.#leadsUntilMs = undefined;
  }

  /** Waits to be called. If the caller put something by that is due sooner than the leader knows, that one looks again. */
  follow(dueMs: number): Promise<void> {
    if (this.#leadsUntilMs !== undefined && dueMs < this.#leadsUntilMs) this.wake();
    return new Promise((resolve) => this.#followers.push(resolve));
  }

  /** Resolves when something changed, at the latest after `ms`. */
  nextChange(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = Number.isFinite(ms) ? this.#environment.after(Math.max(0, ms), wake, { keepAlive: true }) : undefined;
      const wakers = this.#wakers;
      wakers.add(wake);
      function wake(): void {
        cancel?.();
        wakers.delete(wake);
        resolve();
      }
    });
  }

  /** Resolves once `isOver`, which is asked now and at each change. */
  async until(isOver: () => boolean): Promise<void> {
    while (!isOver()) await this.nextChange(Number.POSITIVE_INFINITY);
  }
}
