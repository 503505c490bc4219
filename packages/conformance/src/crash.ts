import { setTimeout as sleep } from 'node:timers/promises';
import { type Durability, isLoopStateError, type StateBackend } from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import { it } from 'mocha';
import { describeEnd, type Program, type ProgramEnd, startProgram } from './child.js';
import { expectExact } from './expectations.js';
import type { BackendFixture } from './fixture.js';
import { EMPTY_VIEW, followChanges } from './follow-changes.js';
import { describeSuite, type Ground, mustCommit, testLaw } from './law-test.js';
import { judgeSurvivors, numberedCommit } from './numbered-commits.js';
import { announceSeed, type Random } from './seed.js';

/** What a program that commits until it is killed is told. */
export interface Orders {
  /** The number of its first commit. */
  readonly from: number;
  readonly inFlight: number;
  readonly durability: Durability;
}

const WAYS: readonly Omit<Orders, 'from'>[] = [
  { inFlight: 1, durability: 'synced' },
  { inFlight: 8, durability: 'synced' },
  { inFlight: 8, durability: 'written' },
];
// At least one in each way: a crash test without a crash proves nothing.
const KILLS = Math.max(WAYS.length, Number(process.env.LOOPSTATE_KILLS) || 15);
const KILL_AFTER_MS = { least: 100, most: 400 };
const TIMEOUT_MS = 20_000 + KILLS * 4_000;

/**
 * Registers tests that kill processes in the middle of their commits and look at what is left: all that was acknowledged, nothing
 * that was never tried, nothing by halves. `LOOPSTATE_KILLS` sets how many are killed in all; 15 by default.
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
    for (const way of WAYS) {
      const kills = Math.ceil(KILLS / WAYS.length);
      const title = `${kills} times killed with ${way.inFlight} in flight, ${way.durability}: all that was acknowledged is there`;
      testLaw(fixture, 'commit/acked-survives', title, (ground) => liveAndDie(fixture, ground, way, { kills })).timeout(TIMEOUT_MS);
    }
    const { crashStore } = fixture.faults ?? {};
    if (crashStore === undefined) return;
    testLaw(fixture, 'commit/acked-survives', 'the store itself crashed: all that was acknowledged is there', (ground) =>
      outliveTheStore(ground, crashStore),
    ).timeout(TIMEOUT_MS);
  });
}

/** Several lives of one store: each is opened by a process that commits until it is killed, and then judged here. */
async function liveAndDie(
  fixture: BackendFixture,
  { url, open }: Ground,
  way: (typeof WAYS)[number],
  { kills }: { kills: number },
): Promise<void> {
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
      const store = await open();
      await history.judge(store);
      await store.close();
    }
  } finally {
    next.kill();
  }
  history.report();
  expect(history.crashes, 'kills that hit a process which had commits acknowledged').to.equal(kills);
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
async function outliveTheStore({ url, open }: Ground, crashStore: (url: string) => Promise<void>): Promise<void> {
  const random = announceSeed();
  const history = new CrashHistory();
  for (let round = 0; round < 3; round++) {
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
    const reopened = await open();
    await history.judge(reopened);
    await reopened.close();
  }
  history.report();
}

/**
 * What is known of one store over all its lives.
 *
 * **Invariants:**
 * - `#owed` grows only: what was acknowledged, or found after a crash, is owed by every later life.
 * - No number is tried twice.
 */
class CrashHistory {
  crashes = 0;
  readonly #tried = new Set<number>();
  readonly #owed = new Map<number, number>();
  #lastNumber = 0;
  #lastRevision = 0;

  get nextNumber(): number {
    return this.#lastNumber + 1;
  }

  /** Takes down what a process said before it ended. */
  note({ lines }: Pick<ProgramEnd, 'lines'>): void {
    const revisionBefore = this.#lastRevision;
    const owedBefore = this.#owed.size;
    for (const line of lines) {
      const [word = '', ...numbers] = line.split(' ');
      const [number = 0, revision = 0] = numbers.map(Number);
      if (word === 'tried') this.#try(number);
      if (word !== 'acknowledged') continue;
      expect(revision, 'a revision, after all those of earlier lives').to.be.greaterThan(revisionBefore);
      this.#owe(number, revision);
    }
    if (this.#owed.size > owedBefore) this.crashes++;
  }

  /** Holds what a reopened store says against what is known, and lets it go on. */
  async judge(store: StateBackend): Promise<void> {
    expectExact(
      store.recovery.filter(({ severity }) => severity === 'loss'),
      [],
      'losses that opening reports',
    );
    const view = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    const { standing, violations } = judgeSurvivors(view.records, { tried: this.#tried, owed: this.#owed });
    expectExact(violations.slice(0, 10), [], `the violations in ${view.records.size} records`);
    for (const [number, revision] of standing) this.#owe(number, revision);
    const number = this.nextNumber;
    const revision = await mustCommit(store, numberedCommit(number));
    expect(revision, 'the first revision after a crash').to.be.greaterThan(Math.max(this.#lastRevision, view.cursor));
    this.#try(number);
    this.#owe(number, revision);
  }

  report(): void {
    console.log(`      ${this.crashes} crashes, ${this.#tried.size} commits tried, ${this.#owed.size} owed and there`);
  }

  #try(number: number): void {
    this.#tried.add(number);
    this.#lastNumber = Math.max(this.#lastNumber, number);
  }

  #owe(number: number, revision: number): void {
    this.#owed.set(number, revision);
    this.#lastRevision = Math.max(this.#lastRevision, revision);
  }
}
