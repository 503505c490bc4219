/** Puts the calls of a history in their places along a timeline: each where its answer was true. */
import { isDeepStrictEqual } from 'node:util';
import type { Read, Refusal, Violation } from './history.js';
import { show } from './show.js';
import type { Applied, Timeline } from './timeline.js';

/** A call that the store answered, or a commit of which it is known or supposed that it took place. */
export type Call = Read | Refusal | (Applied & { readonly kind: 'applied' });

/** Where a call was put: it was true from the moment `from`, and by the end of the call the store had come to `to`. */
export interface Placement {
  readonly call: Call;
  readonly from: number;
  readonly to: number;
  /** The place of the call that had ended before and allowed no earlier moment. */
  readonly after: Placement | undefined;
}

/** A call for which there is no moment, with the places that left it none. */
export interface Fault {
  readonly violations: readonly Violation[];
  readonly place: Placement;
}

/** Puts each call at the earliest moment that is left to it. Returns those for which there is none. */
export function placeAll(timeline: Timeline, answered: readonly (Read | Refusal)[]): Fault[] {
  const calls: Call[] = [...answered, ...timeline.applied.map((applied) => ({ ...applied, kind: 'applied' as const }))];
  calls.sort((one, other) => one.startMs - other.startMs);
  const byEnd = [...calls].sort((one, other) => one.endMs - other.endMs);
  const places = new Map<Call, Placement>();
  const faults: Fault[] = [];
  let ended = 0;
  let latest: Placement | undefined;
  for (const call of calls) {
    for (let before = byEnd[ended]; before !== undefined && before.endMs < call.startMs; before = byEnd[++ended]) {
      const place = places.get(before);
      if (place !== undefined && place.to > (latest?.to ?? 0)) latest = place;
    }
    const floor = latest?.to ?? 0;
    const found = call.kind === 'applied' ? placeApplied(call, floor, timeline) : placeAnswer(call, floor, timeline);
    if ('violations' in found) faults.push({ violations: found.violations, place: { call, from: floor, to: floor, after: latest } });
    else places.set(call, { call, ...found, after: latest });
  }
  return faults;
}

type Verdict = { readonly from: number; readonly to: number } | { readonly violations: readonly Violation[] };

/** A commit has its moment by its revision. */
function placeApplied({ commit, revision }: Applied, floor: number, timeline: Timeline): Verdict {
  const violations: Violation[] = timeline.failedChecks(commit, revision - 1).map((key) => {
    const standing = timeline.standingAt(key, revision - 1);
    return {
      law: 'commit/check-now',
      message: `the commit of revision ${revision} was made though its check of ${show(key)} failed: it stood at ${standing}`,
    };
  });
  if (timeline.isShared(revision)) violations.push({ law: 'commit/one-revision', message: `two commits were given revision ${revision}` });
  if (floor > revision)
    violations.push({
      law: 'commit/one-revision',
      message: `a commit began when revision ${floor} had been seen, and was given ${revision}`,
    });
  return violations.length > 0 ? { violations } : { from: revision, to: revision };
}

function placeAnswer(call: Read | Refusal, floor: number, timeline: Timeline): Verdict {
  const moments = [...timeline.moments(floor, timeline.ceilingAfter(call.endMs))];
  return call.kind === 'read' ? placeRead(call, moments, timeline) : placeRefusal(call, moments, timeline);
}

/** A read is just if all its records stood together. */
function placeRead({ keys, records }: Read, moments: readonly number[], timeline: Timeline): Verdict {
  const standsAt = (index: number, moment: number) => timeline.stands(keys[index]!, records[index], moment);
  const indexes = keys.map((_, index) => index);
  const moment = moments.find((each) => indexes.every((index) => standsAt(index, each)));
  if (moment !== undefined) return { from: moment, to: moment };
  const isTorn = indexes.every((index) => moments.some((each) => standsAt(index, each)));
  const message = `a read of ${show(keys)} saw what ${isTorn ? 'never stood together' : 'did not stand then'}: ${show(records)}`;
  return { violations: [{ law: isTorn ? 'commit/all-or-nothing' : 'read/fresh', message }] };
}

/** A refusal is just if exactly the checks that it names failed together, and its records stood then or later. */
function placeRefusal({ commit, answer }: Refusal, moments: readonly number[], timeline: Timeline): Verdict {
  const named = new Map(answer.conflicts.map(({ key, record }) => [key, record]));
  const keys = [...named.keys()].sort();
  for (const [index, from] of moments.entries()) {
    if (keys.length === 0 || !isDeepStrictEqual([...new Set(timeline.failedChecks(commit, from))].sort(), keys)) continue;
    const shown = keys.map((key) => moments.slice(index).find((later) => timeline.stands(key, named.get(key), later)));
    if (!shown.includes(undefined)) return { from, to: Math.max(...(shown as number[])) };
  }
  const message = `a commit was refused for no moment's reason: ${show(answer)}, checks ${show(commit.checks)}`;
  return { violations: [{ law: 'commit/conflict-is-a-value', message }] };
}
