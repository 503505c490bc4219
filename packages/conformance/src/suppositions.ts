/** Where a commit of unknown outcome may have taken place, if that is to explain why a call has no place in its history. */
import type { Commit } from '@loopstate/core';
import { type CommitEvent, type HistoryEvent, recordsSeen } from './history.js';
import type { Call, Placement } from './placing.js';
import type { Timeline } from './timeline.js';

/** Whether a call showed a record that no commit put: those of unknown outcome that were seen have been told by it. */
export function hasNoCause(call: Call, timeline: Timeline): boolean {
  if (call.kind === 'applied') return timeline.isShared(call.revision);
  return recordsSeen(call).some((record) => !timeline.stands(record.key, record, record.revision));
}

/** What else than there is could help a call to a moment: a write to a key that it saw or checked. */
interface Demand {
  readonly key: string;
  /** `deletion`: the key must be absent; a number: a record of that revision must stand; `write`: a check of it must fail. */
  readonly by: 'deletion' | 'write' | number;
}

/**
 * The revisions at which a commit of unknown outcome, had it taken place there, would bring about what a call demands that has no
 * moment, or a call that left it no earlier one. Another explanation there is not: a moment is a call's if all its demands are met,
 * and what a demand asks for is the doing of the last commit that wrote the key.
 */
export function revisionsToSuppose(
  { commit, startMs }: CommitEvent,
  fault: Placement,
  { timeline, named, left }: { timeline: Timeline; named: readonly number[]; left: readonly CommitEvent[] },
): Set<number> {
  const revisions = new Set<number>();
  const soonest = Math.max(0, ...timeline.applied.filter(({ endMs }) => endMs < startMs).map(({ revision }) => revision));
  for (let place: Placement | undefined = fault; place !== undefined; place = place.after) {
    const { call } = place;
    // The moment of a commit is its own: what came before has no part in it.
    if (call.kind === 'applied' && place !== fault) break;
    const below = call.kind === 'applied' ? call.revision : timeline.ceilingAfter(call.endMs);
    const floor = call.kind === 'applied' ? call.revision - 1 : (place.after?.to ?? 0);
    for (const { key, by } of demandsOf(call).filter((demand) => canMeet(commit, demand))) {
      // Before that another commit wrote the key, and hid whatever had been there.
      const from = Math.max(soonest, timeline.writtenAt(key, floor));
      const free = freeRevisions(timeline, { from, below, named, atMost: left.length });
      for (const revision of free) if (typeof by !== 'number' || by === revision) revisions.add(revision);
    }
  }
  // Its own checks must hold there, by then at least.
  const mayHold = (revision: number) =>
    checkDemands(commit).every(
      (demand) => isMet(demand, timeline, revision) || left.some((other) => other.commit !== commit && canMeet(other.commit, demand)),
    );
  return new Set([...revisions].filter(mayHold));
}

function demandsOf(call: Call): Demand[] {
  if (call.kind === 'read')
    return call.keys.flatMap((key, index) => (call.records[index] === undefined ? [{ key, by: 'deletion' as const }] : []));
  const demands = checkDemands(call.commit);
  if (call.kind === 'applied') return demands;
  const refused = new Set(call.answer.conflicts.map(({ key }) => key));
  return [...demands.filter(({ key }) => !refused.has(key)), ...[...refused].map((key) => ({ key, by: 'write' as const }))];
}

function checkDemands({ checks = [] }: Commit): Demand[] {
  return checks.map(({ key, revision }) => ({ key, by: revision === 0 ? 'deletion' : revision }));
}

function canMeet({ puts = [], deletes = [] }: Commit, { key, by }: Demand): boolean {
  const isPut = puts.some((put) => put.key === key);
  return by === 'deletion' ? deletes.includes(key) : isPut || (by === 'write' && deletes.includes(key));
}

function isMet({ key, by }: Demand, timeline: Timeline, moment: number): boolean {
  return timeline.standingAt(key, moment) === (by === 'deletion' ? 0 : by);
}

/** Revisions that no commit has: all that are named somewhere, and beside them as many as may be needed, `atMost` in a row. */
function freeRevisions(
  timeline: Timeline,
  { from, below, named, atMost }: { from: number; below: number; named: readonly number[]; atMost: number },
): Set<number> {
  const free = new Set<number>();
  const bounds = [...new Set([...timeline.moments(from, below), ...named.filter((revision) => from < revision && revision < below)])];
  bounds.sort((one, other) => one - other);
  for (const [index, bound] of bounds.entries()) {
    if (timeline.isFree(bound, { from, below })) free.add(bound);
    const next = Math.min(bounds[index + 1] ?? below, bound + 2 ** 20);
    const step = Math.max(1, Math.floor((next - bound) / (atMost + 1)));
    for (let nth = 1; nth <= atMost && bound + nth * step < next; nth++) free.add(bound + nth * step);
  }
  return free;
}

/** The revisions that checks name, in order. */
export function revisionsChecked(events: readonly HistoryEvent[]): number[] {
  const revisions = events.flatMap((event) => (event.kind === 'commit' ? (event.commit.checks ?? []).map(({ revision }) => revision) : []));
  return [...new Set(revisions)].sort((one, other) => one - other);
}
