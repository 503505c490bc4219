import { type Commit, isLoopStateError, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { type RecordedStore, recordCalls } from './contention.js';
import { expectExact } from './expectations.js';
import type { BackendFixture, Network } from './fixture.js';
import { type CommitEvent, type HistoryEvent, recordsSeen } from './history.js';
import { judgeHistory } from './judge-history.js';
import { type Ground, testLaw } from './law-test.js';
import { prove } from './proofs.js';
import { announceSeed, createRandom, type Random } from './seed.js';

const HANDLES = 3;
const DISTURBANCES = 12;
const KEYS = ['one', 'two', 'three', 'four', 'five', 'six'];
/** Before the key that a commit alone puts: what tells later that it took place, even if it deletes all else that it writes. */
const MARK = 'mark/';
const PAUSE_MS = 20;
const QUIET_MS = 60;
const TIMEOUT_MS = 60_000;

/**
 * Registers, where the fixture has a network, a test in which that fails again and again while handles contend. Commits whose replies
 * are lost have an unknown outcome, and are not repeated by anybody. Each puts a key of its own beside the others, its mark, by which
 * it is known in the end whether it took place; of commits that were refused, or rejected without effect, no mark may be found.
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
      const made = withoutUnmade(events);
      const commits = events.filter(({ kind }) => kind === 'commit');
      const unknown = events.filter(isUnknown).length;
      console.log(`      ${unknown} of ${commits.length} commits had an unknown outcome, ${made.filter(isUnknown).length} took place`);
      expect(unknown, 'commits of unknown outcome').to.be.greaterThan(0);
      expectExact(judgeHistory(made), [], `the violations in ${events.length} calls`);
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
  const [marks] = await Promise.all([
    Promise.all(contending),
    disturbing().finally(() => {
      isOver = true;
    }),
  ]);
  await recordCalls(undisturbed, events).read([...KEYS, ...marks.flat()]);
  return events;
}

function isUnknown(event: HistoryEvent): event is CommitEvent {
  return event.kind === 'commit' && event.answer === 'unknown';
}

/** The key that this commit alone puts. */
function markOf({ commit }: CommitEvent): string {
  const mark = commit.puts?.find(({ key }) => key.startsWith(MARK));
  if (mark === undefined) throw new TypeError('A commit has no mark.');
  return mark.key;
}

/**
 * Leaves out the commits of unknown outcome whose marks were not there in the end: they had not taken place by then, so that nobody can
 * have seen anything of them, and nothing has to be supposed to judge the others.
 */
function withoutUnmade(events: readonly HistoryEvent[]): HistoryEvent[] {
  const seen = new Set(events.flatMap(recordsSeen).map(({ key }) => key));
  return events.filter((event) => !isUnknown(event) || seen.has(markOf(event)));
}

/** Reads and commits at random until it is over, with checks of what it last saw. Resolves with the marks of all steps. */
async function wander(store: RecordedStore, random: Random, { name, isOver }: { name: string; isOver: () => boolean }): Promise<string[]> {
  const seen = new Map<string, number>();
  const marks: string[] = [];
  while (!isOver()) {
    const mark = `${MARK}${name}.${marks.length}`;
    marks.push(mark);
    try {
      await takeStep(store, random, seen, mark);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_UNAVAILABLE')) throw error;
      await pause(PAUSE_MS);
    }
    await pause(random.next(PAUSE_MS / 4));
  }
  return marks;
}

async function takeStep(store: RecordedStore, random: Random, seen: Map<string, number>, mark: string): Promise<void> {
  const first = random.next(KEYS.length);
  const keys = [...KEYS, ...KEYS].slice(first, first + 1 + random.next(3));
  if (random.next(3) === 0) {
    const records = await store.read(keys);
    for (const [index, key] of keys.entries()) seen.set(key, records[index]?.revision ?? 0);
    return;
  }
  const deletes = keys.filter(() => random.next(4) === 0);
  const puts = [...keys.filter((key) => !deletes.includes(key)), mark].map((key) => ({ key, value: mark }));
  const commit: Commit = { checks: keys.map((key) => ({ key, revision: seen.get(key) ?? 0 })), puts, deletes };
  const answer = await store.commit(commit);
  if (answer === 'unknown') return;
  if (answer.ok) for (const key of keys) seen.set(key, deletes.includes(key) ? 0 : answer.revision);
  else for (const { key, record } of answer.conflicts) seen.set(key, record?.revision ?? 0);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
