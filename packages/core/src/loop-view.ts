/**
 * The local view of a store: what this process knows of items and runs, fed by `changes`, by its own commits and by refused checks.
 *
 * **Invariants:**
 * - what is known of a key never goes back to an older revision;
 * - `progress` is the fold of exactly the items that are known;
 * - an item with an outcome keeps no record, only its status and cost: there may be a million.
 */
import type { Json, StateChange, StateRecord } from './backend.js';
import {
  beatKey,
  type ItemRecord,
  type ItemStatus,
  isFinal,
  itemKey,
  type MetaRecord,
  nameOf,
  type RunRecord,
  runKey,
} from './loop-records.js';

/** How far the loop is, folded from the records of its items. */
export interface Progress {
  /** Items with the outcome success. */
  readonly completed: number;
  /** Items with the outcome error, the quarantined ones included. */
  readonly failed: number;
  /** Items that failed because they kept killing their process. */
  readonly quarantined: number;
  /** Items that wait after a glitch. */
  readonly glitched: number;
  /** Items that a run holds now. */
  readonly inProgress: number;
  /** Items that were begun and came back without an outcome, the glitched ones included. */
  readonly outstanding: number;
  /** What all attempts cost, in US dollars. */
  readonly costUsd: number;
}

/** What the view knows of an item. */
export interface KnownItem {
  readonly revision: number;
  readonly status: ItemStatus;
  readonly costUsd: number;
  readonly quarantined: boolean;
  /** The whole record, while the item has no outcome. */
  readonly record?: ItemRecord;
  /** When this process first saw that record, on its monotonic clock. */
  readonly seenMs: number;
}

/** A run as the view knows it. */
export interface KnownRun {
  readonly runId: string;
  readonly revision: number;
  readonly record: RunRecord;
}

/** Called after an item's record changed, with what is known now; `undefined`: it was deleted. */
export type ItemWatcher = (id: string, item: KnownItem | undefined, by: string | undefined) => void;

/** See the file's comment. */
export class LoopView {
  readonly runs = new Map<string, KnownRun>();
  readonly beats = new Map<string, number>();
  meta: { readonly revision: number; readonly record: MetaRecord } | undefined;
  readonly #items = new Map<string, KnownItem>();
  readonly #counts: Record<ItemStatus, number> = { outstanding: 0, claimed: 0, completed: 0, failed: 0 };
  readonly #now: () => number;
  readonly #onItem: ItemWatcher;
  #quarantined = 0;
  #glitched = 0;
  /** In billionths of a dollar, so that adding and taking away stays exact. */
  #nanoUsd = 0;

  constructor(now: () => number, onItem: ItemWatcher) {
    this.#now = now;
    this.#onItem = onItem;
  }

  item(id: string): KnownItem | undefined {
    return this.#items.get(id);
  }

  /** The items that a run holds, by what is known. */
  *heldBy(runId: string): Generator<[id: string, item: KnownItem]> {
    for (const entry of this.#items) if (entry[1].record?.run === runId) yield entry;
  }

  get progress(): Progress {
    return {
      completed: this.#counts.completed,
      failed: this.#counts.failed,
      quarantined: this.#quarantined,
      glitched: this.#glitched,
      inProgress: this.#counts.claimed,
      outstanding: this.#counts.outstanding,
      costUsd: this.#nanoUsd / 1e9 + (this.meta?.record.carriedUsd ?? 0),
    };
  }

  /** Forgets everything; nobody is told. */
  clear(): void {
    this.runs.clear();
    this.beats.clear();
    this.meta = undefined;
    for (const item of this.#items.values()) this.#count(item, -1);
    this.#items.clear();
  }

  /** Takes in a change, unless something newer is known of its key. */
  take(change: StateChange): void {
    const name = nameOf(change.key);
    switch (name.kind) {
      case 'item':
        this.#takeItem(name.id, change);
        return;
      case 'run':
        takeNewer(this.runs, name.id, change, (record) => ({
          runId: name.id,
          revision: record.revision,
          record: decode<RunRecord>(record.value),
        }));
        return;
      case 'beat':
        if (change.record === undefined) this.beats.delete(name.id);
        else this.beats.set(name.id, Math.max(change.revision, this.beats.get(name.id) ?? 0));
        return;
      case 'meta':
        this.meta =
          change.record === undefined ? undefined : { revision: change.revision, record: decode<MetaRecord>(change.record.value) };
        return;
      case 'other':
        return;
    }
  }

  /** Takes in that `key` is absent now, if nothing newer than `checkedRevision` is known of it. */
  takeAbsence(key: string, checkedRevision: number): void {
    const name = nameOf(key);
    const known = name.kind === 'item' ? this.#items.get(name.id) : name.kind === 'run' ? this.runs.get(name.id) : undefined;
    if (known !== undefined && known.revision <= checkedRevision) this.take({ key, revision: known.revision + 1 });
    if (name.kind === 'beat') this.beats.delete(name.id);
  }

  /** Drops whatever is not among `present`, all the keys of the store as of revision `upTo`. */
  retain(present: ReadonlySet<string>, upTo: number): void {
    const isGone = (key: string, revision: number): boolean => revision <= upTo && !present.has(key);
    for (const [id, item] of this.#items) if (isGone(itemKey(id), item.revision)) this.take({ key: itemKey(id), revision: upTo + 1 });
    for (const [id, run] of this.runs) if (isGone(runKey(id), run.revision)) this.runs.delete(id);
    for (const [id, revision] of this.beats) if (isGone(beatKey(id), revision)) this.beats.delete(id);
  }

  #takeItem(id: string, { revision, record }: StateChange): void {
    const before = this.#items.get(id);
    if (before !== undefined && before.revision >= revision) return;
    if (before !== undefined) this.#count(before, -1);
    if (record === undefined) {
      this.#items.delete(id);
      if (before !== undefined) this.#onItem(id, undefined, undefined);
      return;
    }
    const value = decode<ItemRecord>(record.value);
    const item: KnownItem = {
      revision,
      status: value.status,
      costUsd: value.costUsd ?? 0,
      quarantined: value.quarantined ?? false,
      seenMs: isFinal(value.status) ? 0 : this.#now(),
      ...(isFinal(value.status) ? {} : { record: value }),
    };
    this.#items.set(id, item);
    this.#count(item, 1);
    this.#onItem(id, item, value.by);
  }

  #count(item: KnownItem, step: 1 | -1): void {
    this.#counts[item.status] += step;
    if (item.quarantined) this.#quarantined += step;
    if (item.status === 'outstanding' && item.record?.glitches !== undefined) this.#glitched += step;
    this.#nanoUsd += step * Math.round(item.costUsd * 1e9);
  }
}

/** Records are read as they were written by this format; a store's own checks guard their bytes. */
function decode<T>(value: Json): T {
  return value as unknown as T;
}

function takeNewer<T extends { readonly revision: number }>(
  known: Map<string, T>,
  id: string,
  change: StateChange,
  make: (record: StateRecord) => T,
): void {
  const before = known.get(id);
  if (before !== undefined && before.revision >= change.revision) return;
  if (change.record === undefined) known.delete(id);
  else known.set(id, make(change.record));
}
