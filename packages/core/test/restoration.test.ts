/**
 * Proves that a live run notices when its store went backwards, gives up what is gone, and records again what it knows. A wrapper that
 * puts a store in memory back to an older state, and refuses calls until the store is read from the start, plays a restored dump.
 */
import {
  createMemoryStore,
  LoopState,
  LoopStateError,
  type LoopStateEvent,
  type MemoryState,
  type MemoryStore,
  OutcomeUnknownError,
  openMemoryBackend,
  runLoop,
  type StateBackend,
} from '@loopstate/core';
import { expect } from 'chai';
import type { ClaimBook } from '../src/claim-book.js';
import type { Membership } from '../src/membership.js';
import { restore } from '../src/restoration.js';
import type { StoreLink } from '../src/store-link.js';
import { codeOf } from './support/codes.js';
import { World } from './support/world.js';

describe('A store that goes backwards', () => {
  it('gets back the outcomes of a live run, with their results', async () => {
    const { state, events, dump, restoreDump } = await setUp();
    await record(state, 'before', 1);
    const old = dump();
    for (const id of ['a', 'b', 'c']) await record(state, id, id);
    await state.begin('held');
    restoreDump(old);
    expect(await codeOf(state.claim('next'))).to.equal('LOOPSTATE_UNAVAILABLE');
    expect(events).to.deep.include({ type: 'went-backwards', recordedAgain: 3, withoutResult: 0 });
    for (const id of ['before', 'a', 'b', 'c']) expect((await state.read(id))?.status).to.equal('completed');
    expect(await state.read('a')).to.include({ output: 'a', recordedAgain: 'whole' });
    expect(await codeOf(state.end('held', { status: 'success' }))).to.equal('LOOPSTATE_LEASE_LOST');
    expect(await state.begin('next')).to.equal(true);
    expect(state.progress).to.include({ completed: 4 });
  });

  it('gets back only status and cost of what was recorded long ago', async () => {
    const { state, events, dump, restoreDump } = await setUp();
    await state.begin('x');
    const old = dump();
    for (let n = 0; n < 10_200; n++) await record(state, `${n}`, n);
    restoreDump(old);
    expect(await codeOf(state.refresh())).to.equal('LOOPSTATE_UNAVAILABLE');
    expect(events).to.deep.include({ type: 'went-backwards', recordedAgain: 10_200, withoutResult: 200 });
    expect(await state.read('0')).to.include({ status: 'completed', recordedAgain: 'status', costUsd: 0.5 });
    expect((await state.read('0'))?.output).to.equal(undefined);
    expect((await state.read('10199'))?.output).to.equal(10_199);
    expect(state.progress).to.include({ completed: 10_200, costUsd: 5_100 });
  }).timeout(60_000);

  it('keeps an outcome that is there already', async () => {
    const { world, state, dump, restoreDump, store } = await setUp();
    await state.begin('other');
    const old = dump();
    await record(state, 'x', 'mine');
    restoreDump(old);
    const other = await LoopState.open(openMemoryBackend({ store, reach: 'network' }), { environment: world.process('host-z') });
    await record(other, 'x', 'theirs');
    await codeOf(state.refresh());
    expect((await state.read('x'))?.output).to.equal('theirs');
  });

  it('once-recorded: an item that an operator put back meanwhile stays so', async () => {
    const { world, state, events, dump, restoreDump, store } = await setUp();
    await state.begin('x');
    await state.end('x', { status: 'error', reason: 'bad' });
    const operator = await LoopState.open(openMemoryBackend({ store, reach: 'network' }), { environment: world.process('host-z') });
    expect(await operator.retry(['x'])).to.equal(1);
    const old = dump();
    await record(state, 'y', 'y');
    restoreDump(old);
    await codeOf(state.refresh());
    expect(await state.read('x')).to.include({ status: 'outstanding', round: 2 });
    expect(events).to.deep.include({ type: 'went-backwards', recordedAgain: 1, withoutResult: 0 });
  });

  it('gets back an outcome that was acknowledged before the loss, and whose answer came after it', async () => {
    for (const isLate of [false, true]) {
      const { state, dump, restoreDump, holdAnswers } = await setUp();
      await record(state, 'before', 1);
      await state.begin('a');
      const old = dump();
      const release = holdAnswers();
      const ending = state.end('a', { status: 'success', output: 'a' });
      await new Promise(setImmediate);
      restoreDump(old);
      const refused = codeOf(state.claim('next'));
      if (isLate) await new Promise((resolve) => setTimeout(resolve, 20));
      release();
      expect(await ending).to.equal('completed');
      expect(await refused).to.equal('LOOPSTATE_UNAVAILABLE');
      expect(await state.read('a'), `the answer came ${isLate ? 'much ' : ''}later`).to.include({ status: 'completed', output: 'a' });
    }
  });

  it('acked-survives: gets back an outcome whose reply was lost, and that was found to be recorded when it was to be recorded again', async () => {
    const { state, dump, restoreDump, loseReply } = await setUp();
    const claim = (await state.claim('a'))!;
    const old = dump();
    loseReply();
    await codeOf(claim.end({ status: 'success', output: 'a' }));
    expect(await claim.end({ status: 'success', output: 'a' })).to.equal('completed');
    restoreDump(old);
    await codeOf(state.refresh());
    expect(await state.read('a')).to.include({ status: 'completed', output: 'a' });
  });

  it('once-recorded: an outcome whose reply was lost is found, though the store lost something else', async () => {
    const { state, events, dump, restoreDump, loseReply } = await setUp();
    const claim = (await state.claim('a'))!;
    loseReply();
    await codeOf(claim.end({ status: 'success', output: 'a' }));
    const old = dump();
    await record(state, 'b', 'b');
    restoreDump(old);
    await codeOf(state.refresh());
    expect(events.map(({ type }) => type)).to.deep.equal(['went-backwards']);
    expect(await claim.end({ status: 'success', output: 'a' })).to.equal('completed');
  });

  it('acked-survives: gets back the outcomes whichever call meets the loss', async () => {
    const calls: Readonly<Record<string, (state: LoopState) => Promise<unknown>>> = {
      read: (state) => state.read('a'),
      items: (state) => state.items().next(),
      snapshot: (state) => state.snapshot(),
      retry: (state) => state.retry(['x']),
      forget: (state) => state.forget(['x']),
      takeOverDead: (state) => state.takeOverDead(),
      releaseRun: (state) => state.releaseRun('x'),
      putItems: (state) => state.putItems([{ id: 'x', item: { status: 'completed', attempt: 1 } }], () => true),
      putCarriedUsd: (state) => state.putCarriedUsd(1),
      close: (state) => state.close(),
    };
    for (const [name, call] of Object.entries(calls)) {
      const { store, state, events, dump, restoreDump } = await setUp();
      const old = dump();
      await record(state, 'a', 'a');
      restoreDump(old);
      expect(await codeOf(call(state)), name).to.equal('LOOPSTATE_UNAVAILABLE');
      expect(events, name).to.deep.include({ type: 'went-backwards', recordedAgain: 1, withoutResult: 0 });
      expect(inStore(store, 'item/a'), name).to.include({ status: 'completed', output: 'a' });
    }
  });

  it('acked-survives: a restoration that is due is made by close, if by nobody else', async () => {
    const { store, state, dump, restoreDump, interruptions } = await setUp();
    const old = dump();
    await record(state, 'a', 'a');
    restoreDump(old);
    interruptions.set('commit', new LoopStateError('LOOPSTATE_UNAVAILABLE', 'The test interrupts it.'));
    expect(await codeOf(state.claim('next'))).to.equal('LOOPSTATE_UNAVAILABLE');
    await state.close();
    expect(inStore(store, 'item/a')).to.include({ status: 'completed', output: 'a' });
    expect([...store.state.entries.keys()].filter((key) => key.startsWith('run/') && inStore(store, key) !== undefined)).to.deep.equal([]);
  });

  it('always-starts: whoever only looks on takes the store as it is, and writes nothing', async () => {
    const { store, state, events, dump, restoreDump } = await setUp();
    const other = await LoopState.open(openMemoryBackend({ store, reach: 'network' }));
    await record(other, 'a', 'a');
    const old = dump();
    await record(other, 'b', 'b');
    await state.refresh();
    restoreDump(old);
    const { revision } = store.state;
    await codeOf(state.refresh());
    await state.refresh();
    expect(state.progress).to.include({ completed: 1 });
    expect(store.state.revision).to.equal(revision);
    expect(events).to.deep.equal([{ type: 'went-backwards', recordedAgain: 0, withoutResult: 0 }]);
    await other.close();
  });

  it('lets a loop finish by itself that asks what its items were like', async () => {
    const { state, dump, restoreDump } = await setUp();
    const digest = (): string => 'v1';
    const old = dump();
    await runLoop({ state, digest, items: ['a', 'b'], work: (id) => id });
    async function* items(): AsyncGenerator<string> {
      yield 'c';
      restoreDump(old);
      yield* ['a', 'b', 'd'];
    }
    const result = await runLoop({ state, digest, items: items(), work: (id) => id });
    expect(result.status).to.equal('completed');
    for (const id of ['a', 'b', 'c', 'd']) expect(await state.read(id)).to.include({ status: 'completed', output: id });
  });

  for (const where of ['reading', 'commit'] as const) {
    it(`acked-survives: a restoration that is interrupted (in a ${where}) is taken up again`, async () => {
      for (const code of ['LOOPSTATE_UNAVAILABLE', 'LOOPSTATE_WENT_BACKWARDS'] as const) {
        const { state, events, dump, restoreDump, interruptions } = await setUp();
        await record(state, 'before', 1);
        const old = dump();
        for (const id of ['a', 'b', 'c']) await record(state, id, id);
        restoreDump(old);
        interruptions.set(where, new LoopStateError(code, 'The test interrupts it.'));
        expect(await codeOf(state.claim('next')), code).to.equal('LOOPSTATE_UNAVAILABLE');
        expect(interruptions.size, code).to.equal(0);
        expect(events, code).to.deep.equal([]);
        expect(await state.begin('next'), code).to.equal(true);
        expect(events, code).to.deep.include({ type: 'went-backwards', recordedAgain: 3, withoutResult: 0 });
        for (const id of ['a', 'b', 'c']) expect(await state.read(id), code).to.include({ status: 'completed', output: id });
        expect(state.progress, code).to.include({ completed: 4, inProgress: 1 });
      }
    });
  }

  it('flat-cost: looks at each outcome a few times, however many are recorded again', async () => {
    const records = Array.from({ length: 5_000 }, (_, n) => [`${n}`, { status: 'completed', attempt: 1 }]);
    let looks = 0;
    const look = (): undefined => {
      looks += 1;
    };
    const view = { item: look };
    const link = { view, readFromTheStart: () => undefined, nextBy: () => 'run.1', send: () => ({ ok: true, revision: 1 }) };
    const membership = { isRegistered: true, noticeLoss: () => undefined, register: () => undefined };
    const claims = { outcomes: { records: () => records, add: () => undefined }, loseForgotten: () => undefined };
    const { recordedAgain } = await restore(
      link as unknown as StoreLink,
      membership as unknown as Membership,
      claims as unknown as ClaimBook,
    );
    expect(recordedAgain).to.equal(5_000);
    expect(looks).to.be.at.most(3 * 5_000);
  });

  it('value/exact: gets back a result as it was put, whatever became since of what it was made of', async () => {
    const { state, dump, restoreDump } = await setUp();
    const output: Record<string, unknown> = { n: 1 };
    const old = dump();
    await state.begin('a');
    await state.end('a', { status: 'success', output: output as never });
    output.n = 2;
    output.self = output;
    restoreDump(old);
    expect(await codeOf(state.refresh())).to.equal('LOOPSTATE_UNAVAILABLE');
    expect((await state.read('a'))?.output).to.deep.equal({ n: 1 });
  });

  for (const where of ['commit', 'changes'] as const) {
    it(`ends a loop whose store says the same of every ${where}: it has to be opened again`, async () => {
      const inner = openMemoryBackend({ reach: 'host' });
      const gone = new LoopStateError('LOOPSTATE_WENT_BACKWARDS', 'Its file is gone. Open it again.');
      let isGone = false;
      const refuse = (call: typeof where | 'commit'): void => {
        if (isGone && (call === where || call === 'commit')) throw gone;
      };
      const backend: StateBackend = {
        traits: inner.traits,
        recovery: [],
        read: (keys) => inner.read(keys),
        commit: async (commit) => {
          refuse('commit');
          return await inner.commit(commit);
        },
        async *changes(since) {
          refuse('changes');
          yield* inner.changes(since);
        },
        close: () => inner.close(),
      };
      const state = await LoopState.open(backend);
      const items = Array.from({ length: 10 }, (_, n) => `${n}`);
      const work = (id: string): void => {
        if (id === '3') isGone = true;
      };
      expect(await codeOf(runLoop({ state, items, work, graceMs: 0 }))).to.equal('LOOPSTATE_WENT_BACKWARDS');
    });
  }

  it('lets a loop finish by itself, each item with one outcome', async () => {
    const { state, dump, restoreDump } = await setUp();
    const items = Array.from({ length: 60 }, (_, n) => `${n}`);
    let old: MemoryState | undefined;
    let done = 0;
    const result = await runLoop({
      state,
      items,
      concurrency: 4,
      work: (id) => {
        done += 1;
        if (done === 20) old = dump();
        if (done === 40 && old !== undefined) restoreDump(old);
        return Number(id);
      },
    });
    expect(result.status).to.equal('completed');
    expect(state.progress).to.include({ completed: 60, inProgress: 0, outstanding: 0 });
    for (const id of items) expect((await state.read(id))?.output).to.equal(Number(id));
  });
});

async function setUp() {
  const store = createMemoryStore();
  const inner = openMemoryBackend({ store, reach: 'network' });
  let isBehind = false;
  let hasTold = false;
  let held: Promise<void> | undefined;
  let isReplyLost = false;
  /** What the next reading from the start, or the next commit, of a store that is not behind ends with. */
  const interruptions = new Map<'reading' | 'commit', Error>();
  const interrupt = (where: 'reading' | 'commit'): void => {
    const error = interruptions.get(where);
    interruptions.delete(where);
    if (error !== undefined) throw error;
  };
  const refuse = (): void => {
    if (!isBehind) return;
    hasTold = true;
    throw new LoopStateError('LOOPSTATE_WENT_BACKWARDS', 'The test put an older state in place.');
  };
  const backend: StateBackend = {
    traits: inner.traits,
    recovery: [],
    read: async (keys) => {
      refuse();
      return await inner.read(keys);
    },
    commit: async (commit) => {
      refuse();
      interrupt('commit');
      const result = await inner.commit(commit);
      await held;
      if (!isReplyLost) return result;
      isReplyLost = false;
      // Sending it again is refused for good: so the loop's state does not find out by itself, nor go on trying.
      interruptions.set('commit', new LoopStateError('LOOPSTATE_UNAVAILABLE', 'The test refuses it.'));
      throw new OutcomeUnknownError('The test lost the reply.');
    },
    async *changes(since) {
      if (since === 0 && hasTold) isBehind = false;
      refuse();
      for await (const change of inner.changes(since)) {
        yield change;
        if (since === 0) interrupt('reading');
      }
    },
    close: () => inner.close(),
  };
  const events: LoopStateEvent[] = [];
  const world = new World();
  const real = world.process('host-a');
  const state = await LoopState.open(backend, {
    onEvent: (event) => events.push(event),
    environment: { ...real, after: (ms, action) => cancel(setTimeout(action, ms)) },
  });
  const dump = (): MemoryState => ({ ...store.state, entries: new Map(store.state.entries) });
  const restoreDump = (old: MemoryState): void => {
    store.state = { ...old, entries: new Map(old.entries) };
    isBehind = true;
    hasTold = false;
  };
  /** What is committed from now on is answered only when the function that it returns is called. */
  const holdAnswers = (): (() => void) => {
    let release = (): void => {};
    held = new Promise((resolve) => {
      release = resolve;
    });
    return () => {
      held = undefined;
      release();
    };
  };
  const loseReply = (): void => {
    isReplyLost = true;
  };
  return { world, store, state, events, dump, restoreDump, holdAnswers, loseReply, interruptions };
}

/** What a record holds, past any handle on its store; undefined: there is none. */
function inStore(store: MemoryStore, key: string): unknown {
  const text = store.state.entries.get(key)?.text;
  return text === undefined ? undefined : JSON.parse(text);
}

async function record(state: LoopState, id: string, output: string | number): Promise<void> {
  await state.begin(id);
  await state.end(id, { status: 'success', output, cost: { usd: 0.5 } });
}

function cancel(timer: NodeJS.Timeout): () => void {
  timer.unref();
  return () => clearTimeout(timer);
}
