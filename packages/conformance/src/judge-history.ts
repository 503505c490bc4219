/**
 * Judges recorded calls. The store itself orders its commits, by revision, so that no order has to be searched for: the calls are
 * gone through once, each is given the earliest moment at which its answer was true, and none may be earlier than one that had
 * ended before it began. A call without such a moment is a violation.
 *
 * Only commits of unknown outcome leave a choice. A record that others saw under a new revision decides: such a commit took place.
 * Of the others it is supposed that they did not; where that leaves a violation, each place is tried at which one of them, had it
 * taken place there, could have a part in it. What no supposition explains is reported.
 */
import { isDeepStrictEqual } from 'node:util';
import type { StateRecord } from '@loopstate/core';
import { type CommitEvent, type HistoryEvent, isRefusal, type Read, type Refusal, recordsSeen, type Violation } from './history.js';
import { type Fault, placeAll } from './placing.js';
import { hasNoCause, revisionsChecked, revisionsToSuppose } from './suppositions.js';
import { type Applied, Timeline } from './timeline.js';

/** Where commits of unknown outcome are supposed to have taken place. */
type Suppositions = ReadonlyMap<CommitEvent, number>;

/** The history under suppositions. */
interface Attempt {
  readonly supposed: Suppositions;
  readonly timeline: Timeline;
  readonly faults: readonly Fault[];
}

/** Each supposition goes through the whole history: so many calls are put in their place in all, some seconds' worth. */
const PLACINGS_MAX = 1_000_000;

/**
 * The violations in a history that begins with an empty store and holds every commit to it. Values should be unique, so that what
 * became of a commit of unknown outcome can be told from the records that others saw.
 *
 * Throws a `RangeError` if too many commits of unknown outcome leave it open whether there is a violation.
 */
export function judgeHistory(events: readonly HistoryEvent[]): Violation[] {
  const { applied, open } = decideByTraces(events);
  const answered = events.filter((event): event is Read | Refusal => event.kind === 'read' || isRefusal(event));
  const named = revisionsChecked(events);
  const tried = new Set<string>();
  const faultsUnder = (supposed: Suppositions): Attempt => {
    const taken = [...supposed].map(([commit, revision]) => ({ ...commit, revision, endMs: Number.POSITIVE_INFINITY }));
    const timeline = new Timeline([...applied, ...taken]);
    return { supposed, timeline, faults: placeAll(timeline, answered) };
  };
  /** Whether an attempt leaves no fault, or there is something to add to its suppositions so that none is left. */
  const succeeds = ({ supposed, timeline, faults }: Attempt): boolean => {
    const [first] = faults;
    if (first === undefined) return true;
    if (faults.some(({ place }) => hasNoCause(place.call, timeline))) return false;
    const left = open.filter((commit) => !supposed.has(commit));
    const withoutProgress: Attempt[] = [];
    for (const commit of left) {
      for (const revision of revisionsToSuppose(commit, first.place, { timeline, named, left })) {
        const next = new Map([...supposed, [commit, revision]]);
        const name = open.map((each) => next.get(each)).join();
        if (tried.has(name)) continue;
        tried.add(name);
        if (tried.size * events.length > PLACINGS_MAX)
          throw new RangeError(`${open.length} commits of unknown outcome are too many to decide about.`);
        const attempt = faultsUnder(next);
        const isProgress = (attempt.faults[0]?.place.call.startMs ?? Number.POSITIVE_INFINITY) > first.place.call.startMs;
        if (!isProgress) withoutProgress.push(attempt);
        else if (succeeds(attempt)) return true;
      }
    }
    return withoutProgress.some(succeeds);
  };
  const without = faultsUnder(new Map());
  return succeeds(without) ? [] : without.faults.flatMap(({ violations }) => violations);
}

/** What took place for certain, and the commits of which that is not known. */
function decideByTraces(events: readonly HistoryEvent[]): { applied: Applied[]; open: CommitEvent[] } {
  const commits = events.filter((event): event is CommitEvent => event.kind === 'commit');
  const applied: Applied[] = commits.flatMap(({ answer, ...call }) =>
    answer !== 'unknown' && answer.ok ? [{ ...call, revision: answer.revision }] : [],
  );
  const known = new Set(applied.map(({ revision }) => revision));
  const traces = new Map<number, StateRecord[]>();
  for (const record of events.flatMap(recordsSeen)) {
    if (!known.has(record.revision)) traces.set(record.revision, [...(traces.get(record.revision) ?? []), record]);
  }
  const open: CommitEvent[] = [];
  for (const call of commits.filter(({ answer }) => answer === 'unknown')) {
    const isOwn = ({ key, value }: StateRecord) =>
      call.commit.puts?.some((put) => put.key === key && isDeepStrictEqual(put.value, value)) === true;
    const [revision] = [...traces].find(([, records]) => records.every(isOwn)) ?? [];
    if (revision === undefined) open.push(call);
    else {
      traces.delete(revision);
      // Its reply was lost: it may have landed at any time after it was sent.
      applied.push({ ...call, revision, endMs: Number.POSITIVE_INFINITY });
    }
  }
  return { applied, open };
}
