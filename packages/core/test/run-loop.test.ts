/**
 * Proves what `runLoop` promises: every item of the input gets one outcome, whatever its work does, and whatever it was before.
 * Real timers, with delays of a few milliseconds; a store in memory behind a connection that can fail.
 */
import { EventEmitter, once } from 'node:events';
import {
  createMemoryStore,
  Glitch,
  type LoopEvent,
  LoopState,
  openMemoryBackend,
  type RunLoopOptions,
  realEnvironment,
  runLoop,
} from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';
import { loop, numbered, sleep } from './support/loop.js';
import { World } from './support/world.js';

const FAST = { minDelayMs: 1, maxDelayMs: 4 };

describe('runLoop', () => {
  it('runs every item once and records what it returns', async () => {
    const { state, run } = await loop();
    const withNumber: { id: string } = Object.assign({ id: 'c' }, { n: 3 });
    const { result, ran } = await run({ items: ['a', 'b', withNumber], work: async (item) => ({ item }) });
    expect(result).to.include({ status: 'completed', reason: 'all-done' });
    expect(result.counts).to.include({ started: 3, completed: 3, failed: 0, skipped: 0, duplicates: 0 });
    expect(ran).to.deep.equal(['a', 'b', 'c']);
    expect((await state.read('c'))?.output).to.deep.equal({ item: { id: 'c', n: 3 } });
  });

  it('goes on where it stopped: what is done is skipped', async () => {
    const { run } = await loop();
    await run({ items: ['a', 'b'] });
    const { result, ran } = await run({ items: ['a', 'b', 'c'] });
    expect(ran).to.deep.equal(['c']);
    expect(result.counts).to.include({ skipped: 2, completed: 1 });
  });

  for (const digest of [undefined, () => 'v1'])
    it(`lets timers and signals in while it passes over items that are done${digest === undefined ? '' : ', and compares them'}`, async () => {
      const { run } = await loop();
      const done = Array.from({ length: 3_500 }, (_, n) => `${n}`);
      await run({ items: done, concurrency: 100 });
      let turns = 0;
      let isOver = false;
      const count = (): void => {
        turns += 1;
        if (!isOver) setImmediate(count);
      };
      setImmediate(count);
      const { result } = await run({ items: done, digest });
      isOver = true;
      expect(result.counts).to.include({ skipped: 3_500, started: 0 });
      expect(turns).to.be.greaterThan(2);

      const abort = new AbortController();
      setImmediate(() => abort.abort());
      const { result: aborted } = await run({ items: done, digest, signal: abort.signal });
      expect(aborted.reason).to.equal('aborted');
      expect(aborted.counts.skipped).to.be.below(3_500);
    });

  it('runs a repeated id once and counts the repetitions', async () => {
    const { run } = await loop();
    const { result, ran } = await run({ items: ['a', 'b', 'a', 'a'], concurrency: 4 });
    expect(ran).to.deep.equal(['a', 'b']);
    expect(result.counts.duplicates).to.equal(2);
  });

  it('takes results and errors as the work gives them', async () => {
    const { state, run } = await loop();
    const work = (item: unknown): unknown => {
      if (item === 'throws') throw new Error('broken');
      if (item === 'throws nothing') throw undefined;
      if (item === 'result') return { status: 'success', output: 1, cost: { usd: 0.5 } };
      if (item === 'error') return { status: 'error', reason: 'said so' };
      if (item === 'bad') return { status: 'error', reason: 7 };
      if (item === 'no json') return { when: new Date() };
      return undefined;
    };
    const items = ['throws', 'throws nothing', 'result', 'error', 'bad', 'no json', 'nothing'];
    const { result } = await run({ items, work });
    expect(result.counts).to.include({ completed: 2, failed: 5 });
    expect((await state.read('throws'))?.reason).to.equal('broken');
    expect((await state.read('error'))?.reason).to.equal('said so');
    expect((await state.read('no json'))?.code).to.equal('LOOPSTATE_RESULT_REFUSED');
    expect((await state.read('nothing'))?.output).to.equal(undefined);
    expect(state.progress.costUsd).to.equal(0.5);
  });

  it('once-recorded: what can not even be read, returned or thrown, is the failure of its item', async () => {
    const { state, run } = await loop();
    const unreadable = (): never => {
      throw new TypeError('It is not to be read.');
    };
    const vast = (): unknown => Array.from({ length: 400 }).reduce((inner) => [inner, inner], 'x');
    const ends: Readonly<Record<string, () => unknown>> = {
      'an error whose message is no text': () => Promise.reject(Object.assign(new Error('a'), { message: { no: 'text' } })),
      'an error that can not be read': () => Promise.reject(new Proxy(new Error('a'), { get: unreadable })),
      'an output that can not be read': () => ({ status: 'success', output: new Proxy({}, { ownKeys: unreadable }) }),
      'an error with more to say than there are atoms': () => Promise.reject(Object.assign(new Error('a'), { message: vast() })),
      'more to say than there are atoms': () => Promise.reject(vast()),
      'a status of as much': () => ({ status: vast() }),
      'a cost that can not be read': () => ({ status: 'success', cost: new Proxy({}, { get: unreadable }) }),
    };
    const { result } = await run({ items: Object.keys(ends), work: (item) => ends[item as string]?.() });
    expect(result).to.include({ status: 'completed' });
    for (const id of Object.keys(ends)) expect(await state.read(id), id).to.include({ status: 'failed' });
  });

  it('once-recorded: a cost beyond all money is the failure of its item, and counts as nothing', async () => {
    const { state, run } = await loop();
    const { result } = await run({ items: ['1e300', '1e16', '1e15'], work: (id) => ({ status: 'success', cost: { usd: Number(id) } }) });
    expect(result.counts).to.include({ completed: 1, failed: 2 });
    for (const id of ['1e300', '1e16']) expect(await state.read(id)).to.include({ status: 'failed', code: 'LOOPSTATE_RESULT_REFUSED' });
    const ends: unknown[] = [{ status: 'glitch', cost: { usd: 1e300 } }];
    const glitched = await run({ items: ['x'], glitches: FAST, work: () => ends.shift() });
    expect(glitched.result.counts).to.include({ glitches: 1, completed: 1 });
    expect(state.progress.costUsd).to.equal(1e15);
  });

  it('runs as many at once as it is told, and no more', async () => {
    const { run } = await loop();
    let now = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      now += 1;
      most = Math.max(most, now);
      await sleep(2);
      now -= 1;
    };
    await run({ items: numbered(40), work, concurrency: 8 });
    expect(most).to.equal(8);
  });

  it('flat-cost: the end of an item costs the same, however many workers have nothing to do', async () => {
    let readings = 0;
    const monotonicMs = (): number => {
      readings += 1;
      return performance.now();
    };
    const state = await LoopState.open(openMemoryBackend(), { environment: { ...realEnvironment, monotonicMs } });
    const count = 300;
    const ends: (() => void)[] = [];
    const work = (): Promise<void> => new Promise((resolve) => ends.push(resolve));
    const loop = runLoop({ items: numbered(count), state, concurrency: count, work });
    while (ends.length < count) await sleep(1);
    await sleep(1);
    readings = 0;
    for (const end of ends) {
      end();
      await new Promise(setImmediate);
    }
    expect((await loop).counts.completed).to.equal(count);
    expect(readings / count).to.be.below(20);
  });

  it('begins what becomes possible with as many workers as it is told, though they had nothing to do', async () => {
    const { run } = await loop();
    const asked = new Set<unknown>();
    let back = 0;
    let areAllBack = (): void => undefined;
    const together = new Promise<boolean>((resolve) => {
      areAllBack = () => resolve(true);
    });
    const { result } = await run({
      items: numbered(20),
      concurrency: 20,
      retries: 1,
      backoff: { minDelayMs: 20, maxDelayMs: 20 },
      digest: async (item) => {
        if (asked.has(item)) back += 1;
        if (back === 20) areAllBack();
        // Those that come back begin together, or not at all.
        if (asked.has(item)) expect(await Promise.race([together, sleep(5_000)])).to.equal(true);
        asked.add(item);
        return 'v1';
      },
      work: (_item, { attempt }) => {
        if (attempt === 1) throw new Error('once');
      },
    });
    expect(result.counts).to.include({ completed: 20, retries: 20 });
  });

  it('pulls items as they are needed, from an endless input too', async () => {
    const { run } = await loop();
    let pulled = 0;
    let isReturned = false;
    async function* endless(): AsyncGenerator<string> {
      try {
        for (;;) yield `${pulled++}`;
      } finally {
        isReturned = true;
      }
    }
    const { result } = await run({ items: endless(), maxItems: 25, concurrency: 3 });
    expect(result).to.include({ status: 'stopped', reason: 'max-items' });
    expect(result.counts.started).to.equal(25);
    expect(pulled).to.be.at.most(25 + 4);
    await sleep(1);
    expect(isReturned).to.equal(true);
  });

  it('streams 30,000 items without collecting them', async () => {
    const { run } = await loop();
    let ahead = 0;
    let most = 0;
    function* many(): Generator<string> {
      for (let n = 0; n < 30_000; n++) {
        ahead += 1;
        most = Math.max(most, ahead);
        yield `${n}`;
      }
    }
    const { result } = await run({ items: many(), work: () => void ahead--, concurrency: 16 });
    expect(result.counts.completed).to.equal(30_000);
    expect(most).to.be.at.most(40);
  }).timeout(60_000);

  it('refuses bad options before anything is written', async () => {
    const { store, state } = await loop();
    const bad: object[] = [
      { concurrency: 0 },
      { concurrency: 1.5 },
      { retries: -1 },
      { maxItems: 0 },
      { maxBudgetUsd: Number.NaN },
      { graceMs: '5' },
      { glitches: { max: 1 } },
      { items: 7 },
      { items: undefined },
      { work: 'x' },
      { state: {} },
      { concurency: 2 },
      { signal: {} },
      { signal: null },
      { halt: () => true },
      { handleSignals: 'no' },
      { waitForOthers: 1 },
      { onProgress: {} },
      { backoff: null },
    ];
    for (const options of bad) {
      const all = { items: ['a'], work: () => 1, state, ...options } as unknown as RunLoopOptions<string>;
      expect(await codeOf(runLoop(all)), JSON.stringify(options)).to.equal('LOOPSTATE_BAD_OPTION');
    }
    expect(store.state.revision).to.equal(0);
  });

  it('refuses a bad id, after recording what had begun', async () => {
    const { state, run } = await loop();
    const begun = new EventEmitter();
    async function* items(): AsyncGenerator<string> {
      const isBegun = once(begun, 'a');
      yield 'a';
      await isBegun;
      yield '';
    }
    const work = async (): Promise<void> => {
      begun.emit('a');
      await sleep(2);
    };
    expect(await codeOf(run({ items: items(), work, concurrency: 2 }))).to.equal('LOOPSTATE_BAD_ID');
    expect(state.isOutstanding('a')).to.equal(false);
    expect(state.progress.inProgress).to.equal(0);
  });

  it('refuses a bad id, and gives back what it was only claiming', async () => {
    const { state, run } = await loop();
    expect(await codeOf(run({ items: ['a', ''], concurrency: 2 }))).to.equal('LOOPSTATE_BAD_ID');
    expect(state.progress).to.include({ completed: 0, inProgress: 0, outstanding: 1 });
  });

  it('passes on what the input throws, after recording what had begun', async () => {
    const { state, run } = await loop();
    async function* broken(): AsyncGenerator<string> {
      yield 'a';
      throw new RangeError('the input broke');
    }
    expect(await codeOf(run({ items: broken() }))).to.equal('RangeError: the input broke');
    expect(state.isOutstanding('a')).to.equal(false);
  });

  it('ends when onProgress throws, or rejects while nobody waits for it, with that error', async () => {
    const { run } = await loop();
    const onProgress = (): void => {
      throw new Error('my mistake');
    };
    expect(await codeOf(run({ items: ['a', 'b'], onProgress }))).to.contain('my mistake');
    const later = async ({ type }: LoopEvent): Promise<void> => {
      await Promise.resolve();
      if (type === 'completed') throw new Error('my later mistake');
    };
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    process.on('unhandledRejection', note);
    expect(await codeOf(run({ items: numbered(100), onProgress: later }))).to.contain('my later mistake');
    await new Promise(setImmediate);
    process.off('unhandledRejection', note);
    expect(unhandled).to.deep.equal([]);
  });
});

describe('runLoop and failures of work', () => {
  it('retries after errors, as often as allowed, and records the last', async () => {
    const { state, run } = await loop();
    const attempts: number[] = [];
    const { result } = await run({
      items: ['x'],
      retries: 2,
      backoff: FAST,
      work: (_item, { attempt }) => {
        attempts.push(attempt);
        throw new Error(`attempt ${attempt}`);
      },
    });
    expect(attempts).to.deep.equal([1, 2, 3]);
    expect(result.counts).to.include({ retries: 2, failed: 1 });
    expect(await state.read('x')).to.include({ status: 'failed', reason: 'attempt 3', attempt: 3 });
  });

  it('goes on with other items while one backs off', async () => {
    const { run } = await loop();
    const { ran } = await run({
      items: ['x', 'a', 'b'],
      retries: 1,
      backoff: { minDelayMs: 15 },
      work: (item, { attempt }) => {
        if (item === 'x' && attempt === 1) throw new Error('first');
      },
    });
    expect(ran).to.deep.equal(['x', 'a', 'b', 'x']);
  });

  it('brings a glitched item back without counting the attempt, no sooner than asked', async () => {
    const { run } = await loop();
    const times: number[] = [];
    const { result } = await run({
      items: ['x'],
      glitches: FAST,
      work: (_item, { attempt }) => {
        expect(attempt).to.equal(1);
        times.push(performance.now());
        if (times.length === 1) throw new Glitch('rate limit', { retryAfterMs: 30, cost: { usd: 0.25 } });
        return { status: 'success', cost: { usd: 0.5 } };
      },
    });
    expect((times[1] ?? 0) - (times[0] ?? 0)).to.be.at.least(28);
    expect(result.counts).to.include({ glitches: 1, completed: 1 });
    expect(result.progress.costUsd).to.equal(0.75);
  });

  it('stops after too many glitches in a row', async () => {
    const { run } = await loop();
    const { result } = await run({
      items: numbered(50),
      // None of them is due again meanwhile, however slow the machine.
      glitches: { minDelayMs: 60_000, maxDelayMs: 60_000, maxInRow: 5 },
      work: () => ({ status: 'glitch', reason: 'down' }),
    });
    expect(result).to.include({ status: 'stopped', reason: 'too-many-glitches' });
    expect(result.counts.glitches).to.equal(5);
    expect(result.progress).to.include({ glitched: 5, inProgress: 0 });
  });

  for (const reach of ['process', 'network'] as const) {
    it(`one-item: takes up what a dead run held when that is all that is left (reach ${reach})`, async () => {
      const world = new World();
      const store = createMemoryStore();
      const process = world.process('host-a');
      const dying = await LoopState.open(openMemoryBackend({ store, reach }), { environment: process });
      await Promise.all(['a', 'b'].map((id) => dying.begin(id)));
      process.isDead = true;
      const real = world.process('host-a');
      const state = await LoopState.open(openMemoryBackend({ store, reach }), {
        environment: { ...real, after: (ms, action) => clearing(setTimeout(action, ms)) },
      });
      const { status, counts } = await runLoop({ state, items: ['a', 'b'], concurrency: 3, work: () => 'done' });
      expect(status).to.equal('completed');
      expect(counts.completed).to.equal(2);
    });
  }

  it('runs an item alone after two crashes, and lets it not starve', async () => {
    const world = new World();
    const store = createMemoryStore();
    for (let n = 0; n < 2; n++) {
      const process = world.process('host-a');
      const dying = await LoopState.open(openMemoryBackend({ store, reach: 'network' }), { environment: process });
      await dying.begin('k');
      process.isDead = true;
    }
    const real = world.process('host-a');
    const state = await LoopState.open(openMemoryBackend({ store, reach: 'network' }), {
      environment: { ...real, after: (ms, action) => clearing(setTimeout(action, ms)) },
    });
    let now = 0;
    const beside: number[] = [];
    const order: string[] = [];
    await runLoop({
      state,
      items: ['a', 'b', 'k', ...numbered(30)],
      concurrency: 4,
      work: async (item) => {
        now += 1;
        order.push(item);
        if (item === 'k') beside.push(now);
        await sleep(1);
        if (item === 'k') beside.push(now);
        now -= 1;
      },
    });
    expect(beside).to.deep.equal([1, 1]);
    expect(order.indexOf('k')).to.be.below(10);
    expect(state.progress.completed).to.equal(33);
  });

  it('lets an item that must run alone not starve beside another run, though it takes a while to see what that one did', async () => {
    const store = createMemoryStore();
    const other = await LoopState.open(openMemoryBackend({ store, reach: 'network' }));
    await other.putItems([{ id: 'k', item: { status: 'outstanding', attempt: 1, crashes: 2 } }], () => true);
    await other.claim('of the other');
    const backend = openMemoryBackend({ store, reach: 'network' });
    const changes = backend.changes.bind(backend);
    backend.changes = async function* (since) {
      await sleep(5);
      yield* changes(since);
    };
    const order: string[] = [];
    const work = async (id: string): Promise<void> => {
      order.push(id);
      await sleep(25);
    };
    await runLoop({ state: await LoopState.open(backend), items: ['a', 'b', 'k', ...numbered(20)], concurrency: 4, work });
    expect(order.indexOf('k')).to.be.within(1, 4);
    expect(order).to.have.length(23);
  });

  it('runs an item that must run alone once the last of the others has ended, at whichever moment that is', async () => {
    let moments = 0;
    for (let ticks = 0; ticks < 30; ticks++) {
      const backend = openMemoryBackend();
      const commit = backend.commit.bind(backend);
      let commitsOfB = 0;
      backend.commit = async (asked) => {
        if (asked.puts?.[0]?.key === 'item/b') commitsOfB += 1;
        // What records b comes a little later than what records a.
        for (let tick = commitsOfB === 2 ? -5 - ticks : -5; tick < 0; tick++) await undefined;
        return await commit(asked);
      };
      const state = await LoopState.open(backend);
      await state.putItems([{ id: 'alone', item: { status: 'outstanding', attempt: 1, crashes: 2 } }], () => true);
      const together = sleep(1);
      const running = runLoop({ state, items: ['a', 'b', 'alone'], concurrency: 2, work: () => together });
      expect(await Promise.race([running, sleep(5_000)])).to.include({ status: 'completed' });
      moments += 1;
    }
    expect(moments).to.equal(30);
  });
});

describe('runLoop and items that change', () => {
  it('refuses a changed item before anything of it is run, unless told to warn or to run it again', async () => {
    const { state, run } = await loop();
    await run({ items: ['a', 'b'], digest: () => 'v1' });
    const changed: Partial<RunLoopOptions<string | { id: string }>> = {
      items: ['a', 'b', 'c'],
      digest: (id) => (id === 'b' ? 'v2' : 'v1'),
    };
    expect(await codeOf(run(changed))).to.equal('LOOPSTATE_ITEM_CHANGED');
    const events: LoopEvent[] = [];
    const warned = await run({ ...changed, onChange: 'warn', onProgress: (event) => events.push(event) });
    expect(warned.ran).to.deep.equal(['c']);
    expect(events.filter(({ type }) => type === 'changed')).to.deep.equal([{ type: 'changed', id: 'b' }]);
    const again = await run({ ...changed, onChange: 'rerun' });
    expect(again.ran).to.deep.equal(['b']);
    expect(await state.read('b')).to.include({ status: 'completed', round: 2, digest: 'v2' });
    expect((await run({ ...changed, onChange: 'rerun' })).ran).to.deep.equal([]);
  });

  it('notices a changed item, though it got its outcome when the state was open already', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await a.run({ items: ['a'], digest: () => 'v1' });
    expect(await codeOf(b.run({ items: ['a'], digest: () => 'v2' }))).to.equal('LOOPSTATE_ITEM_CHANGED');
    const c = await loop(store);
    await b.run({ items: ['a'], digest: () => 'v2', onChange: 'rerun' });
    expect((await c.run({ items: ['a'], digest: () => 'v2' })).result.counts).to.include({ started: 0, skipped: 1 });
  });

  it('takes an item whose record has no digest for unchanged', async () => {
    const { run } = await loop();
    await run({ items: ['a'] });
    expect((await run({ items: ['a'], digest: () => 'v1' })).ran).to.deep.equal([]);
  });

  it('ends with what the digest throws, and with a bad digest', async () => {
    const { run } = await loop();
    const broken = new Error('broken');
    const failing = (): never => {
      throw broken;
    };
    expect(await run({ items: ['a'], digest: failing }).catch((error: unknown) => error)).to.equal(broken);
    expect(await codeOf(run({ items: ['a'], digest: () => '' }))).to.equal('LOOPSTATE_BAD_OPTION');
    expect(await codeOf(run({ items: ['a'], onChange: 'shrug' as never }))).to.equal('LOOPSTATE_BAD_OPTION');
  });
});

function clearing(timer: NodeJS.Timeout): () => void {
  return () => clearTimeout(timer);
}
