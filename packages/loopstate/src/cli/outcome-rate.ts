/**
 * How many outcomes there were lately, by the times in their records.
 *
 * **Invariants:** `#seconds` holds counts of the last hour, and a little more; never more than two hours of them.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const SECONDS_KEPT = 7_200;

/** See the file's comment. */
export class OutcomeRate {
  readonly #now: () => number;
  readonly #seconds = new Map<number, number>();

  /** `now`: ms since the epoch. Clocks of other hosts may differ: it is for display only. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes an outcome that was recorded at a time in ms since the epoch. One that is still to come was recorded now. */
  add(at: number): void {
    const nowMs = this.#now();
    if (!(at > nowMs - HOUR_MS)) return;
    const second = Math.floor(Math.min(at, nowMs) / 1_000);
    this.#seconds.set(second, (this.#seconds.get(second) ?? 0) + 1);
    if (this.#seconds.size <= SECONDS_KEPT) return;
    for (const old of this.#seconds.keys()) if (old * 1_000 < nowMs - HOUR_MS) this.#seconds.delete(old);
  }

  get lastMinute(): number {
    return this.#countSince(this.#now() - MINUTE_MS);
  }

  get lastHour(): number {
    return this.#countSince(this.#now() - HOUR_MS);
  }

  /** Over the last minute, or since the first outcome of the hour where that is less long ago. */
  get perSecond(): number {
    const nowMs = this.#now();
    let first = nowMs;
    for (const second of this.#seconds.keys()) if (second * 1_000 > nowMs - HOUR_MS) first = Math.min(first, second * 1_000);
    return (this.lastMinute * 1_000) / Math.min(MINUTE_MS, Math.max(1_000, nowMs - first));
  }

  #countSince(ms: number): number {
    let count = 0;
    for (const [second, outcomes] of this.#seconds) if (second * 1_000 > ms) count += outcomes;
    return count;
  }
}
