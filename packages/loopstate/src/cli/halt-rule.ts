/**
 * When a run is to be halted because too many items failed: `soon,fail=3`, `now,fail=10%`.
 */
import type { LoopEvent } from '@loopstate/core';
import { InvalidArgumentError } from 'commander';

/** How a run is halted: `soon` lets running commands finish, `now` stops them. */
export interface HaltRule {
  readonly how: 'soon' | 'now';
  readonly failures: number;
  /** Of a hundred items that have an outcome, where the bound is a share. */
  readonly isPercent: boolean;
}

/** A share says little of few items: it counts only from so many failures on, as in GNU parallel. */
const FAILURES_LEAST = 3;

/** Reads a rule, as an option's value. */
export function haltRule(text: string): HaltRule {
  const { how, count, percent } = /^(?<how>soon|now),fail=(?<count>\d+)(?<percent>%?)$/.exec(text)?.groups ?? {};
  const failures = Number(count);
  const isPercent = percent === '%';
  if ((how !== 'soon' && how !== 'now') || failures < 1 || !Number.isSafeInteger(failures) || (isPercent && failures > 100))
    throw new InvalidArgumentError('It must be soon,fail=N or now,fail=N, where N is a number from 1, or a share such as 10%.');
  return { how, failures, isPercent };
}

/** Counts the outcomes of a run against a rule. */
export class HaltWatch {
  readonly #rule: HaltRule;
  #failed = 0;
  #settled = 0;

  constructor(rule: HaltRule) {
    this.#rule = rule;
  }

  /** True if the run is to be halted now. */
  take({ type }: LoopEvent): boolean {
    if (type !== 'completed' && type !== 'failed') return false;
    this.#settled += 1;
    if (type === 'failed') this.#failed += 1;
    const { failures, isPercent } = this.#rule;
    if (!isPercent) return this.#failed >= failures;
    return this.#failed >= FAILURES_LEAST && (100 * this.#failed) / this.#settled >= failures;
  }
}
