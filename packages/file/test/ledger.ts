/**
 * What a run tried and what was acknowledged to it, and the judgement of a store against that: every acknowledged commit is
 * there under the revision that was given, nothing is there that was never tried, and no commit is there in part.
 */
import type { Commit, CommitResult, Json, StateBackend } from '@loopstate/core';

interface Attempt {
  readonly place: number;
  /** What each key became: a value as JSON; `undefined`: deleted. */
  readonly writes: ReadonlyMap<string, string | undefined>;
  /** When it was acknowledged, by the caller's count; `undefined` if it was not, or not yet. */
  ackedAt?: number;
  revision?: number;
}

interface Present {
  readonly text: string;
  readonly revision: number;
}

/** A history of commits, each marked by a value that no other commit writes. */
export class Ledger {
  readonly #attempts: Attempt[] = [];
  readonly #byKey = new Map<string, Attempt[]>();
  /** Resolved with less than a sync: promised only once a later synced commit is. */
  #written: (() => void)[] = [];
  #marks = 0;

  /** A value that tells which commit wrote it. */
  mark(): Json {
    return { mark: ++this.#marks };
  }

  /** How many commits were acknowledged. */
  get acknowledged(): number {
    return this.#attempts.filter(({ ackedAt }) => ackedAt !== undefined).length;
  }

  /** Commits and keeps the books; `clock` gives the moment of acknowledgement. */
  async commit(backend: StateBackend, commit: Commit, clock: () => number): Promise<CommitResult> {
    const attempt = this.#note(commit);
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
    return Math.max(0, ...this.#attempts.map((attempt) => (wasAcked(attempt, until) ? (attempt.revision ?? 0) : 0)));
  }

  /**
   * What is wrong with a store that was recovered after the moment `until`; empty if nothing is. Commits are taken to be made
   * in the order of their attempts, as the attempts of one caller, or of one group, are.
   */
  async judge(backend: StateBackend, until = Number.POSITIVE_INFINITY): Promise<string[]> {
    const present = new Map<string, Present>();
    for await (const { key, record } of backend.changes(0))
      present.set(key, { text: JSON.stringify(record?.value), revision: record?.revision ?? 0 });
    const wrong: string[] = [];
    for (const key of present.keys()) if (!this.#byKey.has(key)) wrong.push(`${key}: never put`);
    const shown = new Set<Attempt>();
    const places = new Map<string, number>();
    for (const [key, history] of this.#byKey) {
      const found = present.get(key);
      const source = history.findLast(({ writes }) => writes.get(key) === found?.text);
      const acked = history.findLast((attempt) => wasAcked(attempt, until));
      places.set(key, source?.place ?? -1);
      if ((source === undefined && found !== undefined) || (source?.place ?? -1) < (acked?.place ?? -1)) {
        wrong.push(`${key}: ${found?.text ?? 'absent'}, though ${acked?.writes.get(key) ?? 'its absence'} was acknowledged`);
      } else if (source !== undefined && found !== undefined) {
        shown.add(source);
        if (source.revision !== undefined && source.revision !== found.revision)
          wrong.push(`${key}: revision ${found.revision}, not ${source.revision}`);
      }
    }
    for (const { place, writes } of shown) {
      for (const key of writes.keys()) if ((places.get(key) ?? -1) < place) wrong.push(`in part: ${JSON.stringify([...writes])}`);
    }
    return wrong;
  }

  #note({ puts = [], deletes = [] }: Commit): Attempt {
    const written = puts.map(({ key, value }): [string, string | undefined] => [key, JSON.stringify(value)]);
    const deleted = deletes.map((key): [string, undefined] => [key, undefined]);
    const attempt = { place: this.#attempts.length, writes: new Map([...written, ...deleted]) };
    this.#attempts.push(attempt);
    for (const key of attempt.writes.keys()) this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), attempt]);
    return attempt;
  }
}

function wasAcked({ ackedAt }: Attempt, until: number): boolean {
  return ackedAt !== undefined && ackedAt <= until;
}
