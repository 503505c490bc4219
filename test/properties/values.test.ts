/**
 * Keys, values, ids and results of every kind: what JSON can bring back comes back deep-equal from every backend, also after reopening; all
 * else is refused with its code before anything is written, or recorded as the failure of its item. Whatever the work of a loop returns or
 * throws, the loop goes on.
 */
import { prove } from '@loopstate/conformance';
import { type ErrorCode, type Json, LIMITS, LoopState, runLoop, type StateBackend } from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import fc from 'fast-check';
import { expectCode, expectExact } from '../../packages/conformance/src/expectations.js';
import { EMPTY_VIEW, followChanges } from '../../packages/conformance/src/follow-changes.js';
import { show } from '../../packages/conformance/src/show.js';
import { holdsFor, PROPERTY_TIMEOUT_MS } from '../support/property.js';
import { forEachBackend, withStore } from './backends.js';
import { exactValue, type MadeValue, poisonedValue, storableValue } from './values.js';

const TEST = 'P2 ids and values';
const ID_BYTES = 1_024;

const wellFormed = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 });
const names = (bytes: number): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 6, arbitrary: wellFormed },
    {
      weight: 2,
      arbitrary: fc.constantFrom('__proto__', 'constructor', '\0', '\n', 'item/', 'run/x', 'meta', '..', '{x}', '%00', '*', ' '),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('x'.repeat(bytes), '€'.repeat(Math.floor(bytes / 3)), '🙂'.repeat(bytes / 4), '\0'.repeat(bytes)),
    },
  );
const badNames = (bytes: number): fc.Arbitrary<unknown> =>
  fc.oneof(
    fc.constantFrom('', 'x'.repeat(bytes + 1), '€'.repeat(Math.ceil((bytes + 1) / 3)), '\ud800', 'a\udc00b', '🙂'.slice(1)),
    fc.constantFrom<unknown>(undefined, null, 0, 1n, Symbol('a'), Object('a'), ['a'], {}, () => 'a', Number.NaN, true),
    wellFormed.map((text) => `${text}\udbff`),
  );

forEachBackend('ids and values', { memory: 60, file: 40, sqlite: 12, redis: 40 }, ({ fixture, cases }) => {
  it('value/exact: what JSON can bring back comes back, and all else is refused before anything is written', async () => {
    const entry = fc.record({ key: names(LIMITS.keyBytes), value: storableValue });
    const entries = fc.uniqueArray(entry, { minLength: 1, maxLength: 6, selector: ({ key }) => key });
    const wrong: fc.Arbitrary<Wrong> = fc.oneof(
      fc.record({ key: names(LIMITS.keyBytes), value: poisonedValue, code: fc.constant('LOOPSTATE_VALUE_REFUSED' as const) }),
      fc.record({ key: badNames(LIMITS.keyBytes), value: storableValue, code: fc.constant('LOOPSTATE_BAD_KEY' as const) }),
    );
    const given = fc.record({ entries, wrongs: fc.array(wrong, { minLength: 1, maxLength: 4 }) });
    const held = await holdsFor(given, cases, ({ entries, wrongs }) =>
      withStore(fixture, async (open) => {
        const store = await open();
        const puts = entries.map(({ key, value }) => ({ key, value: value.make() as Json }));
        for (const put of puts) expect(await store.commit({ puts: [put] })).to.have.property('ok', true);
        for (const each of wrongs) await expectRefusal(store, each);
        await expectHolds(store, puts);
        await store.close();
        await expectHolds(await open(), puts);
      }),
    );
    prove({ test: TEST, backend: fixture.name, counts: { cases: held }, least: { cases } });
  }).timeout(PROPERTY_TIMEOUT_MS);

  it('once-recorded: whatever work returns or throws, its item has an outcome, and the loop goes on', async () => {
    const items = fc.uniqueArray(fc.record({ id: names(ID_BYTES), end }), { minLength: 1, maxLength: 6, selector: ({ id }) => id });
    const held = await holdsFor(fc.record({ items, concurrency: fc.integer({ min: 1, max: 4 }) }), cases, (given) =>
      withStore(fixture, async (open) => {
        const ends = new Map(given.items.map((item) => [item.id, item.end]));
        const state = await LoopState.open(await open());
        const result = await runLoop({
          state,
          items: given.items.map(({ id }) => id),
          concurrency: given.concurrency,
          handleSignals: false,
          work: (id) => conclude(ends.get(id)!),
        });
        expect(result).to.include({ status: 'completed' });
        await expectOutcomes(state, ends);
        await state.close();
        const again = await LoopState.open(await open());
        await expectOutcomes(again, ends);
        await again.close();
      }),
    );
    prove({ test: TEST, backend: fixture.name, counts: { cases: held }, least: { cases } });
  }).timeout(PROPERTY_TIMEOUT_MS);

  it('LOOPSTATE_BAD_ID: what can be no id is refused everywhere, and nothing is written', async () => {
    const held = await holdsFor(fc.record({ bad: badNames(ID_BYTES), good: names(ID_BYTES) }), cases, ({ bad, good }) =>
      withStore(fixture, async (open) => {
        const backend = await open();
        const state = await LoopState.open(backend);
        const id = bad as string;
        const calls: Record<string, () => unknown> = {
          isOutstanding: () => state.isOutstanding(id),
          standing: () => state.standing(id),
          claim: () => state.claim(id),
          begin: () => state.begin(id),
          end: () => state.end(id, { status: 'success' }),
          read: () => state.read(id),
          retry: () => state.retry([id]),
          ...(id === undefined ? {} : { release: () => state.release(id) }),
        };
        for (const [name, call] of Object.entries(calls))
          await expectCode((async () => call())(), 'LOOPSTATE_BAD_ID', `${name}(${show(bad)})`);
        expect([...(await followChanges(backend, EMPTY_VIEW, { mayForget: false })).records]).to.deep.equal([]);
        const loop = runLoop({ state, items: [good, id], handleSignals: false, work: () => 1 });
        await expectCode(loop, 'LOOPSTATE_BAD_ID', 'runLoop');
        expect([...(await state.snapshot()).items.keys()]).to.deep.equal([good]);
        await state.close();
      }),
    );
    prove({ test: TEST, backend: fixture.name, counts: { cases: held }, least: { cases } });
  }).timeout(PROPERTY_TIMEOUT_MS);
});

/** A put that must be refused, with this code. */
interface Wrong {
  readonly key: unknown;
  readonly value: MadeValue;
  readonly code: ErrorCode;
}

/** How the work of an item ends. */
type End =
  | { readonly how: 'returns'; readonly output: Json }
  | { readonly how: 'returns-poison' | 'throws' | 'throws-with' | 'costs'; readonly poison: MadeValue }
  | { readonly how: 'fails'; readonly reason: string };

const end: fc.Arbitrary<End> = fc.oneof(
  fc.record({ how: fc.constant('returns' as const), output: exactValue }),
  fc.record({
    how: fc.constantFrom('returns-poison' as const, 'throws' as const, 'throws-with' as const, 'costs' as const),
    poison: poisonedValue,
  }),
  fc.record({ how: fc.constant('fails' as const), reason: fc.string({ unit: 'binary', maxLength: 6_000, size: 'max' }) }),
);

function conclude(given: End): unknown {
  switch (given.how) {
    case 'returns':
      return { status: 'success', output: given.output };
    case 'returns-poison':
      return given.poison.make();
    case 'throws':
      throw given.poison.make();
    case 'throws-with':
      throw Object.assign(new Error('a'), { message: given.poison.make() });
    case 'costs':
      return { status: 'success', cost: { usd: 0.25, of: given.poison.make() } };
    case 'fails':
      return { status: 'error', reason: given.reason };
  }
}

async function expectOutcomes(state: LoopState, ends: ReadonlyMap<string, End>): Promise<void> {
  const { items } = await state.snapshot();
  expectExact([...items.keys()].sort(), [...ends.keys()].sort(), 'the items');
  for (const [id, given] of ends) {
    const item = items.get(id)!;
    if (given.how === 'returns') expectExact([item.status, item.output], ['completed', given.output], `the outcome of ${show(id)}`);
    // Nothing at all is an outcome too, and no output.
    else if (given.how !== 'returns-poison' || given.poison.make() !== undefined) expectFailure(id, item, given);
    if (given.how === 'costs') expect(item.costUsd, 'what was spent').to.equal(0.25);
  }
}

function expectFailure(id: string, item: { status: string; reason?: string; code?: string }, given: End): void {
  if (item.status !== 'failed' || item.reason === undefined || item.reason === '') {
    if (given.how !== 'fails' || given.reason !== '') throw new AssertionError(`${show(id)} must have failed, and is ${show(item)}`);
  }
}

async function expectRefusal(store: StateBackend, { key, value, code }: Wrong): Promise<void> {
  const good = { key: 'good', value: 1 };
  const bad = key as string;
  await expectCode(store.commit({ puts: [good, { key: bad, value: value.make() as Json }] }), code, `a put of ${show(key)}`);
  if (code === 'LOOPSTATE_VALUE_REFUSED') return;
  await expectCode(store.read([bad]), code, `a read of ${show(key)}`);
  await expectCode(store.commit({ puts: [good], deletes: [bad] }), code, `a delete of ${show(key)}`);
  await expectCode(store.commit({ puts: [good], checks: [{ key: bad, revision: 0 }] }), code, `a check of ${show(key)}`);
}

/** Exactly these records: nothing of what was refused. */
async function expectHolds(store: StateBackend, puts: readonly { readonly key: string; readonly value: Json }[]): Promise<void> {
  const read = await store.read(puts.map(({ key }) => key));
  const { records } = await followChanges(store, EMPTY_VIEW, { mayForget: false });
  expectExact([...records.keys()].sort(), puts.map(({ key }) => key).sort(), 'the keys');
  for (const [place, { key, value }] of puts.entries()) {
    expectSame(read[place]?.value, value, `what is read of ${show(key)}`);
    expectSame(records.get(key)?.value, value, `the change of ${show(key)}`);
  }
}

/** As `expectExact`, which can't compare what is nested deeper than it can call itself: then the text is compared. */
function expectSame(actual: unknown, expected: unknown, what: string): void {
  try {
    expectExact(actual, expected, what);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new AssertionError(`${what} is another value`);
  }
}
