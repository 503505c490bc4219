import type { StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import type { ProgramEnd } from './child.js';
import { expectExact } from './expectations.js';
import { EMPTY_VIEW, followChanges, type View } from './follow-changes.js';
import { mustCommit } from './law-test.js';
import { judgeSurvivors, numberedCommit } from './numbered-commits.js';

/**
 * What is known of one store over all its lives.
 *
 * **Invariants:**
 * - `#owed` grows only: what was acknowledged, or found after a crash, is owed by every later life.
 * - No number is tried twice.
 */
export class CrashHistory {
  /** Lives that had commits acknowledged before they ended. */
  crashes = 0;
  readonly #tried = new Set<number>();
  readonly #owed = new Map<number, number>();
  #lastNumber = 0;
  #lastRevision = 0;
  /** What a reader holds who has followed the store through all crashes. */
  #followed: View = EMPTY_VIEW;

  get nextNumber(): number {
    return this.#lastNumber + 1;
  }

  /** The commits that were acknowledged, or found after a crash: all of them are there. */
  get commits(): number {
    return this.#owed.size;
  }

  /** Takes down what a process said before it ended. */
  note({ lines }: Pick<ProgramEnd, 'lines'>): void {
    const revisionBefore = this.#lastRevision;
    const owedBefore = this.#owed.size;
    for (const line of lines) {
      const [word = '', ...numbers] = line.split(' ');
      const [number = 0, revision = 0] = numbers.map(Number);
      if (word === 'loss') expect.fail(`opening reported a loss to the process: ${line}`);
      if (word === 'tried') this.#try(number);
      if (word !== 'acknowledged') continue;
      expect(revision, 'a revision, after all those of earlier lives').to.be.greaterThan(revisionBefore);
      this.#owe(number, revision);
    }
    if (this.#owed.size > owedBefore) this.crashes++;
  }

  /** Holds what a reopened store says against what is known, and lets it go on. */
  async judge(store: StateBackend): Promise<void> {
    expectExact(
      store.recovery.filter(({ severity }) => severity === 'loss'),
      [],
      'losses that opening reports',
    );
    const view = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    const { standing, violations } = judgeSurvivors(view.records, { tried: this.#tried, owed: this.#owed });
    expectExact(violations.slice(0, 10), [], `the violations in ${view.records.size} records`);
    this.#followed = await followChanges(store, this.#followed, { mayForget: true });
    expectExact(this.#followed.records, view.records, 'changes/no-gap: what one holds who followed from before the crash');
    for (const [number, revision] of standing) this.#owe(number, revision);
    const number = this.nextNumber;
    const revision = await mustCommit(store, numberedCommit(number));
    expect(revision, 'the first revision after a crash').to.be.greaterThan(Math.max(this.#lastRevision, view.cursor));
    this.#try(number);
    this.#owe(number, revision);
  }

  #try(number: number): void {
    this.#tried.add(number);
    this.#lastNumber = Math.max(this.#lastNumber, number);
  }

  #owe(number: number, revision: number): void {
    this.#owed.set(number, revision);
    this.#lastRevision = Math.max(this.#lastRevision, revision);
  }
}
