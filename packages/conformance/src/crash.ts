import { setTimeout as sleep } from 'node:timers/promises';
import { type Durability, isLoopStateError } from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import { it } from 'mocha';
import { describeEnd, type Program, type ProgramEnd, startProgram } from './child.js';
import { CrashHistory } from './crash-history.js';
import { type Failpoint, FailpointPlan } from './failpoints.js';
import type { BackendFixture } from './fixture.js';
import { describeSuite, type Ground, mustCommit, onFreshGround, testLaw } from './law-test.js';
import { numberedCommit } from './numbered-commits.js';
import { prove } from './proofs.js';
import { announceSeed, type Random } from './seed.js';

/** What a program that commits until it is killed is told. */
export interface Orders {
  /** The number of its first commit. */
  readonly from: number;
  readonly inFlight: number;
  readonly durability: Durability;
  /** Given: it takes its durable steps one by one, and dies at one of them, or ends after so many commits. */
  readonly steps?: { readonly commits: number; readonly dieAt?: Failpoint };
}

type Way = Omit<Orders, 'from' | 'steps'>;
const REHEARSED: Way = { inFlight: 1, durability: 'synced' };
const WAYS: readonly Way[] = [REHEARSED, { inFlight: 8, durability: 'synced' }, { inFlight: 8, durability: 'written' }];
const KILLS = Number(process.env.LOOPSTATE_KILLS) || 15;
const KILL_AFTER_MS = { least: 100, most: 400 };
const FAILPOINT_KILLS_PER_KILL = 8;
const DEATHS_AT_A_MOMENT_MAX = 10;
const STORE_CRASHES = 3;
const LIVES_OF_A_STORE = 10;
const COMMITS_OF_A_LIFE = 16;

/**
 * Registers tests that kill processes in the middle of their commits and look at what is left: all that was acknowledged, nothing
 * that was never tried, nothing by halves. `LOOPSTATE_KILLS` sets how many are killed at random, 15 by default; where the fixture
 * has failpoints, eight times as many die at those.
 */
export function testCrash(fixture: BackendFixture): void {
  const { survives } = fixture.traits;
  describeSuite(fixture, 'crash', () => {
    if (survives === 'nothing') {
      it("it survives 'nothing': what a killed process kept there is gone with it, as declared", async () => {
        const place = await fixture.createPlace();
        const store = await fixture.open(place.url);
        expect(store.traits.survives).to.equal('nothing');
        await store.close();
        await place.remove();
      });
      return;
    }
    const { effort = 1 } = fixture;
    const { crashStore, failpoints } = fixture.faults ?? {};
    if (failpoints !== undefined) {
      const killsMax = Math.ceil(KILLS * FAILPOINT_KILLS_PER_KILL * effort);
      const title = 'killed before, amid and after each durable step: all that was acknowledged is there';
      testLaw(fixture, 'commit/acked-survives', title, () => dieAtEveryStep(fixture, { killsMax })).timeout(timeoutMs(killsMax));
    }
    for (const way of WAYS) {
      // At least one in each way: a crash test without a crash proves nothing.
      const kills = Math.ceil((KILLS * effort) / WAYS.length);
      const title = `${kills} times killed with ${way.inFlight} in flight, ${way.durability}: all that was acknowledged is there`;
      testLaw(fixture, 'commit/acked-survives', title, (ground) => liveAndDie(fixture, ground, way, { kills })).timeout(timeoutMs(kills));
    }
    if (crashStore === undefined) return;
    const kills = Math.ceil(STORE_CRASHES * effort);
    testLaw(fixture, 'commit/acked-survives', 'the store itself crashed: all that was acknowledged is there', async (ground) => {
      const { commits } = await outliveTheStore(ground, crashStore, { kills });
      prove({ test: 'S8 store crashes', backend: fixture.name, counts: { kills, commits }, least: { kills } });
    }).timeout(timeoutMs(kills));
  });
}

/** Starting a process through a loader takes seconds, on a machine that does much else. */
function timeoutMs(kills: number): number {
  return 60_000 + kills * 8_000;
}

/** Processes die at failpoints, on one store after another: each lives through several deaths, and steps that only an empty one takes come too. */
async function dieAtEveryStep(fixture: BackendFixture, { killsMax }: { killsMax: number }): Promise<void> {
  const random = announceSeed();
  const plan = new FailpointPlan(await onFreshGround(fixture, ({ url }) => rehearse(fixture, url)), random);
  const kills = Math.min(killsMax, plan.moments * DEATHS_AT_A_MOMENT_MAX);
  let died = 0;
  let commits = 0;
  while (died < kills || plan.missing.length > 0) {
    const lives = await onFreshGround(fixture, (ground) => liveAndDieAtSteps(fixture, ground, plan, random));
    died += lives.kills;
    commits += lives.commits;
  }
  console.log(`      died before/amid/after: ${plan.summary}`);
  prove({ test: 'S7 failpoint kills', backend: fixture.name, counts: { kills: died, commits }, least: { kills } });
}

/** One life that is not cut short, to learn which steps there are. */
async function rehearse(fixture: BackendFixture, url: string): Promise<ReadonlyMap<string, number>> {
  const program = await startProgram('commit-until-killed', fixture, url);
  const orders: Orders = { ...REHEARSED, from: 1, steps: { commits: COMMITS_OF_A_LIFE } };
  program.send(JSON.stringify(orders));
  const end = await program.ended;
  if (end.exitCode !== 0) throw new AssertionError(`the process did not come to its end: ${describeEnd(end)}`);
  const counts = new Map<string, number>();
  for (const line of end.lines) {
    const { name, count } = /^step (?<count>\d+) (?<name>.+)$/.exec(line)?.groups ?? {};
    if (name !== undefined) counts.set(name, Number(count));
  }
  expect(counts.size, 'the kinds of durable steps that openWithFailpoints took').to.be.greaterThan(0);
  return counts;
}

/** Several lives of one store. After some of them the next process finds it as the last one left it; after the others it is judged here. */
async function liveAndDieAtSteps(
  fixture: BackendFixture,
  { url, open }: Ground,
  plan: FailpointPlan,
  random: Random,
): Promise<{ kills: number; commits: number }> {
  const history = new CrashHistory();
  const start = () => startProgram('commit-until-killed', fixture, url);
  let next = await start();
  let kills = 0;
  let isJudged = true;
  try {
    for (let life = 1; life <= LIVES_OF_A_STORE; life++) {
      const program = next;
      const dieAt = life === 1 ? plan.first() : plan.next();
      if (dieAt === undefined) break;
      // On an empty place as at the rehearsal, so that the step is sure to be reached.
      const way = life === 1 ? REHEARSED : random.pick(WAYS);
      const orders: Orders = { ...way, from: history.nextNumber, steps: { commits: COMMITS_OF_A_LIFE, dieAt } };
      program.send(JSON.stringify(orders));
      next = await start();
      const end = await program.ended;
      history.note(end);
      const hasDied = end.signal === 'SIGKILL' && end.lines.at(-1) === `died ${dieAt.moment} ${dieAt.step}`;
      if (hasDied) {
        kills++;
        plan.note(dieAt);
      } else if (end.exitCode === 0 && life > 1) {
        plan.noteMissed(dieAt);
      } else {
        throw new AssertionError(`the process did not die ${dieAt.moment} step ${dieAt.nth} of "${dieAt.step}": ${describeEnd(end)}`);
      }
      isJudged = random.next(2) === 0;
      if (isJudged) await judgeReopened(history, open);
    }
    if (!isJudged) await judgeReopened(history, open);
  } finally {
    next.kill();
  }
  return { kills, commits: history.commits };
}

/** Several lives of one store: each is opened by a process that commits until it is killed, and then judged here. */
async function liveAndDie(fixture: BackendFixture, { url, open }: Ground, way: Way, { kills }: { kills: number }): Promise<void> {
  const random = announceSeed();
  const history = new CrashHistory();
  // The next process starts up while this one is still at it: starting takes longer than the rest.
  const start = () => startProgram('commit-until-killed', fixture, url);
  let next = await start();
  try {
    for (let life = 1; life <= kills; life++) {
      const program = next;
      await program.line('ready');
      if (life < kills) next = await start();
      history.note(await killInTheMiddle(program, { ...way, from: history.nextNumber }, random));
      await judgeReopened(history, open);
    }
  } finally {
    next.kill();
  }
  const counts = { kills: history.crashes, commits: history.commits };
  prove({ test: 'S8 random kills', backend: fixture.name, counts, least: { kills } });
}

async function killInTheMiddle(program: Program, orders: Orders, random: Random): Promise<ProgramEnd> {
  program.send(JSON.stringify(orders));
  await program.line('acknowledged');
  await sleep(KILL_AFTER_MS.least + random.next(KILL_AFTER_MS.most - KILL_AFTER_MS.least));
  program.kill();
  const end = await program.ended;
  if (end.signal !== 'SIGKILL') throw new AssertionError(`the process ended before it was killed: ${describeEnd(end)}`);
  return end;
}

/** The process that keeps the store crashes; this one lives on, and may be left without an answer to what was in flight. */
async function outliveTheStore(
  { url, open }: Ground,
  crashStore: (url: string) => Promise<void>,
  { kills }: { kills: number },
): Promise<{ commits: number }> {
  const random = announceSeed();
  const history = new CrashHistory();
  for (let round = 0; round < kills; round++) {
    const store = await open();
    const lines: string[] = [];
    let number = history.nextNumber;
    const commitOn = async () => {
      for (;;) {
        const own = number++;
        lines.push(`tried ${own}`);
        lines.push(`acknowledged ${own} ${await mustCommit(store, numberedCommit(own))}`);
      }
    };
    const committing = Promise.allSettled([commitOn(), commitOn(), commitOn(), commitOn()]);
    await sleep(30 + random.next(100));
    await crashStore(url);
    // The next calls of these loops fail at the latest.
    await store.close();
    for (const { reason } of (await committing) as PromiseRejectedResult[]) {
      const isExpected = ['LOOPSTATE_OUTCOME_UNKNOWN', 'LOOPSTATE_UNAVAILABLE', 'LOOPSTATE_CLOSED'].some(
        (code) => isLoopStateError(reason) && reason.code === code,
      );
      if (!isExpected) throw reason;
    }
    history.note({ lines });
    await judgeReopened(history, open);
  }
  return { commits: history.commits };
}

async function judgeReopened(history: CrashHistory, open: Ground['open']): Promise<void> {
  const store = await open();
  await history.judge(store);
  await store.close();
}
