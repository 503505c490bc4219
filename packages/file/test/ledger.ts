/**
 * What a run tried and what was acknowledged to it, and the judgement of a store against that: every acknowledged commit is
 * there, nothing is there that was never tried, and no commit is there in part.
 */
import type { Commit, CommitResult, Json, StateBackend } from '@loopstate/core';

interface Attempt {
  readonly puts: ReadonlyMap<string, Json>;
  readonly deletes: readonly string[];
  /** When it was acknowledged, by the caller's count; `undefined` if it was not, or not yet. */
  ackedAt?: number;
  revision?: number;
}

/** A history of commits, each marked by a value that no other commit writes. */
export class Ledger {
  readonly #attempts: Attempt[] = [];
  /** Resolved with less than a sync: promised only once a later synced commit is. */
  #written: (() => void)[] = [];
  #marks = 0;

  /** A value that tells which commit wrote it. */
  mark(): Json {
    return { mark: ++this.#marks };
  }

  /** Commits and keeps the books; `clock` gives the moment of acknowledgement. */
  async commit(backend: StateBackend, commit: Commit, clock: () => number): Promise<CommitResult> {
    const attempt: Attempt = { puts: new Map(commit.puts?.map(({ key, value }) => [key, value])), deletes: commit.deletes ?? [] };
    this.#attempts.push(attempt);
    const result = await backend.commit(commit);
    if (!result.ok) return result;
    const acknowledge = () => void Object.assign(attempt, { ackedAt: clock(), revision: result.revision });
    if (commit.durability === 'written') this.#written.push(acknowledge);
    else {
      for (const earlier of [...this.#written.splice(0), acknowledge]) earlier();
    }
    return result;
  }

  /** The largest revision that was given to a caller up to the moment `until`. */
  highestRevision(until = Number.POSITIVE_INFINITY): number {
    return Math.max(0, ...this.#attempts.map(({ ackedAt, revision }) => (ackedAt !== undefined && ackedAt <= until ? (revision ?? 0) : 0)));
  }

  /**
   * What is wrong with a store that was recovered after the moment `until`; empty if nothing is. Commits are taken to be made
   * in the order of their attempts, as the attempts of one caller, or of one group, are.
   */
  async judge(backend: StateBackend, until = Number.POSITIVE_INFINITY): Promise<string[]> {
    const present = new Map<string, string>();
    for await (const { key, record } of backend.changes(0)) present.set(key, JSON.stringify(record?.value));
    const wrong: string[] = [];
    for (const key of new Set([...present.keys(), ...this.#attempts.flatMap(({ puts, deletes }) => [...puts.keys(), ...deletes])])) {
      const acceptable = this.#acceptable(key, until);
      const found = present.get(key);
      if (!acceptable.includes(found))
        wrong.push(`${key}: ${found ?? 'absent'}, not one of ${acceptable.map((text) => text ?? 'absent').join(' ')}`);
    }
    for (const attempt of this.#attempts)
      if (this.#isPartial(attempt, present)) wrong.push(`in part: ${JSON.stringify([...attempt.puts])}`);
    return wrong;
  }

  /** What may stand under a key: what the last acknowledged commit left, or anything tried after that. */
  #acceptable(key: string, until: number): (string | undefined)[] {
    let acceptable: (string | undefined)[] = [undefined];
    for (const { puts, deletes, ackedAt } of this.#attempts) {
      if (!puts.has(key) && !deletes.includes(key)) continue;
      const left = puts.has(key) ? JSON.stringify(puts.get(key)) : undefined;
      if (ackedAt !== undefined && ackedAt <= until) acceptable = [left];
      else acceptable.push(left);
    }
    return acceptable;
  }

  /** Some of its puts stand, and another has a value from before. */
  #isPartial(attempt: Attempt, present: ReadonlyMap<string, string>): boolean {
    const stands = [...attempt.puts].filter(([key, value]) => present.get(key) === JSON.stringify(value));
    if (stands.length === 0 || stands.length === attempt.puts.size) return false;
    const after = this.#attempts.slice(this.#attempts.indexOf(attempt) + 1);
    return [...attempt.puts].some(([key, value]) => {
      const found = present.get(key);
      if (found === JSON.stringify(value)) return false;
      return !after.some(({ puts, deletes }) => (found === undefined ? deletes.includes(key) : JSON.stringify(puts.get(key)) === found));
    });
  }
}
