/**
 * What this run recorded, kept for the case that its store loses it (a restored dump, a failover that lost writes).
 *
 * **Invariants:** of the last {@link WHOLE_RECORDS} outcomes the whole record is kept, of all earlier ones where they stand and what
 * they cost.
 */
import type { NextRecord } from './item-results.js';

/** Of how many outcomes the whole record is kept. */
export const WHOLE_RECORDS = 10_000;

/** See the file's comment. */
export class OwnOutcomes {
  readonly #whole = new Map<string, NextRecord>();
  readonly #brief = new Map<string, NextRecord>();

  /** Takes in an outcome that was acknowledged. */
  add(id: string, record: NextRecord): void {
    this.#whole.delete(id);
    this.#whole.set(id, record);
    if (this.#whole.size <= WHOLE_RECORDS) return;
    const [oldest] = this.#whole;
    if (oldest === undefined) return;
    this.#whole.delete(oldest[0]);
    this.#brief.set(oldest[0], brief(oldest[1]));
  }

  /** The item is outstanding again: its operator wants another round. */
  forget(id: string): void {
    this.#whole.delete(id);
    this.#brief.delete(id);
  }

  /** All of them, oldest first, as they would be recorded again. */
  records(): [id: string, record: NextRecord][] {
    const again = ([id, record]: [string, NextRecord], recordedAgain: 'whole' | 'status'): [string, NextRecord] => [
      id,
      { ...record, recordedAgain },
    ];
    return [...[...this.#brief].map((entry) => again(entry, 'status')), ...[...this.#whole].map((entry) => again(entry, 'whole'))];
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
