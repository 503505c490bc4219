/**
 * What this run has done so far, and how fast it goes. Fed with events and a clock; knows nothing of terminals.
 *
 * **Invariants:** `settled` counts each item of the input once, when it has its outcome.
 */
import type { LoopEvent } from '@loopstate/core';
import { numberText } from './shown-values.js';

/** The rate is taken over this time, so that a pause long ago doesn't count. */
const WINDOW_MS = 15_000;

const FAILURES_KEPT = 5;

/** An item that failed. */
export interface Failure {
  readonly id: string;
  readonly reason: string;
}

/** See the file's comment. */
export class Tally {
  /** Items of the input that have an outcome, those that had it before included. */
  settled = 0;
  completed = 0;
  failed = 0;
  glitches = 0;
  /** The first few failures. */
  readonly failures: Failure[] = [];
  readonly #running = new Set<string>();
  readonly #total: number | undefined;
  readonly #now: () => number;
  /** When how many items had been worked off, at most one entry a second. */
  readonly #marks: { readonly atMs: number; readonly done: number }[] = [];

  constructor(total: number | undefined, now: () => number) {
    this.#total = total;
    this.#now = now;
    this.#marks.push({ atMs: now(), done: 0 });
  }

  get total(): number | undefined {
    return this.#total;
  }

  /** How many items are being worked on. */
  get running(): number {
    return this.#running.size;
  }

  take(event: LoopEvent): void {
    if (event.type === 'started') this.#running.add(event.id);
    // By its id: what is given back may never have been begun.
    else if ('id' in event) this.#running.delete(event.id);
    if (event.type === 'completed') this.completed += 1;
    if (event.type === 'glitch') this.glitches += 1;
    if (event.type === 'failed') {
      this.failed += 1;
      if (this.failures.length < FAILURES_KEPT) this.failures.push({ id: event.id, reason: event.reason });
    }
    if (event.type === 'completed' || event.type === 'failed' || event.type === 'skipped') this.settled += 1;
    this.#mark();
  }

  /** Items worked off a second, lately. */
  get perSecond(): number {
    const first = this.#marks[0];
    const elapsedMs = this.#now() - (first?.atMs ?? 0);
    return first === undefined || elapsedMs <= 0 ? 0 : ((this.completed + this.failed - first.done) * 1_000) / elapsedMs;
  }

  /** How long the rest will take at this rate; undefined while that can't be told. */
  get restMs(): number | undefined {
    const { perSecond } = this;
    return this.#total === undefined || perSecond === 0 ? undefined : (Math.max(0, this.#total - this.settled) * 1_000) / perSecond;
  }

  #mark(): void {
    const atMs = this.#now();
    if (atMs - (this.#marks.at(-1)?.atMs ?? 0) >= 1_000) this.#marks.push({ atMs, done: this.completed + this.failed });
    while (this.#marks.length > 1 && atMs - (this.#marks[0]?.atMs ?? 0) > WINDOW_MS) this.#marks.shift();
  }
}

/** A time for people: `4 s`, `3 min 20 s`, `2 h 5 min`. */
export function durationText(ms: number): string {
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${numberText(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}
