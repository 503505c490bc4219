/** All that was committed to a store, by revision: what stood under a key at any moment. A moment is a revision, and lasts until the next. */
import { isDeepStrictEqual } from 'node:util';
import type { Commit, Json, StateRecord } from '@loopstate/core';

/** A commit that took place, by its own answer or by what others saw, or of which that is supposed. */
export interface Applied {
  readonly commit: Commit;
  readonly revision: number;
  readonly startMs: number;
  /** When it had taken place at the latest; infinite, where its reply was lost. */
  readonly endMs: number;
}

/** A key as it stood from `revision` on; no value: it was absent, and a check of 0 held. */
interface Version {
  readonly revision: number;
  readonly value?: Json;
}

const ABSENT: Version = { revision: 0 };

/** See the file's comment. */
export class Timeline {
  /** By revision. */
  readonly applied: readonly Applied[];
  readonly #versions = new Map<string, Version[]>();
  readonly #byStart: readonly Applied[];
  /** For each place in `#byStart` the smallest revision from there on. */
  readonly #smallestFrom: readonly number[];

  constructor(applied: readonly Applied[]) {
    this.applied = [...applied].sort((one, other) => one.revision - other.revision);
    for (const { commit, revision } of this.applied) {
      for (const { key, value } of commit.puts ?? []) this.#push(key, { revision, value });
      for (const key of commit.deletes ?? []) this.#push(key, { revision });
    }
    this.#byStart = [...applied].sort((one, other) => one.startMs - other.startMs);
    const smallest: number[] = [];
    for (const [index, { revision }] of [...this.#byStart.entries()].reverse())
      smallest[index] = Math.min(revision, smallest[index + 1] ?? Number.POSITIVE_INFINITY);
    this.#smallestFrom = smallest;
  }

  /** The smallest revision of a commit that began after `ms`: whatever ended by then saw less. */
  ceilingAfter(ms: number): number {
    return this.#smallestFrom[firstIndex(this.#byStart, ({ startMs }) => startMs > ms)] ?? Number.POSITIVE_INFINITY;
  }

  /** The moments from `floor`, which is one itself, up to but without `ceiling`. */
  *moments(floor: number, ceiling: number): Generator<number> {
    if (floor >= ceiling) return;
    yield floor;
    for (let index = firstIndex(this.applied, ({ revision }) => revision > floor); index < this.applied.length; index++) {
      const { revision } = this.applied[index]!;
      if (revision >= ceiling) return;
      yield revision;
    }
  }

  /** Whether more than one commit was given this revision. */
  isShared(revision: number): boolean {
    const index = firstIndex(this.applied, (applied) => applied.revision >= revision);
    return this.applied[index + 1]?.revision === revision;
  }

  /** Whether no commit was given this revision, which lies between the two. */
  isFree(revision: number, { from, below }: { from: number; below: number }): boolean {
    const index = firstIndex(this.applied, (applied) => applied.revision >= revision);
    return from < revision && revision < below && this.applied[index]?.revision !== revision;
  }

  /** The revision of the put or deletion by which a key stood as it did at a moment; 0: it had never been written. */
  writtenAt(key: string, moment: number): number {
    return this.#versionAt(key, moment).revision;
  }

  /** What a check of the key demanded at a moment to hold: the revision of its record, 0 if there was none. */
  standingAt(key: string, moment: number): number {
    const { value, revision } = this.#versionAt(key, moment);
    return value === undefined ? 0 : revision;
  }

  /** Whether this record, or none, stood under the key at a moment. */
  stands(key: string, record: StateRecord | undefined, moment: number): boolean {
    const { value, revision } = this.#versionAt(key, moment);
    if (record === undefined || value === undefined) return record === undefined && value === undefined;
    return record.revision === revision && record.key === key && isDeepStrictEqual(record.value, value);
  }

  /** The keys whose checks did not hold at a moment. */
  failedChecks({ checks = [] }: Commit, moment: number): string[] {
    return checks.filter(({ key, revision }) => this.standingAt(key, moment) !== revision).map(({ key }) => key);
  }

  #versionAt(key: string, moment: number): Version {
    const versions = this.#versions.get(key) ?? [];
    return versions[firstIndex(versions, ({ revision }) => revision > moment) - 1] ?? ABSENT;
  }

  #push(key: string, version: Version): void {
    const versions = this.#versions.get(key);
    if (versions === undefined) this.#versions.set(key, [version]);
    else versions.push(version);
  }
}

/** The first place from which on `isBeyond` holds, in a list that is sorted by it; the length of the list, if there is none. */
function firstIndex<T>(sorted: readonly T[], isBeyond: (item: T) => boolean): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBeyond(sorted[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}
