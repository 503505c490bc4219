import { type Commit, isLoopStateError, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { type RecordedStore, recordCalls } from './contention.js';
import { expectExact } from './expectations.js';
import type { BackendFixture, Network } from './fixture.js';
import type { HistoryEvent } from './history.js';
import { judgeHistory } from './judge-history.js';
import { type Ground, testLaw } from './law-test.js';
import { prove } from './proofs.js';
import { announceSeed, createRandom, type Random } from './seed.js';

const HANDLES = 3;
const DISTURBANCES = 12;
const KEYS = ['one', 'two', 'three', 'four', 'five', 'six'];
const PAUSE_MS = 20;
const QUIET_MS = 60;
const TIMEOUT_MS = 60_000;

/**
 * Registers, where the fixture has a network, a test in which that fails again and again while handles contend. Commits whose replies
 * are lost have an unknown outcome, and are not repeated by anybody; what was answered, and what is read, decides about them.
 */
export function testDisturbances(fixture: BackendFixture): void {
  const { network } = fixture.faults ?? {};
  if (network === undefined) return;
  const disturbances = Math.ceil(DISTURBANCES * (fixture.effort ?? 1));
  const title = `the network fails ${disturbances} times under ${HANDLES} handles: what was answered and seen fits together`;
  testLaw(fixture, 'commit/three-answers', title, async (ground) => {
    const between = await network(ground.url);
    const stores: StateBackend[] = [];
    try {
      for (let count = 0; count < HANDLES; count++) stores.push(await fixture.open(between.url));
      const events = await contendInDisturbances(stores, await ground.open(), between, { disturbances });
      const commits = events.filter(({ kind }) => kind === 'commit');
      const unknown = commits.filter((event) => event.kind === 'commit' && event.answer === 'unknown').length;
      console.log(`      ${unknown} of ${commits.length} commits had an unknown outcome`);
      expect(unknown, 'commits of unknown outcome').to.be.greaterThan(0);
      expectExact(judgeHistory(events), [], `the violations in ${events.length} calls`);
      const counts = { cases: disturbances, commits: commits.length };
      prove({ test: 'S11 disturbed network', backend: fixture.name, counts, least: { cases: disturbances } });
    } finally {
      await Promise.allSettled(stores.map((store) => store.close()));
      await between.remove();
    }
  }).timeout(TIMEOUT_MS);
}

async function contendInDisturbances(
  stores: readonly StateBackend[],
  undisturbed: Awaited<ReturnType<Ground['open']>>,
  network: Network,
  { disturbances }: { disturbances: number },
): Promise<HistoryEvent[]> {
  const random = announceSeed();
  const events: HistoryEvent[] = [];
  let isOver = false;
  const contending = [...stores, undisturbed].map((store, index) =>
    wander(recordCalls(store, events), createRandom(random.seed + index), { name: `handle-${index}`, isOver: () => isOver }),
  );
  const disturbing = async () => {
    for (let count = 0; count < disturbances; count++) {
      await network.disturb(random.next(1_000) / 1_000);
      await pause(QUIET_MS + random.next(QUIET_MS));
    }
  };
  await Promise.all([
    disturbing().finally(() => {
      isOver = true;
    }),
    ...contending,
  ]);
  await recordCalls(undisturbed, events).read(KEYS);
  return events;
}

/** Reads and commits at random until it is over, with checks of what it last saw. What was not done for certain is done again later. */
async function wander(store: RecordedStore, random: Random, { name, isOver }: { name: string; isOver: () => boolean }): Promise<void> {
  const seen = new Map<string, number>();
  for (let count = 0; !isOver(); count++) {
    try {
      await takeStep(store, random, seen, `${name}.${count}`);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_UNAVAILABLE')) throw error;
      await pause(PAUSE_MS);
    }
    await pause(random.next(PAUSE_MS / 4));
  }
}

async function takeStep(store: RecordedStore, random: Random, seen: Map<string, number>, value: string): Promise<void> {
  const first = random.next(KEYS.length);
  const keys = [...KEYS, ...KEYS].slice(first, first + 1 + random.next(3));
  if (random.next(3) === 0) {
    const records = await store.read(keys);
    for (const [index, key] of keys.entries()) seen.set(key, records[index]?.revision ?? 0);
    return;
  }
  const deletes = keys.filter(() => random.next(4) === 0);
  const puts = keys.filter((key) => !deletes.includes(key)).map((key) => ({ key, value }));
  const commit: Commit = { checks: keys.map((key) => ({ key, revision: seen.get(key) ?? 0 })), puts, deletes };
  const answer = await store.commit(commit);
  if (answer === 'unknown') return;
  if (answer.ok) for (const key of keys) seen.set(key, deletes.includes(key) ? 0 : answer.revision);
  else for (const { key, record } of answer.conflicts) seen.set(key, record?.revision ?? 0);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
