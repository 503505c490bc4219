import type { StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { it } from 'mocha';
import { describeEnd, type ProgramEnd, startProgram } from './child.js';
import { testClaims } from './claims.js';
import { CLAIMS, COUNTER, contend, INCREMENTS } from './contention.js';
import { testDisturbances } from './disturbances.js';
import { expectExact } from './expectations.js';
import type { BackendFixture } from './fixture.js';
import { EMPTY_VIEW, followChanges, type View } from './follow-changes.js';
import type { HistoryEvent } from './history.js';
import { judgeHistory } from './judge-history.js';
import { describeSuite, mustCommit, testLaw } from './law-test.js';
import { prove } from './proofs.js';
import { announceSeed } from './seed.js';

const HANDLES = 4;
const PROCESSES = 3;

/**
 * Registers tests in which several handles, and where `reach` says so several processes, contend for one store. All they were
 * answered must fit into the one order that the revisions give; and a loop that such processes share keeps its promises.
 */
export function testConcurrency(fixture: BackendFixture): void {
  describeSuite(fixture, 'concurrency', () => {
    testLaw(fixture, 'commit/check-now', `${HANDLES} handles contend: all answers fit the order of revisions`, async ({ open }) => {
      const random = announceSeed();
      const stores = await openSeveral(open);
      const events = await contend(stores, random, 'here');
      await expectOutcome(stores[0]!, events, HANDLES);
      proveRaces(fixture, events);
    });

    testLaw(fixture, 'commit/all-or-nothing', 'money moves between accounts and is never half-way', async ({ open }) => {
      const random = announceSeed();
      const stores = await openSeveral(open);
      const accounts = ['one', 'two', 'three'];
      await mustCommit(stores[0]!, { puts: accounts.map((key) => ({ key, value: 100 })) });
      let moved = 0;
      await Promise.all(
        stores.map(async (store) => {
          for (let count = 0; count < 40; count++) {
            const [from, to] = (await store.read([random.pick(accounts), random.pick(accounts)])) as unknown as [Balance, Balance];
            const checks = [from, to].map(({ key, revision }) => ({ key, revision }));
            const amount = random.next(10);
            const puts = [
              { key: from.key, value: from.value - amount },
              { key: to.key, value: to.value + amount },
            ];
            if (from.key !== to.key && (await store.commit({ checks, puts })).ok) moved++;
            const balances = (await store.read(accounts)) as Balance[];
            expect(
              balances.reduce((sum, { value }) => sum + value, 0),
              'the sum of all accounts',
            ).to.equal(300);
          }
        }),
      );
      expect(moved, 'transfers').to.be.greaterThan(0);
    });

    testLaw(fixture, 'changes/no-gap', 'readers that follow beside writers end up with all that is there', async ({ open }) => {
      const random = announceSeed();
      const stores = await openSeveral(open);
      const writing = stores.slice(0, 2).map(async (store) => {
        for (let count = 0; count < 80; count++) {
          const [key, other] = [`key-${random.next(12)}`, `other-${random.next(12)}`];
          await mustCommit(
            store,
            random.next(3) === 0 ? { deletes: [key, other] } : { puts: [key, other].map((key) => ({ key, value: count })) },
          );
        }
      });
      let isWriting = true;
      const following = stores.slice(2).map(async (store) => {
        let view: View = EMPTY_VIEW;
        while (isWriting) {
          view = await followChanges(store, view, { mayForget: true });
          await new Promise(setImmediate);
        }
        return followChanges(store, view, { mayForget: true });
      });
      await Promise.all(writing).finally(() => {
        isWriting = false;
      });
      const expected = await followChanges(stores[0]!, EMPTY_VIEW, { mayForget: false });
      for (const view of await Promise.all(following)) expectExact(view.records, expected.records, 'what a follower holds');
    });

    testDisturbances(fixture);

    if (fixture.traits.reach === 'process') {
      it("its reach is 'process': there is no second process that could contend", () => {
        expect(fixture.traits.reach).to.equal('process');
      });
      return;
    }
    testLaw(
      fixture,
      'commit/check-now',
      `${PROCESSES} processes and this one contend: all answers fit the order of revisions`,
      async ({ url, open }) => {
        const random = announceSeed();
        const stores = await openSeveral(open);
        const programs = await Promise.all(Array.from({ length: PROCESSES }, () => startProgram('race', fixture, url)));
        try {
          await Promise.all(programs.map((program) => program.line('ready')));
          for (const [index, program] of programs.entries())
            program.send(JSON.stringify({ name: `process-${index}`, seed: random.next(2 ** 31) }));
          const events = await contend(stores, random, 'here');
          for (const { ended } of programs) events.push(...eventsOf(await ended));
          await expectOutcome(stores[0]!, events, HANDLES + PROCESSES);
          proveRaces(fixture, events);
        } finally {
          for (const program of programs) program.kill();
        }
      },
    );
    testClaims(fixture);
  });
}

interface Balance {
  readonly key: string;
  readonly value: number;
  readonly revision: number;
}

async function openSeveral(open: () => Promise<StateBackend>): Promise<StateBackend[]> {
  const stores: StateBackend[] = [];
  for (let count = 0; count < HANDLES; count++) stores.push(await open());
  return stores;
}

/** No update was lost, each claim has one winner, and the history as a whole is one that a correct store can give. */
async function expectOutcome(store: StateBackend, events: readonly HistoryEvent[], contenders: number): Promise<void> {
  const [counter] = await store.read([COUNTER]);
  const winners = new Map<string, number>();
  let unknown = 0;
  for (const event of events) {
    if (event.kind !== 'commit') continue;
    if (event.answer === 'unknown') unknown++;
    else if (event.answer.ok)
      for (const { key } of event.commit.puts ?? []) if (CLAIMS.includes(key)) winners.set(key, (winners.get(key) ?? 0) + 1);
  }
  expectExact(judgeHistory(events), [], `the violations in ${events.length} calls`);
  // A lost reply may have counted, or have claimed.
  if (unknown > 0) return;
  expect((counter?.value as { count: number } | undefined)?.count, 'the counter').to.equal(contenders * INCREMENTS);
  expectExact(winners, new Map(CLAIMS.map((key) => [key, 1])), 'the winners of each claim');
}

function proveRaces({ name }: BackendFixture, events: readonly HistoryEvent[]): void {
  const commits = events.filter(({ kind }) => kind === 'commit').length;
  prove({ test: 'S12 races of handles', backend: name, counts: { commits }, least: { commits: HANDLES * INCREMENTS } });
}

function eventsOf(end: ProgramEnd): HistoryEvent[] {
  const line = end.lines.find((text) => text.startsWith('events '));
  if (line === undefined) throw new Error(`A process did not tell what it did: ${describeEnd(end)}`);
  const events = JSON.parse(line.slice('events '.length)) as HistoryEvent[];
  // JSON has no undefined: an absent record came as null.
  return events.map((event) => (event.kind === 'read' ? { ...event, records: event.records.map((record) => record ?? undefined) } : event));
}
