/**
 * What this run recorded, kept for the case that its store loses it (a restored dump, a failover that lost writes).
 *
 * **Invariants:**
 * - of the last {@link WHOLE_RECORDS} outcomes, if they have no more than {@link WHOLE_CHARS}, the whole record is kept, of all earlier ones
 *   where they stand and what they cost;
 * - whole records are kept as text, as they were put: what they were made of is its maker's, and may have changed since;
 * - an outcome is in one of the two places.
 */
import type { NextRecord } from './item-results.js';
import { KeyTable } from './key-table.js';

/** Of how many outcomes the whole record is kept. */
export const WHOLE_RECORDS = 10_000;
/** How many characters those may have in all. */
export const WHOLE_CHARS = 64 * 1_024 * 1_024;

interface WholeRecord {
  readonly text: string;
  readonly brief: NextRecord;
}

/** See the file's comment. */
export class OwnOutcomes {
  readonly #whole = new Map<string, WholeRecord>();
  #chars = 0;
  /** Goes through `#whole` once, oldest first, what comes later included. Beginning anew each time would pass over all that was removed. */
  readonly #oldest = this.#whole.entries();
  readonly #briefIds = new KeyTable();
  /** By slot. There may be a million, almost all of them alike: those without a cost share their objects. */
  readonly #briefs: NextRecord[] = [];
  readonly #shared = new Map<string, NextRecord>();

  /** Takes in an outcome that was acknowledged; `text`: the JSON of the record as it was put. */
  add(id: string, record: NextRecord, text = JSON.stringify(record)): void {
    this.forget(id);
    this.#whole.set(id, { text, brief: this.#sharedBrief(record) });
    this.#chars += text.length;
    while (this.#whole.size > WHOLE_RECORDS || this.#chars > WHOLE_CHARS) {
      const { value: oldest } = this.#oldest.next();
      if (oldest === undefined) return;
      this.#removeWhole(oldest[0]);
      this.#briefs[this.#briefIds.place(oldest[0])] = oldest[1].brief;
    }
  }

  /** The item is outstanding again: its operator wants another round. */
  forget(id: string): void {
    this.#removeWhole(id);
    this.#briefIds.remove(id);
  }

  /** All of them, as they would be recorded again. */
  *records(): Generator<[id: string, record: NextRecord]> {
    for (let slot = 0; slot < this.#briefIds.slots; slot++) {
      const record = this.#briefs[slot];
      if (record !== undefined && this.#briefIds.isUsed(slot)) yield [this.#briefIds.keyAt(slot), { ...record, recordedAgain: 'status' }];
    }
    // One that was kept in brief before, and was recorded again so, has no more than that.
    for (const [id, { text }] of this.#whole) yield [id, { recordedAgain: 'whole', ...(JSON.parse(text) as NextRecord) }];
  }

  #removeWhole(id: string): void {
    this.#chars -= this.#whole.get(id)?.text.length ?? 0;
    this.#whole.delete(id);
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
