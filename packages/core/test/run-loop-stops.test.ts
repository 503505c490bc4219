/**
 * Proves what stops a loop, and what a stop leaves behind: bounds, signals and those who abort it.
 * Real timers, with delays of a few milliseconds; a store in memory behind a connection that can fail.
 */
import { EventEmitter, once } from 'node:events';
import {
  type Commit,
  type Environment,
  type ItemStatus,
  type LoopEvent,
  LoopState,
  LoopStateError,
  openMemoryBackend,
  realEnvironment,
  runLoop,
  UnavailableError,
} from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';
import { loop, numbered, sleep } from './support/loop.js';

describe('runLoop and bounds', () => {
  it('stops after maxItems; without more to do it is complete', async () => {
    const { run } = await loop();
    const first = await run({ items: numbered(10), maxItems: 4, concurrency: 3 });
    expect(first.result).to.include({ status: 'stopped', reason: 'max-items' });
    expect(first.ran).to.have.length(4);
    const second = await run({ items: numbered(10), maxItems: 6, concurrency: 3 });
    expect(second.result.status).to.equal('completed');
    expect(second.ran).to.have.length(6);
  });

  it('stops once the budget is spent, counting what earlier runs spent', async () => {
    const { run } = await loop();
    const work = (): unknown => ({ status: 'success', cost: { usd: 1 } });
    const first = await run({ items: numbered(20), work, maxBudgetUsd: 5 });
    expect(first.result).to.include({ status: 'stopped', reason: 'max-budget' });
    expect(first.ran).to.have.length(5);
    const second = await run({ items: numbered(20), work, maxBudgetUsd: 5 });
    expect(second.ran).to.have.length(0);
    const third = await run({ items: numbered(20), work, maxBudgetUsd: 8, concurrency: 4 });
    expect(third.ran.length).to.be.within(3, 3 + 3);
  });

  it('begins nothing on a budget that is spent, however long the store takes to say so', async () => {
    const state = await openSlowly(() => 5);
    let ran = 0;
    const work = (): unknown => {
      ran += 1;
      return { status: 'success', cost: { usd: 1 } };
    };
    const result = await runLoop({ state, items: numbered(10), work, maxBudgetUsd: 3 });
    expect(result).to.include({ status: 'stopped', reason: 'max-budget' });
    expect(ran).to.equal(3);
    await state.close();
  });
});

describe('runLoop and being stopped', () => {
  it('begins nothing more when it is told to halt, and records what runs', async () => {
    const { state, run } = await loop();
    const halt = new AbortController();
    const { result, ran } = await run({
      items: numbered(10),
      halt: halt.signal,
      work: async (_, { signal }) => {
        halt.abort();
        await sleep(5);
        return signal.aborted;
      },
    });
    expect(result).to.include({ status: 'stopped', reason: 'halted' });
    expect(ran).to.have.length(1);
    expect((await state.read('0'))?.output).to.equal(false);
    expect((await run({ items: ['10'], halt: halt.signal })).ran).to.deep.equal([]);
  });

  it('aborts running work by its signal, gives the items back, and goes on later', async () => {
    const { state, run } = await loop();
    const controller = new AbortController();
    const { result } = await run({
      items: numbered(10),
      concurrency: 2,
      signal: controller.signal,
      work: async (item, { signal }) => {
        if (item !== '4') return;
        controller.abort();
        signal.throwIfAborted();
      },
    });
    expect(result).to.include({ status: 'interrupted', reason: 'aborted' });
    expect(state.isOutstanding('4')).to.equal(true);
    expect(state.progress.inProgress).to.equal(0);
    expect((await run({ items: numbered(10) })).result.status).to.equal('completed');
    expect((await state.read('4'))?.attempt).to.equal(1);
  });

  it('records work that finishes although it was aborted', async () => {
    const { state, run } = await loop();
    const controller = new AbortController();
    await run({
      items: ['a', 'b'],
      signal: controller.signal,
      work: async () => {
        controller.abort();
        await sleep(2);
        return 'done all the same';
      },
    });
    expect((await state.read('a'))?.output).to.equal('done all the same');
    expect(await state.read('b')).to.equal(undefined);
  });

  it('does not wait for ever for work that ignores its signal', async () => {
    const { state, run } = await loop();
    const controller = new AbortController();
    const { result } = await run({
      items: ['a'],
      signal: controller.signal,
      graceMs: 5,
      work: async () => {
        controller.abort();
        await sleep(60);
        return 'too late';
      },
    });
    expect(result.status).to.equal('interrupted');
    expect(state.standing('a').standing).to.equal('free');
    await sleep(80);
    expect((await state.read('a'))?.status).to.equal('outstanding');
  });

  it('leaves no timer behind, at whichever moment it is aborted', async () => {
    let waiting = 0;
    const after: Environment['after'] = (ms, action, options) => {
      waiting += 1;
      const cancel = realEnvironment.after(ms, action, options);
      return () => {
        waiting -= 1;
        cancel();
      };
    };
    for (let turns = 0; turns < 40; turns++) {
      const state = await LoopState.open(openMemoryBackend(), { environment: { ...realEnvironment, after } });
      const controller = new AbortController();
      const abort = async (): Promise<void> => {
        for (let turn = 0; turn < turns; turn++) await undefined;
        controller.abort();
      };
      const onProgress = ({ type }: LoopEvent): void => void (type === 'completed' && abort());
      await runLoop({ state, items: ['a'], work: () => undefined, signal: controller.signal, onProgress });
      await sleep(0);
      expect(waiting, `after ${turns} turns`).to.equal(0);
    }
  });

  it('begins nothing when its signal was aborted before', async () => {
    const { run } = await loop();
    const { result, ran } = await run({ items: ['a'], signal: AbortSignal.abort() });
    expect([result.status, ran.length]).to.deep.equal(['interrupted', 0]);
  });

  for (const how of ['halt', 'signal'] as const) {
    it(`one-item: begins nothing that it was still claiming when it was told by its ${how}, not even after it has returned`, async () => {
      for (const graceMs of [1, 100]) {
        const state = await openSlowly((commit) => (puts('claimed', commit) ? 30 : 0));
        const controller = new AbortController();
        setTimeout(() => controller.abort(), 10);
        const ran: string[] = [];
        const work = (id: string): unknown => ran.push(id);
        const result = await runLoop({ state, items: ['a', 'b', 'c'], concurrency: 2, graceMs, [how]: controller.signal, work });
        expect(result.reason).to.equal(how === 'halt' ? 'halted' : 'aborted');
        await sleep(50);
        // What was claimed meanwhile is given back when it is, on a slow machine later.
        for (let waits = 0; state.progress.inProgress > 0 && waits < 200; waits++) await sleep(20);
        expect(ran).to.deep.equal([]);
        expect(state.progress).to.include({ completed: 0, inProgress: 0 });
      }
    });
  }

  it('one-item: gives back a claim that is granted, at the second try, after it was told to halt', async () => {
    const halt = new AbortController();
    const state = await openSlowly(failingOnce('claimed', () => halt.abort()));
    const stopped = await runLoop({ state, items: ['a', 'b'], halt: halt.signal, work: () => 1 });
    expect(stopped.reason).to.equal('halted');
    expect(stopped.progress).to.include({ completed: 0, inProgress: 0, outstanding: 1 });
    const resumed = await runLoop({ state, items: ['a', 'b'], work: () => 1, waitForOthers: false });
    expect(resumed).to.include({ status: 'completed' });
  });

  it('once-recorded: counts an outcome that is recorded, at the second try, after it was aborted', async () => {
    const abort = new AbortController();
    const state = await openSlowly(failingOnce('completed', () => abort.abort()));
    const { reason, counts } = await runLoop({ state, items: ['a'], signal: abort.signal, work: () => 1 });
    expect(reason).to.equal('aborted');
    expect(counts).to.include({ completed: 1, unrecorded: 0 });
  });

  it('one-item: gives back an item whose outcome the store refuses for good', async () => {
    let hasRefused = false;
    const state = await openSlowly((commit) => {
      if (hasRefused || !puts('completed', commit)) return 0;
      hasRefused = true;
      throw new LoopStateError('LOOPSTATE_FOREIGN', 'The test refuses it.');
    });
    expect(await codeOf(runLoop({ state, items: ['a'], work: () => 1 }))).to.equal('LOOPSTATE_FOREIGN');
    expect(state.progress).to.include({ completed: 0, inProgress: 0, outstanding: 1 });
  });

  it('one-item: gives back what maxItems counted when running work is to end too', async () => {
    const state = await openSlowly((commit) => (puts('completed', commit, 'item/0') ? 60 : 5));
    const controller = new AbortController();
    const ran: string[] = [];
    const result = await runLoop({
      state,
      items: numbered(9),
      maxItems: 3,
      concurrency: 2,
      signal: controller.signal,
      work: (id) => ran.push(id),
      onProgress: ({ type }) => type === 'stopping' && controller.abort(),
    });
    expect(ran).to.deep.equal(['0', '1']);
    expect(result.counts).to.include({ started: 2, completed: 2 });
    expect(state.progress).to.include({ completed: 2, inProgress: 0 });
  });

  it('is stopped, and has not failed, though its input fails by the same signal', async () => {
    for (const option of ['signal', 'halt'] as const) {
      const { run } = await loop();
      const stopping = new AbortController();
      const isStopped = once(stopping.signal, 'abort');
      const { result } = await run({
        concurrency: 2,
        [option]: stopping.signal,
        items: (async function* () {
          yield 'a';
          setImmediate(() => stopping.abort());
          await isStopped;
          throw stopping.signal.reason;
        })(),
        work: () => isStopped.then(() => sleep(0)),
      });
      expect(result).to.include({ reason: option === 'signal' ? 'aborted' : 'halted' });
      expect(result.progress.completed).to.equal(1);
    }
  });

  it('is stopped while it passes over what is done, though an item waits for its time', async () => {
    const { run } = await loop();
    const done = numbered(2_500);
    await run({ items: done, concurrency: 100 });
    const controller = new AbortController();
    function* items(): Generator<string> {
      yield 'glitching';
      setImmediate(() => controller.abort());
      yield* done;
    }
    const work = (): unknown => ({ status: 'glitch', reason: 'Not now.', retryAfterMs: 60_000 });
    const running = run({ items: items(), work, signal: controller.signal });
    const ended = await Promise.race([running, sleep(5_000)]);
    expect(ended?.result).to.include({ status: 'interrupted', reason: 'aborted' });
    expect(ended?.result.counts.skipped).to.be.below(2_500);
  });

  it('is stopped while its input lets it wait', async () => {
    const { run } = await loop();
    const controller = new AbortController();
    async function* silent(): AsyncGenerator<string> {
      yield 'a';
      await new Promise(() => undefined);
    }
    setTimeout(() => controller.abort(), 10);
    const { result } = await run({ items: silent(), signal: controller.signal });
    expect(result).to.include({ status: 'interrupted' });
    expect(result.counts.completed).to.equal(1);
  });

  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    it(`finishes what runs after the first ${name}, ends it after the second`, async () => {
      const { state, run } = await loop();
      const listeners = process.listenerCount(name);
      const first = await run({ items: ['a', 'b'], work: (item) => void (item === 'a' && process.emit(name, name)) });
      expect(first.result).to.include({ status: 'interrupted', reason: name });
      expect([state.isOutstanding('a'), state.isOutstanding('b')]).to.deep.equal([false, true]);
      const second = await run({
        items: ['b'],
        work: async (_item, { signal }) => {
          process.emit(name, name);
          expect(signal.aborted).to.equal(false);
          process.emit(name, name);
          signal.throwIfAborted();
        },
      });
      expect(second.result.reason).to.equal(name);
      expect(state.isOutstanding('b')).to.equal(true);
      expect(process.listenerCount(name)).to.equal(listeners);
    });
  }

  it('stops all loops of a process by one signal, each by itself, and nobody is warned of a leak', async () => {
    const before = process.listenerCount('SIGTERM');
    const warnings: Error[] = [];
    const warn = (warning: Error): unknown => warnings.push(warning);
    process.on('warning', warn);
    let begun = 0;
    const results = await Promise.all(
      numbered(12).map(async (id) => {
        const { state } = await loop();
        const work = async (): Promise<void> => {
          begun += 1;
          if (begun === 12) process.emit('SIGTERM', 'SIGTERM');
          await sleep(2);
        };
        return await runLoop({ state, items: [id, 'next'], work });
      }),
    );
    await sleep(0);
    process.off('warning', warn);
    expect(results.map(({ reason, counts }) => [reason, counts.completed])).to.deep.equal(results.map(() => ['SIGTERM', 1]));
    expect(process.listenerCount('SIGTERM')).to.equal(before);
    expect(warnings).to.deep.equal([]);
  });

  it('finishes what runs after a SIGHUP, however often it comes, and ends it after a SIGTERM', async () => {
    const { state, run } = await loop();
    const listeners = process.listenerCount('SIGHUP');
    const { result } = await run({
      items: ['a', 'b', 'c'],
      concurrency: 2,
      work: async (item, { signal }) => {
        if (item === 'a') return;
        for (let times = 0; times < 3; times++) process.emit('SIGHUP', 'SIGHUP');
        await sleep(5);
        expect(signal.aborted).to.equal(false);
        process.emit('SIGTERM', 'SIGTERM');
        signal.throwIfAborted();
      },
    });
    expect(result).to.include({ status: 'interrupted', reason: 'SIGHUP' });
    expect(['a', 'b', 'c'].map((id) => state.isOutstanding(id))).to.deep.equal([false, true, true]);
    expect(process.listenerCount('SIGHUP')).to.equal(listeners);
  });

  it('is interrupted by a SIGINT that comes while it stops for another reason, and finishes what runs', async () => {
    const { run } = await loop();
    const steps = new EventEmitter();
    const { result } = await run({
      items: ['a', 'b'],
      maxItems: 1,
      concurrency: 2,
      onProgress: ({ type }) => steps.emit(type),
      work: async () => {
        await once(steps, 'stopping');
        process.emit('SIGINT', 'SIGINT');
      },
    });
    expect(result).to.include({ status: 'interrupted', reason: 'SIGINT' });
    expect(result.counts).to.include({ completed: 1, started: 1 });
  });

  it('is halted, and not interrupted, by a caller that aborts what it has halted', async () => {
    const { run } = await loop();
    const [halt, abort] = [new AbortController(), new AbortController()];
    const { result } = await run({
      items: ['a', 'b'],
      halt: halt.signal,
      signal: abort.signal,
      work: async (_item, { signal }) => {
        halt.abort();
        abort.abort();
        signal.throwIfAborted();
      },
    });
    expect(result).to.include({ status: 'stopped', reason: 'halted' });
    expect(result.counts).to.include({ completed: 0, started: 1 });
  });

  for (const why of ['maxItems', 'input'] as const) {
    it(`ends what runs after the second SIGINT, also when it stops for another reason (${why})`, async () => {
      const { state, run } = await loop();
      const steps = new EventEmitter();
      async function* broken(): AsyncGenerator<string> {
        yield 'a';
        await once(steps, 'begun');
        setTimeout(() => steps.emit('stopping'), 5);
        throw new RangeError('the input broke');
      }
      const running = run({
        items: why === 'input' ? broken() : ['a', 'b'],
        maxItems: 1,
        concurrency: 2,
        onProgress: ({ type }) => steps.emit(type),
        work: async (_item, { signal }) => {
          steps.emit('begun');
          await once(steps, 'stopping');
          process.emit('SIGINT', 'SIGINT');
          expect(signal.aborted).to.equal(false);
          process.emit('SIGINT', 'SIGINT');
          signal.throwIfAborted();
        },
      });
      if (why === 'input') expect(await codeOf(running)).to.equal('RangeError: the input broke');
      else expect((await running).result).to.include({ status: 'interrupted', reason: 'SIGINT' });
      expect(state.isOutstanding('a')).to.equal(true);
      expect(state.progress.completed).to.equal(0);
    });
  }
});

/** A state whose store takes so many ms before it judges a commit; what `delayMs` throws is the answer. */
async function openSlowly(delayMs: (commit: Commit) => number): Promise<LoopState> {
  const store = openMemoryBackend();
  return await LoopState.open({
    traits: store.traits,
    recovery: [],
    read: (keys) => store.read(keys),
    changes: (since) => store.changes(since),
    async commit(commit) {
      await sleep(delayMs(commit));
      return await store.commit(commit);
    },
    close: () => store.close(),
  });
}

/** Delays for {@link openSlowly}: the store is away at the first commit of this status, and at the second one `onSecond` is called. */
function failingOnce(status: ItemStatus, onSecond: () => void): (commit: Commit) => number {
  let tries = 0;
  return (commit) => {
    if (!puts(status, commit)) return 0;
    tries += 1;
    if (tries === 1) throw new UnavailableError('The test took the store away.');
    if (tries === 2) onSecond();
    return 5;
  };
}

/** Whether a commit puts an item of this status, and with this key if one is given. */
function puts(status: ItemStatus, commit: Commit, itemKey?: string): boolean {
  return (commit.puts ?? []).some(({ key, value }) => (value as { status?: string }).status === status && (itemKey ?? key) === key);
}
