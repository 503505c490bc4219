/**
 * What several handles do to one store at the same time, in one process or in many. Every call is recorded, so that
 * `judgeHistory` can decide afterwards whether the answers fit together.
 */
import { type Commit, type CommitResult, isLoopStateError, type StateBackend, type StateRecord } from '@loopstate/core';
import { AssertionError } from 'chai';
import { nowMs } from './clock.js';
import type { HistoryEvent } from './history.js';
import { createRandom, type Random } from './seed.js';

/** Each contender adds so much to the counter. */
export const INCREMENTS = 15;

/** The keys that each contender tries to claim. */
export const CLAIMS: readonly string[] = Array.from({ length: 30 }, (_, index) => `claim/${index}`);

/** The key that counts the increments of all. */
export const COUNTER = 'counter';

const WANDERINGS = 60;
const SHARED_KEYS = ['one', 'two', 'three', 'four', 'five'];
// A lock-free counter lets somebody win each round; a store that never lets anybody win must not run for ever.
const ATTEMPTS_MAX = 5_000;

/** A handle whose calls are written down. A commit that rejected without effect is not: nothing happened. */
export interface RecordedStore {
  read(keys: readonly string[]): Promise<readonly (StateRecord | undefined)[]>;
  commit(commit: Commit): Promise<CommitResult | 'unknown'>;
}

/** Wraps a handle; calls are added to `events` when they end, with times that all processes of this host share. */
export function recordCalls(store: StateBackend, events: HistoryEvent[]): RecordedStore {
  return {
    async read(keys) {
      const startMs = nowMs();
      const records = await store.read(keys);
      events.push({ kind: 'read', startMs, endMs: nowMs(), keys, records });
      return records;
    },
    async commit(commit) {
      const startMs = nowMs();
      const answer = await store.commit(commit).catch((error: unknown) => {
        if (isLoopStateError(error, 'LOOPSTATE_OUTCOME_UNKNOWN')) return 'unknown' as const;
        throw error;
      });
      events.push({ kind: 'commit', startMs, endMs: nowMs(), commit, answer });
      return answer;
    },
  };
}

/** Lets all handles contend at once, and resolves with every call that was made. `name` tells the contenders apart. */
export async function contend(stores: readonly StateBackend[], random: Random, name: string): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = [];
  await Promise.all(
    stores.map(async (store, index) => {
      const recorded = recordCalls(store, events);
      const own = createRandom(random.seed + index);
      await Promise.all([
        increment(recorded, `${name}.${index}`),
        claimAll(recorded, `${name}.${index}`),
        wander(recorded, own, `${name}.${index}`),
      ]);
    }),
  );
  return events;
}

/** Adds to the counter by «read, then commit if it still stands», as often as that takes. */
async function increment(store: RecordedStore, name: string): Promise<void> {
  let done = 0;
  for (let attempt = 0; done < INCREMENTS; attempt++) {
    if (attempt > ATTEMPTS_MAX) throw new AssertionError(`${name} was refused ${attempt - done} times and counted to ${done} only`);
    const [record] = await store.read([COUNTER]);
    const count = record === undefined ? 0 : (record.value as { count: number }).count;
    // The name makes the value unique, which the judge asks for.
    const value = { count: count + 1, by: `${name}.${done}` };
    const answer = await store.commit({ checks: [{ key: COUNTER, revision: record?.revision ?? 0 }], puts: [{ key: COUNTER, value }] });
    if (answer !== 'unknown' && answer.ok) done++;
  }
}

async function claimAll(store: RecordedStore, name: string): Promise<void> {
  for (const key of CLAIMS) await store.commit({ checks: [{ key, revision: 0 }], puts: [{ key, value: name }] });
}

/** Reads and commits at random, with checks of what it last saw: some of them stale by then. */
async function wander(store: RecordedStore, random: Random, name: string): Promise<void> {
  const seen = new Map<string, number>();
  for (let count = 0; count < WANDERINGS; count++) {
    const first = random.next(SHARED_KEYS.length);
    const keys = [...SHARED_KEYS, ...SHARED_KEYS].slice(first, first + 1 + random.next(3));
    if (random.next(3) === 0) {
      const records = await store.read(SHARED_KEYS);
      for (const [index, key] of SHARED_KEYS.entries()) seen.set(key, records[index]?.revision ?? 0);
      continue;
    }
    const deletes = keys.filter(() => random.next(5) === 0);
    const puts = keys.filter((key) => !deletes.includes(key)).map((key) => ({ key, value: { by: name, count } }));
    // One more is checked than written, as whoever claims an item checks that its own run stands.
    const guarded = [...SHARED_KEYS, ...SHARED_KEYS].slice(first, first + 1 + keys.length);
    const checks = guarded.filter(() => random.next(4) > 0).map((key) => ({ key, revision: seen.get(key) ?? 0 }));
    const answer = await store.commit({ checks, puts, deletes });
    if (answer === 'unknown') continue;
    if (answer.ok) for (const key of keys) seen.set(key, deletes.includes(key) ? 0 : answer.revision);
    else for (const { key, record } of answer.conflicts) seen.set(key, record?.revision ?? 0);
  }
}
