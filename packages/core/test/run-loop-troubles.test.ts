/**
 * Proves that a loop outlives a store that fails, and shares its items with other runs.
 * Real timers, with delays of a few milliseconds; a store in memory behind a connection that can fail.
 */
import { createHook } from 'node:async_hooks';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type Commit, createMemoryStore, type LoopEvent, openMemoryBackend } from '@loopstate/core';
import { expect } from 'chai';
import { compiledPackages, spawnCompiled } from '../../../test/support/compiled.js';
import { codeOf } from './support/codes.js';
import { loop, numbered, sleep } from './support/loop.js';
import type { Unreliable } from './support/unreliable.js';

describe('runLoop and a store that fails', () => {
  before(async function () {
    this.timeout(60_000);
    await compiledPackages();
  });

  it('keeps an outcome that cannot be recorded, begins nothing new, and runs no work twice', async () => {
    const { backend, run } = await loop();
    const events: string[] = [];
    const running: number[] = [];
    setTimeout(() => {
      backend.isAway = false;
    }, 400);
    const { result, ran } = await run({
      items: numbered(6),
      concurrency: 2,
      onProgress: (event) => events.push(event.type),
      work: (item) => {
        if (item === '2') backend.isAway = true;
        if (backend.isAway) running.push(1);
      },
    });
    expect(result.counts).to.include({ completed: 6, unrecorded: 0 });
    expect(ran.sort(byNumber)).to.deep.equal(numbered(6));
    expect(running.length).to.be.at.most(2);
    expect(events).to.include('unavailable').and.include('available');
  });

  it('flat-cost: an outcome that waits for a store that is away costs the same, however many there are', async () => {
    const { backend, run } = await loop();
    const count = 300;
    let promises = 0;
    let began = 0;
    const hook = createHook({
      init: (_id, type) => {
        if (type === 'PROMISE') promises += 1;
      },
    });
    const { result } = await run({
      items: numbered(count),
      concurrency: count,
      work: async () => {
        began += 1;
        if (began === count) hook.enable();
        await sleep(100);
        backend.isAway = true;
        setTimeout(() => {
          backend.isAway = false;
        }, 150);
      },
    });
    hook.disable();
    expect(result.counts).to.include({ completed: count, unrecorded: 0 });
    // 82 of each, on a machine that stalls some hundreds; 1,277 where each that is recorded wakes all others.
    expect(promises / count).to.be.below(700);
  });

  it('nobody is warned of a leak while many outcomes wait for a store that is away', async () => {
    const { backend, run } = await loop();
    const warnings: Error[] = [];
    const take = (warning: Error): unknown => warnings.push(warning);
    process.on('warning', take);
    const { result } = await run({
      items: numbered(50),
      concurrency: 50,
      work: async () => {
        await sleep(50);
        backend.isAway = true;
        setTimeout(() => {
          backend.isAway = false;
        }, 150);
      },
    });
    process.off('warning', take);
    expect(result.counts).to.include({ completed: 50, unrecorded: 0 });
    expect(warnings).to.deep.equal([]);
  });

  it('one-item: nothing begins while an outcome cannot be recorded, though claims succeed', async () => {
    const { backend, run } = await loop();
    backend.concerns = ({ puts = [] }) =>
      puts.some(({ key, value }) => key === 'item/0' && (value as { status: string }).status === 'completed');
    backend.faults.push('away', 'away');
    const found: unknown[] = [];
    const { result } = await run({
      items: numbered(6),
      concurrency: 2,
      work: async (item) => {
        const [record] = await backend.read(['item/0']);
        if (Number(item) > 1) found.push((record?.value as { status: string } | undefined)?.status);
      },
    });
    expect(found).to.deep.equal(['completed', 'completed', 'completed', 'completed']);
    expect(result.counts).to.include({ completed: 6, unrecorded: 0 });
  });

  it('one-item: records what is done, once the store is back, though the input has failed meanwhile', async () => {
    const { state, backend, run } = await loop();
    backend.concerns = isOutcome;
    backend.faults.push('away', 'away');
    function* broken(): Generator<string> {
      yield 'a';
      throw new RangeError('the input broke');
    }
    expect(await codeOf(run({ items: broken(), work: () => 'done' }))).to.equal('RangeError: the input broke');
    expect(await state.read('a')).to.include({ status: 'completed', output: 'done' });
  });

  it('gives up after giveUpAfterMs, and says how many outcomes it could not record', async () => {
    const { backend, run } = await loop();
    const { result } = await run({ items: numbered(3), giveUpAfterMs: 300, work: () => takeAway(backend) });
    expect(result).to.include({ status: 'stopped', reason: 'state-unavailable' });
    expect(result.counts).to.include({ started: 1, completed: 0, unrecorded: 1 });
  });

  it('gives up what it could not record or give back, and the next loop on the same state runs it', async () => {
    const { state, backend, run } = await loop();
    const { result } = await run({ items: numbered(3), concurrency: 2, giveUpAfterMs: 300, work: () => takeAway(backend) });
    expect(result).to.include({ reason: 'state-unavailable' });
    backend.isAway = false;
    const next = await run({ items: numbered(3), work: () => undefined });
    expect(next.result).to.include({ reason: 'all-done' });
    expect(state.progress).to.include({ completed: 3, inProgress: 0 });
  });

  it('keeps the process running while a reply is asked for again', async () => {
    const child = await spawnCompiled('packages/core/test/programs/lose-replies.ts', [], { stdio: ['ignore', 'pipe', 'inherit'] });
    const printed = text(child.stdout as Readable);
    expect(await once(child, 'exit')).to.deep.equal([0, null]);
    expect(await printed).to.equal('completed 0\n');
  }).timeout(20_000);

  it('can be stopped while the store is away', async () => {
    const { backend, run } = await loop();
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    const { result } = await run({ items: numbered(3), signal: controller.signal, work: () => takeAway(backend) });
    expect(result).to.include({ status: 'interrupted', reason: 'aborted' });
    expect(result.counts.unrecorded).to.equal(1);
  });

  it('does not say that a store is back which stays away until the loop is stopped', async () => {
    const { backend, run } = await loop();
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    const events: string[] = [];
    const work = (): void => takeAway(backend);
    await run({ items: numbered(3), signal: controller.signal, onProgress: ({ type }) => events.push(type), work });
    expect(events).to.include('unavailable').and.not.include('available');
  });

  it('ends with the error when trying again cannot help', async () => {
    const { backend, run } = await loop();
    expect(await codeOf(run({ items: numbered(3), work: () => backend.close() }))).to.equal('LOOPSTATE_CLOSED');
  });
});

describe('runLoop among other runs', () => {
  it('shares the items: each is run by one, and all end when all are done', async () => {
    const store = createMemoryStore();
    const loops = await Promise.all([loop(store), loop(store), loop(store)]);
    const items = numbered(60);
    const ends = await Promise.all(loops.map(({ run }) => run({ items, work: () => sleep(1) })));
    expect(ends.flatMap(({ ran }) => ran).sort(byNumber)).to.deep.equal(items);
    for (const { result } of ends) expect(result.status).to.equal('completed');
  });

  it('flat-cost: does not ask for all that another run did, one by one, though its view lacks that run', async () => {
    const store = createMemoryStore();
    const [early, late] = [await loop(store), await loop(store)];
    const items = numbered(60);
    const { result } = await early.run({ items, work: (id) => (id === '0' ? late.run({ items: items.slice(1, 50) }) : undefined) });
    expect(result.counts).to.include({ started: 11, skipped: 49 });
    expect(early.backend.log.filter(({ answer }) => typeof answer === 'object' && !answer.ok)).to.have.length(1);
  });

  it('waits for what another run holds', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    const claim = (await a.state.claim('x'))!;
    setTimeout(() => void claim.end({ status: 'success' }), 100);
    const events: string[] = [];
    const { result, ran } = await b.run({ items: ['x', 'y'], onProgress: (event) => events.push(event.type) });
    expect(ran).to.deep.equal(['y']);
    expect(result.status).to.equal('completed');
    expect(result.counts.skipped).to.equal(1);
    expect(events).to.include('waiting-for-others');
  });

  it('tells that it waits when that changes, and not each time that its workers look again', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    const claims = await Promise.all(['x', 'y'].map((id) => a.state.claim(id)));
    setTimeout(() => void Promise.all(claims.map((claim) => claim?.end({ status: 'success' }))), 1_500);
    const told: LoopEvent[] = [];
    const onProgress = (event: LoopEvent): void => void (event.type === 'waiting-for-others' && told.push(event));
    await b.run({ items: ['x', 'y', 'z'], concurrency: 2, onProgress });
    expect(told).to.deep.include({ type: 'waiting-for-others', items: 2 });
    // One more each, where the two are seen to be held, or to have ended, one after the other.
    expect(told.length).to.be.at.most(3);
  });

  it('asks once what an item is like that another run holds, however long it waits for it', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await a.state.claim('x');
    let asked = 0;
    const digest = (): string => `${++asked}`;
    const waiting = b.run({ items: ['x'], digest });
    await sleep(1_200);
    expect(asked).to.equal(1);
    await a.state.release('x');
    expect((await waiting).ran).to.deep.equal(['x']);
    expect(asked).to.equal(2);
    expect(await b.state.read('x')).to.include({ status: 'completed', digest: '2' });
  });

  it('does not wait when told not to', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await a.state.claim('x');
    const { result, ran } = await b.run({ items: ['x', 'y'], waitForOthers: false });
    expect(result).to.include({ status: 'stopped', reason: 'held-elsewhere' });
    expect(ran).to.deep.equal(['y']);
  });

  it('ends when its state is closed while it waits for what another run holds', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await a.state.claim('x');
    const onProgress = ({ type }: LoopEvent): void => void (type === 'waiting-for-others' && b.state.close());
    expect(await codeOf(b.run({ items: ['x'], onProgress }))).to.equal('LOOPSTATE_CLOSED');
  });

  it('ends when its state is closed while work runs', async () => {
    const { state, run } = await loop();
    expect(await codeOf(run({ items: ['x', 'y'], work: () => state.close() }))).to.equal('LOOPSTATE_CLOSED');
  });

  it('runs what is free behind 1,200 items that another run holds, and ends', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await Promise.all(numbered(1_200).map((id) => a.state.claim(id)));
    const { result, ran } = await b.run({ items: numbered(1_205), waitForOthers: false });
    expect(result).to.include({ status: 'stopped', reason: 'held-elsewhere' });
    expect(ran).to.have.length(5);
  });

  it('ends though another run holds more items than are looked at', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await Promise.all(numbered(10_600).map((id) => a.state.claim(id)));
    const { result, ran } = await b.run({ items: numbered(10_600), waitForOthers: false });
    expect(result).to.include({ status: 'stopped', reason: 'held-elsewhere' });
    expect(ran).to.have.length(0);
  });

  it('once-recorded: runs what has changed before it ends because the rest is held, however long it takes to see that', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await a.state.claim('x', { digest: 'old' });
    await a.state.end('x', { status: 'success' });
    await a.state.claim('held');
    await b.state.refresh();
    const { result, ran } = await b.run({
      items: ['x', 'held'],
      concurrency: 2,
      digest: (id) => (id === 'x' ? sleep(10).then(() => 'new') : 'new'),
      onChange: 'rerun',
      waitForOthers: false,
    });
    expect(result).to.include({ status: 'stopped', reason: 'held-elsewhere' });
    expect(ran).to.deep.equal(['x']);
  });

  it('once-recorded: waits for a changed item that another run, which found it changed too, runs again', async () => {
    const store = createMemoryStore();
    const [a, b] = [await loop(store), await loop(store)];
    await a.run({ items: ['x'], digest: () => 'old' });
    await b.state.refresh();
    const rerun = { items: ['x'], digest: () => 'new', onChange: 'rerun' } as const;
    let theirs: Promise<{ readonly ran: string[] }> | undefined;
    await a.run({
      ...rerun,
      work: async () => {
        theirs = b.run(rerun);
        expect(await Promise.race([theirs, sleep(300)])).to.equal(undefined);
      },
    });
    expect((await theirs)?.ran).to.deep.equal([]);
    expect(await b.state.read('x')).to.include({ status: 'completed', round: 2, digest: 'new' });
  });

  it('tells of an item that was taken over, and ends when its taker recorded it', async () => {
    const store = createMemoryStore();
    const { state, run } = await loop(store);
    const thief = openMemoryBackend({ store });
    const events: LoopEvent[] = [];
    const { result } = await run({
      items: ['x'],
      onProgress: (event) => events.push(event),
      work: async () => {
        const [record] = await thief.read(['item/x']);
        await thief.commit({
          puts: [{ key: 'item/x', value: { ...(record!.value as object), status: 'completed', run: 'thief', by: 'thief.1' } }],
        });
      },
    });
    expect(result.counts).to.include({ lost: 1, completed: 0, skipped: 1 });
    expect(events.map(({ type }) => type)).to.include('lost');
    expect((await state.read('x'))?.by).to.equal('thief.1');
  });
});

function isOutcome({ puts = [] }: Commit): boolean {
  return puts.some(({ value }) => (value as { status?: string }).status === 'completed');
}

function takeAway(backend: Unreliable): void {
  backend.isAway = true;
}

function byNumber(a: string, b: string): number {
  return Number(a) - Number(b);
}
