/** The slow way to judge a history: every order that the times allow is tried, and everything that a lost commit may have done. */
import { isDeepStrictEqual } from 'node:util';
import type { Commit, StateRecord } from '@loopstate/core';
import type { HistoryEvent } from '../src/history.js';

interface State {
  readonly revision: number;
  /** By key: the last write; no value: the key was deleted. */
  readonly writes: ReadonlyMap<string, { readonly revision: number; readonly value?: unknown }>;
}

/** What is left to be placed of a call. A refusal has two parts: the moment it is judged, and then the record of each conflict. */
interface Open {
  readonly event: HistoryEvent;
  readonly isJudged: boolean;
  readonly conflicts: readonly { readonly key: string; readonly record?: StateRecord }[];
}

/** Whether there is an order in which a correct store would have answered as it did. For a handful of calls. */
export function isPossible(events: readonly HistoryEvent[]): boolean {
  const revisionMax = Math.max(0, ...events.flatMap(revisionsIn)) + events.length;
  const open = events.map((event) => ({ event, isJudged: false, conflicts: [] }));
  return search(open, { revision: 0, writes: new Map() }, revisionMax);
}

function revisionsIn(event: HistoryEvent): number[] {
  if (event.kind === 'read') return event.records.flatMap((record) => record?.revision ?? []);
  const { commit, answer } = event;
  const checked = (commit.checks ?? []).map(({ revision }) => revision);
  if (answer === 'unknown') return checked;
  return [...checked, ...(answer.ok ? [answer.revision] : answer.conflicts.flatMap(({ record }) => record?.revision ?? []))];
}

function search(open: readonly Open[], state: State, revisionMax: number): boolean {
  if (open.every(({ event }) => isLost(event))) return true;
  return open.some((one) => {
    const isTooEarly = open.some(({ event }) => !isLost(event) && event.endMs < one.event.startMs);
    if (isTooEarly) return false;
    const others = open.filter((other) => other !== one);
    return steps(one, state, revisionMax).some((step) =>
      search(step.left === undefined ? others : [...others, step.left], step.state, revisionMax),
    );
  });
}

/** All that can happen next of one call. */
function steps({ event, isJudged, conflicts }: Open, state: State, revisionMax: number): { state: State; left?: Open }[] {
  const standing = (key: string) => (state.writes.get(key)?.value === undefined ? 0 : state.writes.get(key)!.revision);
  const stands = (key: string, record: StateRecord | undefined) => {
    const write = state.writes.get(key);
    if (record === undefined) return write?.value === undefined;
    return write !== undefined && record.revision === write.revision && isDeepStrictEqual(record.value, write.value);
  };
  if (event.kind === 'read') return event.keys.every((key, index) => stands(key, event.records[index])) ? [{ state }] : [];
  const { commit, answer } = event;
  const failed = (commit.checks ?? []).filter(({ key, revision }) => standing(key) !== revision).map(({ key }) => key);
  if (answer === 'unknown') {
    if (failed.length > 0) return [];
    const later = Array.from({ length: revisionMax - state.revision }, (_, index) => state.revision + 1 + index);
    return later.map((revision) => ({ state: applied(state, commit, revision) }));
  }
  if (answer.ok) return failed.length === 0 && answer.revision > state.revision ? [{ state: applied(state, commit, answer.revision) }] : [];
  if (!isJudged) {
    const isJust = failed.length > 0 && isDeepStrictEqual([...new Set(failed)].sort(), answer.conflicts.map(({ key }) => key).sort());
    return isJust ? [{ state, left: { event, isJudged: true, conflicts: answer.conflicts } }] : [];
  }
  return conflicts
    .filter(({ key, record }) => stands(key, record))
    .map((conflict) => {
      const left = conflicts.filter((other) => other !== conflict);
      return left.length === 0 ? { state } : { state, left: { event, isJudged, conflicts: left } };
    });
}

function applied({ writes }: State, { puts = [], deletes = [] }: Commit, revision: number): State {
  const next = new Map(writes);
  for (const { key, value } of puts) next.set(key, { revision, value });
  for (const key of deletes) next.set(key, { revision });
  return { revision, writes: next };
}

function isLost(event: HistoryEvent): boolean {
  return event.kind === 'commit' && event.answer === 'unknown';
}
