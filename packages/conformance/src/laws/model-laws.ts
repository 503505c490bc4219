import {
  applyCommit,
  type Commit,
  checkCommit,
  createMemoryStore,
  type MemoryState,
  type StateBackend,
  type StateRecord,
} from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import { expectExact } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { EMPTY_VIEW, followChanges, type View } from '../follow-changes.js';
import { testLaw } from '../law-test.js';
import { announceSeed, type Random } from '../seed.js';
import { show } from '../show.js';

const COMMITS = 400;
const KEYS = ['a', 'A', 'b', 'b:c', '__proto__', 'é', 'e\u0301', '%', '\0', '🙂', 'constructor', ' b'];

/** Long random histories, held against the pure model of the contract. */
export function testModelLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'commit/check-now', `${COMMITS} random commits are answered as the model answers them`, async ({ open }) => {
    const random = announceSeed();
    const handles = [await open(), await open()];
    let state = createMemoryStore().state;
    let view: View = EMPTY_VIEW;
    let refusals = 0;
    for (let count = 0; count < COMMITS; count++) {
      const handle = random.next(2);
      const commit = randomCommit(random, state);
      const answer = await handles[handle]!.commit(commit);
      state = followModel(state, commit, answer, count);
      if (!answer.ok) refusals++;
      if (random.next(20) === 0) await expectModel(random.pick(handles), state, KEYS);
      if (random.next(10) === 0) view = await followChanges(random.pick(handles), view, { mayForget: true });
      if (random.next(60) !== 0) continue;
      await handles[handle]!.close();
      handles[handle] = await open();
    }
    expect(refusals, 'refused commits, without which little was tried').to.be.within(COMMITS / 10, (COMMITS * 9) / 10);
    await expectModel(handles[0]!, state, KEYS);
    expectExact(
      (await followChanges(handles[1]!, view, { mayForget: true })).records,
      await presentRecords(handles[0]!),
      'the followed view',
    );
    await Promise.all(handles.map((handle) => handle.close()));
    await expectModel(await open(), state, KEYS);
  });
}

/** Some checks hold and some don't: revisions are picked from what stands, what stood, and 0. */
function randomCommit(random: Random, state: MemoryState): Commit {
  const shuffled = [...KEYS].sort(() => random.next(3) - 1);
  const written = shuffled.slice(0, 1 + random.next(4));
  const deletes = written.filter(() => random.next(4) === 0);
  const puts = written.filter((key) => !deletes.includes(key)).map((key) => ({ key, value: { number: random.next(1_000), of: key } }));
  const checks = shuffled.slice(random.next(3), random.next(5)).map((key) => {
    const entry = state.entries.get(key);
    const standing = entry?.text === undefined ? 0 : entry.revision;
    const other = random.pick([0, entry?.revision ?? 0, state.revision, state.revision + 1]);
    return { key, revision: random.next(4) === 0 ? other : standing };
  });
  return { checks, puts, deletes, durability: random.pick(['synced', 'written'] as const) };
}

/** The store chooses the revision of a commit, as long as it grows; all else the model knows beforehand. */
function followModel(state: MemoryState, commit: Commit, answer: Awaited<ReturnType<StateBackend['commit']>>, count: number): MemoryState {
  if (answer.ok && answer.revision <= state.revision) {
    throw new AssertionError(`commit ${count} got revision ${answer.revision} after ${state.revision}: ${show(commit)}`);
  }
  const chosen = answer.ok ? { ...state, revision: answer.revision - 1 } : state;
  const expected = applyCommit(chosen, checkCommit(commit), 0);
  expectExact(normalize(answer), normalize(expected.result), `the answer to commit ${count}, ${show(commit)}`);
  return expected.state;
}

function normalize(answer: Awaited<ReturnType<StateBackend['commit']>>): unknown {
  if (answer.ok) return answer;
  return new Map(answer.conflicts.map(({ key, record }) => [key, record && { value: record.value, revision: record.revision }]));
}

async function expectModel(store: StateBackend, state: MemoryState, keys: readonly string[]): Promise<void> {
  const expected = new Map<string, unknown>();
  for (const [key, { text, revision }] of state.entries) if (text !== undefined) expected.set(key, { value: JSON.parse(text), revision });
  const read = (await store.read(keys)).flatMap((record) => (record === undefined ? [] : [record]));
  expectExact(pictures(read), expected, 'what is read');
  expectExact(pictures((await presentRecords(store)).values()), expected, 'what changes(0) yields');
}

async function presentRecords(store: StateBackend): Promise<View['records']> {
  return (await followChanges(store, EMPTY_VIEW, { mayForget: false })).records;
}

function pictures(records: Iterable<StateRecord>): Map<string, unknown> {
  return new Map(Array.from(records, ({ key, value, revision }) => [key, { value, revision }]));
}
