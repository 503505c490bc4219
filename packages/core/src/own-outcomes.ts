/**
 * What this run recorded, kept for the case that its store loses it (a restored dump, a failover that lost writes).
 *
 * **Invariants:**
 * - of the last {@link WHOLE_RECORDS} outcomes the whole record is kept, of all earlier ones where they stand and what they cost;
 * - an outcome is in one of the two places.
 */
import type { NextRecord } from './item-results.js';
import { KeyTable } from './key-table.js';

/** Of how many outcomes the whole record is kept. */
export const WHOLE_RECORDS = 10_000;

/** See the file's comment. */
export class OwnOutcomes {
  readonly #whole = new Map<string, NextRecord>();
  /** Goes through `#whole` once, oldest first, what comes later included. Beginning anew each time would pass over all that was removed. */
  readonly #oldest = this.#whole.entries();
  readonly #briefIds = new KeyTable();
  /** By slot. There may be a million, almost all of them alike: those without a cost share their objects. */
  readonly #briefs: NextRecord[] = [];
  readonly #shared = new Map<string, NextRecord>();

  /** Takes in an outcome that was acknowledged. */
  add(id: string, record: NextRecord): void {
    this.forget(id);
    this.#whole.set(id, record);
    if (this.#whole.size <= WHOLE_RECORDS) return;
    const { value: oldest } = this.#oldest.next();
    if (oldest === undefined) return;
    this.#whole.delete(oldest[0]);
    this.#briefs[this.#briefIds.place(oldest[0])] = this.#sharedBrief(oldest[1]);
  }

  /** The item is outstanding again: its operator wants another round. */
  forget(id: string): void {
    this.#whole.delete(id);
    this.#briefIds.remove(id);
  }

  /** All of them, as they would be recorded again. */
  *records(): Generator<[id: string, record: NextRecord]> {
    for (let slot = 0; slot < this.#briefIds.slots; slot++) {
      const record = this.#briefs[slot];
      if (record !== undefined && this.#briefIds.isUsed(slot)) yield [this.#briefIds.keyAt(slot), { ...record, recordedAgain: 'status' }];
    }
    // One that was kept in brief before, and was recorded again so, has no more than that.
    for (const [id, record] of this.#whole) yield [id, { recordedAgain: 'whole', ...record }];
  }

  #sharedBrief(record: NextRecord): NextRecord {
    const made = brief(record);
    if (made.costUsd !== undefined) return made;
    const name = `${made.status} ${made.attempt} ${made.quarantined} ${made.round}`;
    const shared = this.#shared.get(name) ?? made;
    this.#shared.set(name, shared);
    return shared;
  }
}

function brief({ status, attempt, costUsd, quarantined, round }: NextRecord): NextRecord {
  return {
    status,
    attempt,
    ...(costUsd === undefined ? {} : { costUsd }),
    ...(quarantined === undefined ? {} : { quarantined }),
    ...(round === undefined ? {} : { round }),
  };
}
