/**
 * Counts the calls that have begun and not ended, for whoever has to wait until none is under way.
 *
 * They are on the way of every commit, so each has one promise here and no more: an asynchronous function takes several times the memory.
 */
export class Calls {
  #underWay = 0;
  #onNone: (() => void)[] = [];

  /** Makes a call, and counts it until it is answered. Errors: its own, as a rejection. */
  make<T>(call: () => Promise<T>): Promise<T> {
    this.#underWay += 1;
    let answer: Promise<T>;
    try {
      answer = call();
    } catch (error) {
      answer = Promise.reject(error);
    }
    return answer.then(this.#answered as (value: T) => T, this.#failed);
  }

  /** Resolves once none is under way. */
  none(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#underWay === 0) resolve();
      else this.#onNone.push(resolve);
    });
  }

  readonly #answered = (value: unknown): unknown => {
    this.#end();
    return value;
  };

  readonly #failed = (error: unknown): never => {
    this.#end();
    throw error;
  };

  #end(): void {
    this.#underWay -= 1;
    if (this.#underWay > 0) return;
    for (const tell of this.#onNone.splice(0)) tell();
  }
}
