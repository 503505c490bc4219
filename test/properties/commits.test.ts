/**
 * Whatever is committed, in whatever groups, from whichever handle, before and after reopening: every answer and every record is the one
 * of the pure model. Random commits are applied to a real store and to `applyCommit`, side by side.
 */
import { prove } from '@loopstate/conformance';
import {
  applyCommit,
  type Commit,
  type CommitResult,
  type Conflict,
  checkCommit,
  createMemoryStore,
  isLoopStateError,
  type Json,
  type MemoryState,
  type StateBackend,
} from '@loopstate/core';
import { AssertionError } from 'chai';
import fc from 'fast-check';
import { expectExact } from '../../packages/conformance/src/expectations.js';
import { EMPTY_VIEW, followChanges, type View } from '../../packages/conformance/src/follow-changes.js';
import { show } from '../../packages/conformance/src/show.js';
import { holdsFor, PROPERTY_TIMEOUT_MS } from '../support/property.js';
import { forEachBackend, withStore } from './backends.js';

const HANDLES = 2;
const KEYS = ['a', 'b', 'c', 'A', 'a/b', '__proto__', 'é', 'e\u0301', '\0', '{}', '%_', '🙂'];

/** Which revision a check demands, by what stands when its commit is made. */
type Demand = 'standing' | 'absent' | 'former' | 'last' | 'future';

/** A commit, before it is known what stands. */
interface Wish {
  readonly puts: readonly { readonly key: string; readonly value: Json }[];
  readonly deletes: readonly string[];
  readonly checks: readonly { readonly key: string; readonly demand: Demand }[];
  readonly durability: 'synced' | 'written';
}

type Step =
  | { readonly do: 'commit'; readonly handle: number; readonly group: readonly Wish[] }
  | { readonly do: 'reopen' | 'read' | 'follow'; readonly handle: number };

const key = fc.constantFrom(...KEYS);
const wish: fc.Arbitrary<Wish> = fc
  .record({
    keys: fc.uniqueArray(key, { minLength: 1, maxLength: 4 }),
    deletions: fc.nat(4),
    value: fc.jsonValue({ maxDepth: 2 }),
    checks: fc.array(
      fc.record({ key, demand: fc.constantFrom<Demand>('standing', 'standing', 'standing', 'absent', 'former', 'last', 'future') }),
      { maxLength: 3 },
    ),
    durability: fc.constantFrom('synced' as const, 'written' as const),
  })
  .map(({ keys, deletions, value, checks, durability }) => ({
    puts: keys.slice(deletions).map((of) => ({ key: of, value: JSON.parse(JSON.stringify({ of, value })) as Json })),
    deletes: keys.slice(0, deletions),
    checks,
    durability,
  }));
const handle = fc.nat(HANDLES - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('commit' as const), handle, group: fc.array(wish, { minLength: 1, maxLength: 5 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('reopen' as const, 'read' as const, 'follow' as const), handle }) },
);

forEachBackend('random commits', { memory: 200, file: 120, sqlite: 25, redis: 100 }, ({ fixture, cases }) => {
  it('commit/all-or-nothing, commit/check-now, commit/conflict-is-a-value, commit/one-revision: as the model', async () => {
    const counts = { cases: 0, commits: 0 };
    const steps = fc.array(step, { minLength: 3, maxLength: 25, size: 'max' });
    counts.cases = await holdsFor(steps, cases, (given) =>
      withStore(fixture, async (open) => {
        const comparison = new Comparison(open);
        await comparison.run(given);
        counts.commits += comparison.commits;
      }),
    );
    prove({ test: 'P1 random commits', backend: fixture.name, counts, least: { cases } });
  }).timeout(PROPERTY_TIMEOUT_MS);
});

/** A store and the model of it, which is asked the same. */
class Comparison {
  commits = 0;
  readonly #open: () => Promise<StateBackend>;
  readonly #handles: StateBackend[] = [];
  #views: View[] = Array.from({ length: HANDLES }, () => EMPTY_VIEW);
  #model: MemoryState = createMemoryStore().state;

  constructor(open: () => Promise<StateBackend>) {
    this.#open = open;
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (let n = 0; n < HANDLES; n++) this.#handles.push(await this.#open());
    for (const each of steps) await this.#take(each);
    for (let n = 0; n < HANDLES; n++) {
      await this.#take({ do: 'follow', handle: n });
      await this.#handles[n]?.close();
    }
    this.#handles[0] = await this.#open();
    await this.#take({ do: 'read', handle: 0 });
  }

  async #take(given: Step): Promise<void> {
    const store = this.#handles[given.handle]!;
    if (given.do === 'commit') return await this.#commit(store, given.group);
    if (given.do === 'read') return await this.#expectModel(store);
    if (given.do === 'follow') {
      const view = await followChanges(store, this.#views[given.handle]!, { mayForget: true });
      this.#views[given.handle] = view;
      const followed = new Map([...view.records].map(([of, { value, revision }]) => [of, { value, revision }]));
      return expectExact(followed, standing(this.#model), 'the followed view');
    }
    await store.close();
    this.#handles[given.handle] = await this.#open();
  }

  /** All of a group are given in one turn. They are judged in the order in which they were given. */
  async #commit(store: StateBackend, group: readonly Wish[]): Promise<void> {
    const commits = group.map((each) => fulfil(each, this.#model));
    const answers = await Promise.all(commits.map((commit) => attempt(store, commit)));
    for (const [place, answer] of answers.entries()) {
      const commit = commits[place]!;
      const checked = attemptCheck(commit);
      if (checked === undefined || answer === 'refused') {
        expectExact(answer, checked === undefined ? 'refused' : 'accepted', `whether ${show(commit)} has the shape of a commit`);
        continue;
      }
      this.commits += 1;
      if (answer.ok && answer.revision <= this.#model.revision) {
        throw new AssertionError(`${show(commit)} got the revision ${answer.revision} after ${this.#model.revision}`);
      }
      const expected = applyCommit(answer.ok ? { ...this.#model, revision: answer.revision - 1 } : this.#model, checked, 0);
      if (expected.result.ok || answer.ok) expectExact(answer, expected.result, `the answer to ${show(commit)}`);
      else this.#expectConflicts(answer.conflicts, expected.result.conflicts, answers.slice(place + 1));
      this.#model = expected.state;
    }
  }

  /** With the records as of the refusal, or as a later commit of the group left them. */
  #expectConflicts(actual: readonly Conflict[], expected: readonly Conflict[], later: readonly (CommitResult | 'refused')[]): void {
    const keysOf = (conflicts: readonly Conflict[]): string[] => conflicts.map((conflict) => conflict.key).sort();
    expectExact(keysOf(actual), keysOf(expected), 'the keys of the conflicts');
    const laterRevisions = later.flatMap((answer) => (answer !== 'refused' && answer.ok ? [answer.revision] : []));
    for (const { key: of, record } of actual) {
      const wanted = expected.find((conflict) => conflict.key === of)?.record;
      if (record !== undefined && laterRevisions.includes(record.revision)) continue;
      if (record === undefined && laterRevisions.length > 0) continue;
      expectExact(record && [record.revision, record.value], wanted && [wanted.revision, wanted.value], `the conflict of ${show(of)}`);
    }
  }

  async #expectModel(store: StateBackend): Promise<void> {
    const expected = standing(this.#model);
    const read = (await store.read(KEYS)).flatMap((record) => (record === undefined ? [] : [record]));
    expectExact(new Map(read.map(({ key: of, value, revision }) => [of, { value, revision }])), expected, 'what is read');
    const all = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    const present = [...all.records.values()].map(({ key: of, value, revision }) => [of, { value, revision }] as const);
    expectExact(new Map(present), expected, 'what changes(0) yields');
  }
}

function fulfil({ puts, deletes, checks, durability }: Wish, model: MemoryState): Commit {
  return { puts, deletes, durability, checks: checks.map(({ key: of, demand }) => ({ key: of, revision: demanded(of, demand, model) })) };
}

function demanded(of: string, demand: Demand, { entries, revision }: MemoryState): number {
  const entry = entries.get(of);
  switch (demand) {
    case 'standing':
      return entry?.text === undefined ? 0 : entry.revision;
    case 'absent':
      return 0;
    case 'former':
      return Math.max(0, (entry?.revision ?? 1) - 1);
    case 'last':
      return revision;
    case 'future':
      return revision + 1;
  }
}

async function attempt(store: StateBackend, commit: Commit): Promise<CommitResult | 'refused'> {
  try {
    return await store.commit(commit);
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_BAD_COMMIT')) return 'refused';
    throw error;
  }
}

function attemptCheck(commit: Commit): ReturnType<typeof checkCommit> | undefined {
  try {
    return checkCommit(commit);
  } catch {
    return undefined;
  }
}

function standing({ entries }: MemoryState): Map<string, { value: unknown; revision: number }> {
  const found = new Map<string, { value: unknown; revision: number }>();
  for (const [of, { text, revision }] of entries) if (text !== undefined) found.set(of, { value: JSON.parse(text), revision });
  return found;
}
