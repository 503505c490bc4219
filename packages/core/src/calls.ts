/** Counts the calls that have begun and not ended, for whoever has to wait until none is under way. */
export class Calls {
  #underWay = 0;
  #onNone: (() => void)[] = [];

  begin(): void {
    this.#underWay += 1;
  }

  end(): void {
    this.#underWay -= 1;
    if (this.#underWay > 0) return;
    for (const tell of this.#onNone.splice(0)) tell();
  }

  /** Makes a call, and counts it until it is answered. Errors: its own. */
  async make<T>(call: () => Promise<T>): Promise<T> {
    this.begin();
    try {
      return await call();
    } finally {
      this.end();
    }
  }

  /** Resolves once none is under way. */
  none(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#underWay === 0) resolve();
      else this.#onNone.push(resolve);
    });
  }
}
