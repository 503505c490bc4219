/**
 * Proves what it takes to move a loop: items are read and put as they are, without what belongs to a place or a moment, and nothing that a
 * live run holds is touched. On stores in memory, one of which loses its replies.
 */
import {
  createMemoryStore,
  isSameItem,
  type Json,
  LoopReader,
  LoopState,
  type MovableItem,
  movable,
  openMemoryBackend,
  type StateBackend,
  type StateChange,
  whyNotMovable,
} from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';
import { fleet } from './support/fleet.js';

const DONE: MovableItem = { status: 'completed', attempt: 1 };

describe('Moving a loop', () => {
  let backend: StateBackend;
  let state: LoopState;
  let loop: LoopReader;
  beforeEach(async () => {
    const store = createMemoryStore();
    backend = openMemoryBackend({ store, reach: 'network' });
    state = await LoopState.open(openMemoryBackend({ store, reach: 'network' }));
    loop = await LoopReader.open(backend);
  });
  afterEach(() => state.close());

  it('value/exact: what moves of an item is all but its place and moment; a claim is given back', async () => {
    const claim = (await state.claim('x', { digest: 'd' }))!;
    await claim.end({ status: 'glitch', reason: 'busy', retryAfterMs: 7, cost: { usd: 0.5 } });
    const glitched = { status: 'outstanding', attempt: 0, digest: 'd', costUsd: 0.5, glitches: 1, waitMs: 7, lastError: 'busy' };
    expect(movable((await loop.read(['x']))[0]!)).to.deep.equal(glitched);
    expect(movable((await state.read('x'))!), 'a snapshot of it').to.deep.equal(glitched);
    await state.claim('x');
    const { waitMs: _, ...released } = glitched;
    expect(movable((await loop.read(['x']))[0]!)).to.deep.equal(released);
  });

  it('always-starts: what can be no item is refused before any is put', async () => {
    const wrong: Json[] = [
      { status: 'success', attempt: 1 },
      { status: 'completed' },
      { attempt: 1 },
      { ...DONE, costUsd: -1 },
      {},
      null,
      [],
      7,
    ];
    for (const item of wrong) {
      const entries = [
        { id: 'a', item: DONE },
        { id: 'b', item: item as never },
      ];
      expect(await codeOf(state.putItems(entries, () => true)), JSON.stringify(item)).to.equal('LOOPSTATE_VALUE_REFUSED');
    }
    for (const entry of [undefined, null, { item: DONE }, { id: 7n, item: {} }]) {
      expect(await codeOf(state.putItems([{ id: 'a', item: DONE }, entry as never], () => true))).to.equal('LOOPSTATE_BAD_ID');
    }
    expect(await items()).to.deep.equal([]);
    // A newer release may have put it.
    await state.putItems([{ id: 'a', item: { ...DONE, unknownYet: 1 } as never }], () => true);
    expect((await items()).map(([id]) => id)).to.deep.equal(['a']);
  });

  it('acked-survives, once-recorded: items are put as they are, in their order, and what is there stays unless it may be replaced', async () => {
    const entries = Array.from({ length: 2_500 }, (_, n) => ({ id: `item-${n}`, item: { ...DONE, output: n } }));
    const placed = await state.putItems([...entries, { id: 'item-7', item: DONE }], () => true);
    expect(placed.map(({ standing }) => standing === undefined).lastIndexOf(false)).to.equal(2_500);
    expect(placed.at(-1)).to.deep.include({ isPut: true, isOwn: true }).and.have.nested.property('standing.output', 7);
    const ids = (await items()).map(([id]) => id);
    expect(ids).to.deep.equal([...entries.map(({ id }) => id).filter((id) => id !== 'item-7'), 'item-7']);
    const other = await LoopState.open(backend);
    const again = await other.putItems(entries.slice(0, 10), (_, standing) => standing?.output === undefined);
    expect(again.map(({ isPut, isOwn }) => isPut && !isOwn)).to.deep.equal(entries.slice(0, 10).map(({ id }) => id === 'item-7'));
    expect(other.progress).to.include({ completed: 2_500 });
    expect((await state.read('item-7'))?.by).to.match(new RegExp(`^${other.runId}\\.\\d+$`));
  });

  it('once-recorded: of an id that comes again and again the later entry is judged after the earlier', async () => {
    const state = await LoopState.open(openMemoryBackend());
    const entries = Array.from({ length: 30 }, (_, n) => ({
      id: n % 2 === 0 ? 'x' : 'y',
      item: { status: 'completed' as const, attempt: n },
    }));
    const placed = await state.putItems(entries, ({ item }, standing) => standing === undefined || item.attempt % 3 !== 0);
    expect(placed.filter(({ isPut }) => isPut)).to.have.length(21);
    expect(placed[4]?.standing).to.include({ attempt: 2 });
    expect(await state.read('x')).to.include({ attempt: 28 });
    expect(await state.read('y')).to.include({ attempt: 29 });
  });

  it('acked-survives: a reply that was lost is asked for again, and a commit that fails leaves no other unanswered', async () => {
    const { world, open } = fleet();
    const { state: target, backend: connection } = await open(world.process('host-a'));
    const entries = Array.from({ length: 50 }, (_, n) => ({ id: `${n}`, item: DONE }));
    connection.faults.push('reply-lost', 'lost');
    expect((await target.putItems(entries, () => true)).every(({ isPut }) => isPut)).to.equal(true);
    expect(target.progress.completed).to.equal(50);
    const applied = connection.log.filter(({ answer }) => answer === 'reply-lost' || (typeof answer === 'object' && answer.ok));
    expect(applied, 'commits that applied').to.have.length(50);
    const more = entries.map(({ id, item }) => ({ id: `more ${id}`, item }));
    connection.concerns = ({ puts = [] }) => puts.some(({ key }) => key === 'item/more 20');
    connection.faults.push('away');
    expect(await codeOf(target.putItems(more, () => true))).to.equal('LOOPSTATE_UNAVAILABLE');
    expect(target.progress.completed, 'all but the one').to.equal(99);
    expect((await target.putItems(more, (_, standing) => standing === undefined)).filter(({ isPut }) => isPut)).to.have.length(1);
  });

  it('fenced: what a live run holds is not put over, even one that came meanwhile; what a dead one left behind is', async () => {
    const { world, open } = fleet();
    const here = world.process('host-a');
    const [target, worker] = [(await open(here)).state, (await open(world.process('host-b'))).state];
    await target.assertUnused();
    const claim = (await worker.claim('x'))!;
    expect(await codeOf(target.assertUnused())).to.equal('LOOPSTATE_LOCKED');
    const unaware = (await open(here)).state;
    expect(await codeOf(unaware.putItems([{ id: 'x', item: DONE }], () => true))).to.equal('LOOPSTATE_LOCKED');
    expect(await claim.end({ status: 'error' })).to.equal('failed');
    await worker.claim('y');
    await target.releaseRun(worker.runId);
    await target.assertUnused();
    expect((await target.putItems([{ id: 'y', item: DONE }], () => true))[0]).to.include({ isPut: true });
  });

  it('always-starts: what was spent before moves too, into a store that knew nothing and into one that did', async () => {
    expect(await loop.carriedUsd()).to.equal(0);
    await state.putCarriedUsd(0.75);
    expect([await loop.carriedUsd(), state.carriedUsd, state.progress.costUsd]).to.deep.equal([0.75, 0.75, 0.75]);
    const before = await backend.read(['meta']);
    await state.putCarriedUsd(0.75);
    expect(await backend.read(['meta'])).to.deep.equal(before);
    await state.begin('x');
    await state.putCarriedUsd(2);
    const [meta] = await backend.read(['meta']);
    expect(meta?.value).to.include({ store: (before[0]!.value as { store: string }).store, carriedUsd: 2 });
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(await codeOf(state.putCarriedUsd(bad))).to.equal('LOOPSTATE_BAD_OPTION');
  });

  it('keeps what was spent before, though a reading that began earlier ends later', async () => {
    const spending = await LoopState.open(backend);
    await state.putCarriedUsd(1);
    await spending.refresh();
    await state.putCarriedUsd(3);
    const changes = backend.changes.bind(backend);
    let release = (): void => undefined;
    backend.changes = async function* (since) {
      const found: StateChange[] = [];
      for await (const change of changes(since)) found.push(change);
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      yield* found;
    };
    const reading = spending.refresh();
    await new Promise(setImmediate);
    await spending.putCarriedUsd(2);
    release();
    await reading;
    expect(spending.carriedUsd).to.equal(2);
  });

  it('value/exact: only what could have been recorded is movable', () => {
    const good: Json[] = [
      { status: 'outstanding', attempt: 0 },
      { status: 'failed', attempt: 2, reason: 'x'.repeat(4_096), code: 'C', quarantined: true, crashes: 3, round: 2, digest: 'd' },
      { status: 'completed', attempt: 1, output: { ['__proto__']: [null] }, cost: { usd: 1 }, costUsd: 1, recordedAgain: 'whole' },
    ];
    for (const item of good) expect(whyNotMovable('x', item), JSON.stringify(item)).to.equal(undefined);
    const bad: unknown[] = [
      null,
      [],
      'x',
      { status: 'completed' },
      { attempt: 1 },
      { ...DONE, status: 'claimed', run: 'r' },
      { ...DONE, by: 'r.1' },
      { ...DONE, attempt: -1 },
      { ...DONE, attempt: 1.5 },
      { ...DONE, costUsd: Number.POSITIVE_INFINITY },
      { ...DONE, costUsd: 1e300 },
      { ...DONE, reason: 'x'.repeat(4_097) },
      { ...DONE, output: -0 },
      { ...DONE, output: '\ud800' },
      { ...DONE, output: 'x'.repeat(1_024 * 1_024) },
      { ...DONE, unknown: 1 },
    ];
    for (const item of bad) expect(whyNotMovable('x', item), JSON.stringify(item)?.slice(0, 80)).to.be.a('string');
    for (const id of ['', '\udc00', 'x'.repeat(1_025), 7, undefined]) expect(whyNotMovable(id, DONE)).to.be.a('string');
  });

  it('value/exact: items are the same in whatever order their names stand, however deep they are', () => {
    expect(isSameItem({ ...DONE, output: { a: 1, b: [2] } }, { output: { b: [2], a: 1 }, attempt: 1, status: 'completed' })).to.equal(true);
    expect(isSameItem({ ...DONE, output: { a: 1 } }, { ...DONE, output: { a: 1, b: 2 } })).to.equal(false);
    const deep = (end: Json): Json => Array.from({ length: 3_000 }).reduce<Json>((inner) => [inner], end);
    expect(isSameItem({ ...DONE, output: deep(1) }, { ...DONE, output: deep(1) })).to.equal(true);
    expect(isSameItem({ ...DONE, output: deep(1) }, { ...DONE, output: deep(2) })).to.equal(false);
  });

  async function items(): Promise<[string, MovableItem][]> {
    const found: [string, MovableItem][] = [];
    for await (const [id, record] of loop.items()) found.push([id, movable(record)]);
    return found;
  }
});
