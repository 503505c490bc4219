/** What the judges of histories are given, and what they find. */
import type { Commit, CommitResult, Law, StateRecord } from '@loopstate/core';

/** What a commit was answered: yes, no, or that nobody knows. A commit that rejected without effect is left out of the history. */
export type HistoryAnswer = CommitResult | 'unknown';

/** One call. Times are in ms of a clock that all who recorded share; a call that ended before another began happened before it. */
export type HistoryEvent =
  | { readonly kind: 'commit'; readonly startMs: number; readonly endMs: number; readonly commit: Commit; readonly answer: HistoryAnswer }
  | {
      readonly kind: 'read';
      readonly startMs: number;
      readonly endMs: number;
      readonly keys: readonly string[];
      readonly records: readonly (StateRecord | undefined)[];
    };

/** A law that was broken, and where. */
export interface Violation {
  readonly law: Law;
  readonly message: string;
}

/** A call of `commit`. */
export type CommitEvent = Extract<HistoryEvent, { kind: 'commit' }>;

/** A call of `read`. */
export type Read = Extract<HistoryEvent, { kind: 'read' }>;

/** A commit that a check refused. */
export type Refusal = CommitEvent & { readonly answer: Extract<CommitResult, { ok: false }> };

/** The records that a call showed. */
export function recordsSeen(event: HistoryEvent): StateRecord[] {
  const records = event.kind === 'read' ? event.records : isRefusal(event) ? event.answer.conflicts.map(({ record }) => record) : [];
  return records.filter((record) => record !== undefined);
}

/** Whether a call is a commit that a check refused. */
export function isRefusal(event: HistoryEvent): event is Refusal {
  return event.kind === 'commit' && event.answer !== 'unknown' && !event.answer.ok;
}
