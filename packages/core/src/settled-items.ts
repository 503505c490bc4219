/**
 * What the view keeps of items that have their outcome: where they stand and what they cost. There may be a million, so there is no
 * object for any of them.
 */
import { Column } from './column.js';
import { KeyTable } from './key-table.js';
import type { KnownItem } from './loop-view.js';

const COMPLETED = 1;
const FAILED = 2;
const QUARANTINED = 3;

const UINT32_VALUES = 2 ** 32;

/** See the file's comment. */
export class SettledItems {
  readonly #ids = new KeyTable();
  /** By slot, the lower half of the revision; 0 where there is no item. */
  readonly #revisions = new Column(Uint32Array);
  /** By slot, the upper half: it takes no memory as long as it is 0, which is until a store has been killed a few times. */
  readonly #upperHalves = new Column(Uint32Array);
  readonly #kinds = new Column(Uint8Array);
  /** By slot, of those that cost anything. */
  readonly #costs = new Map<number, number>();

  has(id: string): boolean {
    return this.#ids.find(id) !== -1;
  }

  /** The revision of an item's record; 0: the item is not there. */
  revisionOf(id: string): number {
    const slot = this.#ids.find(id);
    return slot === -1 ? 0 : this.#revisionAt(slot);
  }

  get(id: string): KnownItem | undefined {
    const slot = this.#ids.find(id);
    return slot === -1 ? undefined : this.#itemAt(slot);
  }

  /** Sets an item, unless what is there is as new. Returns what was there. */
  setNewer(id: string, { revision, status, quarantined, costUsd }: Omit<KnownItem, 'seenMs' | 'record'>): KnownItem | undefined {
    const slot = this.#ids.place(id);
    const known = this.#revisionAt(slot);
    const before = known === 0 ? undefined : this.#itemAt(slot);
    if (known >= revision) return before;
    this.#setRevision(slot, revision);
    this.#kinds.set(slot, quarantined ? QUARANTINED : status === 'completed' ? COMPLETED : FAILED);
    if (costUsd > 0) this.#costs.set(slot, costUsd);
    else this.#costs.delete(slot);
    return before;
  }

  delete(id: string): void {
    const slot = this.#ids.remove(id);
    if (slot === -1) return;
    this.#setRevision(slot, 0);
    this.#costs.delete(slot);
  }

  /** All items; those that are deleted meanwhile may come or not. */
  *entries(): Generator<[id: string, item: KnownItem]> {
    for (let slot = 0; slot < this.#ids.slots; slot++) if (this.#ids.isUsed(slot)) yield [this.#ids.keyAt(slot), this.#itemAt(slot)];
  }

  clear(): void {
    this.#ids.clear();
    this.#revisions.clear();
    this.#upperHalves.clear();
    this.#kinds.clear();
    this.#costs.clear();
  }

  #revisionAt(slot: number): number {
    return this.#upperHalves.at(slot) * UINT32_VALUES + this.#revisions.at(slot);
  }

  #setRevision(slot: number, revision: number): void {
    const upper = Math.floor(revision / UINT32_VALUES);
    this.#revisions.set(slot, revision - upper * UINT32_VALUES);
    if (upper !== this.#upperHalves.at(slot)) this.#upperHalves.set(slot, upper);
  }

  #itemAt(slot: number): KnownItem {
    const kind = this.#kinds.at(slot);
    return {
      revision: this.#revisionAt(slot),
      status: kind === COMPLETED ? 'completed' : 'failed',
      costUsd: this.#costs.get(slot) ?? 0,
      quarantined: kind === QUARANTINED,
      seenMs: 0,
    };
  }
}
