/**
 * The local view of a store: what this process knows of items and runs, fed by `changes`, by its own commits and by refused checks.
 *
 * **Invariants:**
 * - what is known of a key never goes back to an older revision;
 * - `progress` is the fold of exactly the items that are known;
 * - an item is in one of two places: `#settled` if it has an outcome, then without its record, or `#open`.
 */
import type { Json, StateChange } from './backend.js';
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
import { nanoUsdOf, usdOf } from './nano-usd.js';
import { SettledItems } from './settled-items.js';

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
  readonly #open = new Map<string, KnownItem>();
  readonly #settled = new SettledItems();
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
    return this.#open.get(id) ?? this.#settled.get(id);
  }

  /** Whether an item has an outcome. */
  isSettled(id: string): boolean {
    return this.#settled.has(id);
  }

  /** The items that a run holds, by what is known. */
  *heldBy(runId: string): Generator<[id: string, item: KnownItem]> {
    for (const entry of this.#open) if (entry[1].record?.run === runId) yield entry;
  }

  get progress(): Progress {
    return {
      completed: this.#counts.completed,
      failed: this.#counts.failed,
      quarantined: this.#quarantined,
      glitched: this.#glitched,
      inProgress: this.#counts.claimed,
      outstanding: this.#counts.outstanding,
      costUsd: usdOf(this.#nanoUsd + nanoUsdOf(this.meta?.record.carriedUsd ?? 0)),
    };
  }

  /** Forgets everything; nobody is told. */
  clear(): void {
    this.runs.clear();
    this.beats.clear();
    this.meta = undefined;
    for (const counted of Object.keys(this.#counts) as ItemStatus[]) this.#counts[counted] = 0;
    this.#quarantined = 0;
    this.#glitched = 0;
    this.#nanoUsd = 0;
    this.#open.clear();
    this.#settled.clear();
  }

  /** Takes in a change, unless something newer is known of its key. */
  take({ key, revision, record }: StateChange): void {
    if (record === undefined) this.takeDeletion(key, revision);
    else this.takePut(key, record.value, revision);
  }

  /** Takes in that a value was put, unless something newer is known of its key. */
  takePut(key: string, value: Json, revision: number): void {
    const name = nameOf(key);
    switch (name.kind) {
      case 'item':
        this.#takeItem(name.id, decode<ItemRecord>(value), revision);
        return;
      case 'run':
        if ((this.runs.get(name.id)?.revision ?? 0) < revision)
          this.runs.set(name.id, { runId: name.id, revision, record: decode<RunRecord>(value) });
        return;
      case 'beat':
        this.beats.set(name.id, Math.max(revision, this.beats.get(name.id) ?? 0));
        return;
      case 'meta':
        if ((this.meta?.revision ?? 0) < revision) this.meta = { revision, record: decode<MetaRecord>(value) };
        return;
      case 'other':
        return;
    }
  }

  /** Takes in that a key was deleted, unless something newer is known of it. */
  takeDeletion(key: string, revision: number): void {
    const name = nameOf(key);
    switch (name.kind) {
      case 'item':
        this.#forgetItem(name.id, revision);
        return;
      case 'run':
        if ((this.runs.get(name.id)?.revision ?? revision) < revision) this.runs.delete(name.id);
        return;
      case 'beat':
        this.beats.delete(name.id);
        return;
      case 'meta':
        if ((this.meta?.revision ?? revision) < revision) this.meta = undefined;
        return;
      case 'other':
        return;
    }
  }

  /** Takes in that `key` is absent now, if nothing newer than `checkedRevision` is known of it. */
  takeAbsence(key: string, checkedRevision: number): void {
    const name = nameOf(key);
    const known = name.kind === 'item' ? this.item(name.id) : name.kind === 'run' ? this.runs.get(name.id) : undefined;
    if (known !== undefined && known.revision <= checkedRevision) this.takeDeletion(key, known.revision + 1);
    if (name.kind === 'beat') this.beats.delete(name.id);
  }

  /** Drops whatever is not among `present`, all the keys of the store as of revision `upTo`. */
  retain(present: ReadonlySet<string>, upTo: number): void {
    const isGone = (key: string, revision: number): boolean => revision <= upTo && !present.has(key);
    for (const items of [this.#open, this.#settled.entries()]) {
      for (const [id, item] of items) if (isGone(itemKey(id), item.revision)) this.#forgetItem(id, upTo + 1);
    }
    for (const [id, run] of this.runs) if (isGone(runKey(id), run.revision)) this.runs.delete(id);
    for (const [id, revision] of this.beats) if (isGone(beatKey(id), revision)) this.beats.delete(id);
  }

  #takeItem(id: string, value: ItemRecord, revision: number): void {
    const open = this.#open.get(id);
    if (open !== undefined && open.revision >= revision) return;
    const { status, costUsd = 0, quarantined = false } = value;
    const isOpen = !isFinal(status);
    const item = isOpen
      ? { revision, status, costUsd, quarantined, seenMs: this.#now(), record: value }
      : { revision, status, costUsd, quarantined, seenMs: 0 };
    const settled = isOpen ? this.#settled.get(id) : this.#settled.setNewer(id, item);
    if (settled !== undefined && settled.revision >= revision) return;
    if (isOpen) {
      this.#open.set(id, item);
      if (settled !== undefined) this.#settled.delete(id);
    } else if (open !== undefined) this.#open.delete(id);
    const before = open ?? settled;
    if (before !== undefined) this.#count(before, -1);
    this.#count(item, 1);
    this.#onItem(id, item, value.by);
  }

  #forgetItem(id: string, revision: number): void {
    const before = this.item(id);
    if (before === undefined || before.revision >= revision) return;
    this.#count(before, -1);
    this.#open.delete(id);
    this.#settled.delete(id);
    this.#onItem(id, undefined, undefined);
  }

  #count(item: KnownItem, step: 1 | -1): void {
    this.#counts[item.status] += step;
    if (item.quarantined) this.#quarantined += step;
    if (item.status === 'outstanding' && item.record?.glitches !== undefined) this.#glitched += step;
    this.#nanoUsd += step * nanoUsdOf(item.costUsd);
  }
}

/** Records are read as they were written by this format; a store's own checks guard their bytes. */
function decode<T>(value: Json): T {
  return value as unknown as T;
}
