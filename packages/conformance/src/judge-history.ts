/**
 * Judges recorded calls without searching for an order: the store itself orders its commits, by revision. One pass in that order
 * decides whether every answer can have been true at some moment between the call's start and its end.
 */

import { isDeepStrictEqual } from 'node:util';
import type { Commit, CommitResult, Json, Law, StateRecord } from '@loopstate/core';
import { show } from './expectations.js';

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

type Read = Extract<HistoryEvent, { kind: 'read' }>;
type Refusal = Extract<HistoryEvent, { kind: 'commit' }> & { readonly answer: Extract<CommitResult, { ok: false }> };

/** A commit that took place. */
interface Applied {
  readonly commit: Commit;
  readonly revision: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** A key as it stood from `revision` on; no value: it was absent, and a check of 0 held. */
interface Version {
  readonly revision: number;
  readonly value?: Json;
}

/** All that was committed, in the order of revisions. */
interface Timeline {
  readonly applied: readonly Applied[];
  readonly versions: ReadonlyMap<string, readonly Version[]>;
  /** Keys that a commit of unknown outcome may have written at an unknown moment: no answer about them is judged. */
  readonly uncertain: ReadonlySet<string>;
}

const ABSENT: Version = { revision: 0 };

/**
 * The violations in a history that begins with an empty store and holds every commit to it. Values should be unique, so that what
 * became of a commit of unknown outcome can be told from the records that others saw.
 */
export function judgeHistory(events: readonly HistoryEvent[]): Violation[] {
  const timeline = layOut(events);
  return [
    ...judgeRevisions(timeline.applied),
    ...judgeChecks(timeline),
    ...events.flatMap((event) => {
      if (event.kind === 'read') return judgeRead(event, timeline);
      return isRefusal(event) ? judgeRefusal(event, timeline) : [];
    }),
  ];
}

function layOut(events: readonly HistoryEvent[]): Timeline {
  const applied: Applied[] = [];
  for (const event of events) {
    if (event.kind === 'commit' && event.answer !== 'unknown' && event.answer.ok)
      applied.push({ ...event, revision: event.answer.revision });
  }
  const known = new Set(applied.map(({ revision }) => revision));
  const seen = events.flatMap(recordsSeen).filter((record) => !known.has(record.revision));
  const uncertain = new Set<string>();
  for (const event of events) {
    if (event.kind !== 'commit' || event.answer !== 'unknown') continue;
    const { commit, startMs } = event;
    const trace = seen.find(({ key, value }) => commit.puts?.some((put) => put.key === key && isDeepStrictEqual(put.value, value)));
    // Its reply was lost: it may have landed at any time after it was sent.
    if (trace !== undefined) applied.push({ commit, startMs, endMs: Number.POSITIVE_INFINITY, revision: trace.revision });
    else for (const key of writtenKeys(commit)) uncertain.add(key);
  }
  applied.sort((one, other) => one.revision - other.revision);
  const versions = new Map<string, Version[]>();
  for (const { commit, revision } of applied) {
    for (const { key, value } of commit.puts ?? []) pushTo(versions, key, { revision, value });
    for (const key of commit.deletes ?? []) pushTo(versions, key, { revision });
  }
  return { applied, versions, uncertain };
}

function judgeRevisions(applied: readonly Applied[]): Violation[] {
  const violations: Violation[] = [];
  let latestStartMs = Number.NEGATIVE_INFINITY;
  for (const [index, { revision, startMs, endMs }] of applied.entries()) {
    if (applied[index - 1]?.revision === revision) {
      violations.push({ law: 'commit/one-revision', message: `two commits were given revision ${revision}` });
    }
    if (endMs < latestStartMs) {
      violations.push({
        law: 'commit/one-revision',
        message: `the commit of revision ${revision} ended before one of a smaller revision began`,
      });
    }
    latestStartMs = Math.max(latestStartMs, startMs);
  }
  return violations;
}

function judgeChecks(timeline: Timeline): Violation[] {
  return timeline.applied.flatMap(({ commit, revision }) =>
    failedChecks(commit, timeline, revision - 1).map(({ key, standing }): Violation => {
      const message = `the commit of revision ${revision} was made though its check of ${show(key)} failed: it stood at ${standing}`;
      return { law: 'commit/check-now', message };
    }),
  );
}

/** A refusal is just if, at one moment of the call, exactly the checks it names failed, and its records stood then or later. */
function judgeRefusal(refusal: Refusal, timeline: Timeline): Violation[] {
  const named = new Map(refusal.answer.conflicts.map(({ key, record }) => [key, record]));
  const certain = [...named.keys()].filter((key) => !timeline.uncertain.has(key)).sort();
  const moments = momentsOf(refusal, timeline);
  const isJust =
    named.size > 0 &&
    moments.some((moment, index) => {
      const failed = new Set(failedChecks(refusal.commit, timeline, moment).map(({ key }) => key));
      if (!isDeepStrictEqual([...failed].sort(), certain)) return false;
      const later = moments.slice(index);
      return certain.every((key) => later.some((moment) => stands(key, named.get(key), timeline, moment)));
    });
  if (isJust) return [];
  const message = `a commit was refused for no moment's reason: ${show(refusal.answer)}, checks ${show(refusal.commit.checks)}`;
  return [{ law: 'commit/conflict-is-a-value', message }];
}

/** A read is just if all its records stood together, at one moment of the call. */
function judgeRead(read: Read, timeline: Timeline): Violation[] {
  const standsAt = (index: number, moment: number) => {
    const key = read.keys[index] ?? '';
    return timeline.uncertain.has(key) || stands(key, read.records[index], timeline, moment);
  };
  const moments = momentsOf(read, timeline);
  const indexes = read.keys.map((_, index) => index);
  if (moments.some((moment) => indexes.every((index) => standsAt(index, moment)))) return [];
  const isTorn = indexes.every((index) => moments.some((moment) => standsAt(index, moment)));
  const message = `a read of ${show(read.keys)} saw what ${isTorn ? 'never stood together' : 'did not stand then'}: ${show(read.records)}`;
  return [{ law: isTorn ? 'commit/all-or-nothing' : 'read/fresh', message }];
}

/** The revisions at which the store may have stood during a call: from the last commit that ended before it on. */
function momentsOf(call: { startMs: number; endMs: number }, { applied }: Timeline): number[] {
  let first = 0;
  let end = Number.POSITIVE_INFINITY;
  for (const { revision, startMs, endMs } of applied) {
    if (endMs < call.startMs) first = Math.max(first, revision);
    if (startMs > call.endMs) end = Math.min(end, revision);
  }
  return [first, ...applied.map(({ revision }) => revision).filter((revision) => revision > first && revision < end)];
}

function failedChecks(commit: Commit, timeline: Timeline, moment: number): { key: string; standing: number }[] {
  return (commit.checks ?? []).flatMap(({ key, revision }) => {
    if (timeline.uncertain.has(key)) return [];
    const version = versionAt(key, timeline, moment);
    const standing = version.value === undefined ? 0 : version.revision;
    return standing === revision ? [] : [{ key, standing }];
  });
}

function stands(key: string, record: StateRecord | undefined, timeline: Timeline, moment: number): boolean {
  const version = versionAt(key, timeline, moment);
  if (record === undefined) return version.value === undefined;
  return (
    version.value !== undefined &&
    record.revision === version.revision &&
    record.key === key &&
    isDeepStrictEqual(record.value, version.value)
  );
}

function versionAt(key: string, { versions }: Timeline, moment: number): Version {
  return versions.get(key)?.findLast(({ revision }) => revision <= moment) ?? ABSENT;
}

function recordsSeen(event: HistoryEvent): StateRecord[] {
  const records = event.kind === 'read' ? event.records : isRefusal(event) ? event.answer.conflicts.map(({ record }) => record) : [];
  return records.filter((record) => record !== undefined);
}

function writtenKeys({ puts = [], deletes = [] }: Commit): string[] {
  return [...puts.map(({ key }) => key), ...deletes];
}

function isRefusal(event: HistoryEvent): event is Refusal {
  return event.kind === 'commit' && event.answer !== 'unknown' && !event.answer.ok;
}

function pushTo(versions: Map<string, Version[]>, key: string, version: Version): void {
  const list = versions.get(key);
  if (list === undefined) versions.set(key, [version]);
  else list.push(version);
}
