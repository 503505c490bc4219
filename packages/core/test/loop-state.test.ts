/**
 * Proves what `LoopState` promises within one store: claims, fences, outcomes, attempts, costs, lost replies and the clean end.
 * Several handles on one store in memory play several loops; a wrapper that loses commits and replies plays the network.
 */
import { createMemoryStore, type ItemResult, LoopReader, LoopState, openMemoryBackend, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';
import { unreliable } from './support/unreliable.js';
import { settle, World } from './support/world.js';

describe('LoopState', () => {
  it('remembers across openings what was begun and ended', async () => {
    const backend = openMemoryBackend();
    const first = await LoopState.open(backend);
    expect(first.isOutstanding('a')).to.equal(true);
    expect(await first.begin('a')).to.equal(true);
    expect(await first.end('a', { status: 'success', output: { n: 1 } })).to.equal('completed');
    await first.begin('b');
    await first.end('b', { status: 'error', reason: 'broken' });
    await first.begin('c');
    await first.close();

    const second = await LoopState.open(backend);
    expect(['a', 'b', 'c'].map((id) => second.isOutstanding(id))).to.deep.equal([false, false, true]);
    expect((await second.read('a'))?.output).to.deep.equal({ n: 1 });
    expect(await second.read('b')).to.include({ status: 'failed', reason: 'broken', attempt: 1 });
    expect(second.progress).to.include({ completed: 1, failed: 1, inProgress: 0, outstanding: 1 });
  });

  it('opens without writing anything', async () => {
    const store = createMemoryStore();
    const state = await LoopState.open(openMemoryBackend({ store }));
    await state.snapshot();
    await state.close();
    expect(store.state.revision).to.equal(0);
  });

  it('gives an item to one run, and not twice to the same', async () => {
    const [a, b] = await twoStates();
    const claim = await a.claim('x');
    expect(claim?.attempt).to.equal(1);
    expect(await b.claim('x')).to.equal(undefined);
    expect(await a.claim('x')).to.equal(undefined);
    expect(await a.begin('x')).to.equal(false);
    await claim?.end({ status: 'success' });
    expect(await b.claim('x')).to.equal(undefined);
    expect(b.isOutstanding('x')).to.equal(false);
  });

  it('lets exactly one of many racing claims win', async () => {
    const store = createMemoryStore();
    const states = await Promise.all(Array.from({ length: 8 }, () => LoopState.open(openMemoryBackend({ store }))));
    for (let n = 0; n < 20; n++) {
      const claims = await Promise.all(states.map((state) => state.claim(`item-${n}`)));
      expect(claims.filter((claim) => claim !== undefined)).to.have.length(1);
    }
  });

  it('fences: each claim of an item has a larger fence than the one before', async () => {
    const state = await LoopState.open(openMemoryBackend());
    let last = 0;
    for (let n = 0; n < 5; n++) {
      const claim = (await state.claim('x'))!;
      expect(claim.fence).to.be.greaterThan(last);
      last = claim.fence;
      await claim.release();
    }
  });

  it('refuses to end what closing the state gave back', async () => {
    const backend = openMemoryBackend();
    const state = await LoopState.open(backend);
    const claim = (await state.claim('x'))!;
    await state.begin('y');
    await state.close();
    const result = { status: 'success' } as const;
    expect(await codeOf(claim.end(result))).to.equal('LOOPSTATE_CLOSED');
    expect(await codeOf(state.end('y', result))).to.equal('LOOPSTATE_CLOSED');
    await claim.release();
    const next = await LoopState.open(backend);
    expect([next.progress.outstanding, next.progress.inProgress]).to.deep.equal([2, 0]);
  });

  it('refuses to end what was not begun, or was ended', async () => {
    const state = await LoopState.open(openMemoryBackend());
    expect(await codeOf(state.end('x', { status: 'success' }))).to.equal('LOOPSTATE_NOT_CLAIMED');
    const claim = (await state.claim('x'))!;
    await claim.end({ status: 'success' });
    expect(await codeOf(claim.end({ status: 'error' }))).to.equal('LOOPSTATE_NOT_CLAIMED');
    expect((await state.read('x'))?.status).to.equal('completed');
    await claim.release();
    expect((await state.read('x'))?.status).to.equal('completed');
  });

  it('refuses bad ids before anything is written', async () => {
    const store = createMemoryStore();
    const state = await LoopState.open(openMemoryBackend({ store }));
    for (const id of ['', 'x'.repeat(1_025), '\ud800', 7, null, undefined, {}] as string[]) {
      expect(await codeOf(state.claim(id))).to.equal('LOOPSTATE_BAD_ID');
      expect(() => state.isOutstanding(id))
        .to.throw()
        .with.property('code', 'LOOPSTATE_BAD_ID');
    }
    expect(store.state.revision).to.equal(0);
    for (const id of ['é'.repeat(512), '__proto__', 'a\nb\0c', ' ']) expect(await state.begin(id)).to.equal(true);
  });

  it('refuses what is no result before anything is written, and the claim stands', async () => {
    const store = createMemoryStore();
    const state = await LoopState.open(openMemoryBackend({ store }));
    await state.begin('x');
    const { revision } = store.state;
    for (const result of [
      undefined,
      null,
      'success',
      {},
      { status: 'done' },
      { status: 'error', reason: 7 },
      { status: 'glitch', retryAfterMs: -1 },
    ]) {
      expect(await codeOf(state.end('x', result as ItemResult))).to.equal('LOOPSTATE_RESULT_REFUSED');
    }
    expect(store.state.revision).to.equal(revision);
    expect(await state.end('x', { status: 'success' })).to.equal('completed');

    const claim = (await state.claim('y'))!;
    const failure = { status: 'error' } as const;
    expect(await codeOf(claim.postpone({ status: 'success' } as never, { waitMs: 0 }))).to.equal('LOOPSTATE_RESULT_REFUSED');
    for (const options of [undefined, { waitMs: -1 }, { waitMs: Number.POSITIVE_INFINITY }, { waitMS: 1 }]) {
      expect(await codeOf(claim.postpone(failure, options as never)), JSON.stringify(options)).to.equal('LOOPSTATE_BAD_OPTION');
    }
    await claim.release();
    expect((await state.read('y'))?.attempt).to.equal(0);
  });

  it('refuses to look at what is no store', async () => {
    for (const store of [undefined, null, 'file:./x.json', {}] as never[]) {
      expect(await codeOf(LoopState.open(store)), JSON.stringify(store)).to.equal('LOOPSTATE_BAD_OPTION');
      expect(await codeOf(LoopReader.open(store)), JSON.stringify(store)).to.equal('LOOPSTATE_BAD_OPTION');
    }
    for (const options of [null, { access: 'read' }] as never[]) {
      expect(await codeOf((async () => openMemoryBackend(options))()), JSON.stringify(options)).to.equal('LOOPSTATE_BAD_OPTION');
    }
  });

  it('records a result that cannot be stored as an error with its own code', async () => {
    const state = await LoopState.open(openMemoryBackend());
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    const outputs: unknown[] = [cyclic, new Date(), 1n, Number.NaN, { a: undefined }, '\udc00', 'x'.repeat(1_048_000), () => 1];
    for (const [n, output] of outputs.entries()) {
      await state.begin(`${n}`);
      expect(await state.end(`${n}`, { status: 'success', output: output as never })).to.equal('failed');
      expect(await state.read(`${n}`)).to.include({ status: 'failed', code: 'LOOPSTATE_RESULT_REFUSED' });
    }
    await state.begin('cost');
    expect(await state.end('cost', { status: 'success', cost: { usd: -1 } })).to.equal('failed');
    // Nor does what comes with a cost that is nearly too large: a control character takes six bytes.
    for (const bytes of [1_007_000, 1_030_000, 1_040_000]) {
      await state.begin(`cost of ${bytes}`);
      const cost = { text: 'x'.repeat(bytes) } as never;
      expect(await state.end(`cost of ${bytes}`, { status: 'error', reason: '\u001b'.repeat(4_096), cost })).to.equal('failed');
    }
    // The work had failed by itself: what is said of that is not lost for its cost.
    await state.begin('both');
    await state.end('both', { status: 'error', reason: 'exit 3', cost: { usd: -1 } });
    const both = await state.read('both');
    expect(both).to.include({ status: 'failed', code: 'LOOPSTATE_RESULT_REFUSED' });
    expect(both?.reason?.split('\n')[0]).to.equal('exit 3');
  });

  it('cuts a reason to 4 KiB of well-formed text', async () => {
    const state = await LoopState.open(openMemoryBackend());
    await state.begin('x');
    await state.end('x', { status: 'error', reason: `\ud800${'é'.repeat(5_000)}` });
    const reason = (await state.read('x'))?.reason ?? '';
    expect(Buffer.byteLength(reason)).to.be.within(4_000, 4_096);
    expect(reason.isWellFormed()).to.equal(true);
  });

  it('counts glitches apart from attempts, and adds up the cost of all', async () => {
    const state = await LoopState.open(openMemoryBackend());
    for (let n = 0; n < 3; n++) {
      const claim = (await state.claim('x'))!;
      expect([claim.attempt, claim.glitches]).to.deep.equal([1, n]);
      expect(await claim.end({ status: 'glitch', reason: 'rate limit', retryAfterMs: 50, cost: { usd: 0.1 } })).to.equal('outstanding');
      expect(state.standing('x').waitMs).to.be.within(1, 50);
    }
    expect(state.progress).to.include({ glitched: 1, outstanding: 1, costUsd: 0.3 });
    await (await state.claim('x'))!.postpone({ status: 'error', reason: 'first', cost: { usd: 0.2 } }, { waitMs: 0 });
    expect(await state.read('x')).to.include({ status: 'outstanding', attempt: 1, lastError: 'first' });
    const second = (await state.claim('x'))!;
    expect(second.attempt).to.equal(2);
    await second.end({ status: 'success', cost: { usd: 0.5, source: 'provider' } });
    expect(state.progress).to.include({ completed: 1, glitched: 0, costUsd: 1 });
    expect((await state.read('x'))?.cost).to.deep.equal({ usd: 0.5, source: 'provider' });
  });

  it('starts a new round when the operator asks for it, and keeps the cost', async () => {
    const state = await LoopState.open(openMemoryBackend());
    await state.begin('x');
    await state.end('x', { status: 'error', reason: 'no', cost: { usd: 2 } });
    await state.begin('held');
    expect(await state.retry(['x', 'unknown', 'held'])).to.equal(1);
    expect(state.isOutstanding('x')).to.equal(true);
    const claim = (await state.claim('x'))!;
    expect(claim.attempt).to.equal(1);
    await claim.end({ status: 'success' });
    expect(await state.read('x')).to.include({ status: 'completed', round: 2, costUsd: 2 });
  });

  it('gives back its claims and takes its records away on close', async () => {
    const [a, b] = await twoStates();
    await a.begin('x');
    await a.begin('y');
    await a.close();
    await a.close();
    for (const call of [a.claim('z'), a.refresh(), a.snapshot()]) expect(await codeOf(call)).to.equal('LOOPSTATE_CLOSED');
    await b.refresh();
    expect(b.standing('x').standing).to.equal('free');
    expect((await b.claim('x'))?.attempt).to.equal(1);
    expect((await b.snapshot()).runs.map((run) => run.runId)).to.deep.equal([b.runId]);
  });

  it('gives back a claim that was under way when it was closed', async () => {
    const [a, b] = await twoStates();
    const claiming = a.claim('x');
    await a.close();
    await claiming;
    expect(await b.claim('x')).to.not.equal(undefined);
  });

  it('leaves the backend open unless told to close it', async () => {
    const backend = openMemoryBackend();
    await (await LoopState.open(backend)).close();
    await backend.read(['a']);
    await (await LoopState.open(backend, { closeBackend: true })).close();
    expect(await codeOf(backend.read(['a']))).to.equal('LOOPSTATE_CLOSED');
  });

  it('refuses unknown options and a store of a newer format', async () => {
    for (const options of [{ leaseMS: 1 }, { leaseMs: 5 }, { onEvent: 5 }, { closeBackend: 'yes' }, null, 5]) {
      expect(await codeOf(LoopState.open(openMemoryBackend(), options as never)), JSON.stringify(options)).to.equal('LOOPSTATE_BAD_OPTION');
    }
    const backend = openMemoryBackend();
    await backend.commit({ puts: [{ key: 'meta', value: { format: 2, store: 's', by: 'x.1' } }] });
    expect(await codeOf(LoopState.open(backend))).to.equal('LOOPSTATE_NEWER_FORMAT');
  });

  it('resets: everything is outstanding again, and revisions go on', async () => {
    const store = createMemoryStore();
    const state = await LoopState.open(openMemoryBackend({ store }));
    for (let n = 0; n < 1_200; n++) {
      await state.begin(`${n}`);
      await state.end(`${n}`, { status: 'success' });
    }
    const { revision } = store.state;
    expect(await state.reset()).to.equal(1_200);
    expect(state.progress).to.include({ completed: 0, inProgress: 0, outstanding: 0 });
    expect((await state.claim('0'))!.fence).to.be.greaterThan(revision);
  });

  it('does not reset under a live run', async () => {
    const [a, b] = await twoStates();
    await a.begin('x');
    expect(await codeOf(b.reset())).to.equal('LOOPSTATE_LOCKED');
    expect((await a.read('x'))?.status).to.equal('claimed');
  });

  it('changes/no-gap: sees each change of another run, also one that follows alone', async () => {
    const [a, b] = await twoStates();
    for (let n = 1; n <= 5; n++) {
      await a.claim(`${n}`);
      await b.refresh();
      expect(b.progress.inProgress).to.equal(n);
    }
  });

  it('changes/no-gap: sees that an item was forgotten that it recorded when it had not yet looked at the store', async () => {
    const store = createMemoryStore();
    const a = await LoopState.open(openMemoryBackend({ store }));
    const b = await LoopState.open(openMemoryBackend({ store }));
    await a.begin('x');
    await a.end('x', { status: 'success' });
    expect(await b.forget(['x'])).to.equal(1);
    await b.begin('y');
    await a.refresh();
    expect(a.isOutstanding('x')).to.equal(true);
    expect(a.progress).to.include({ completed: 0, inProgress: 1 });
    expect(await a.begin('x')).to.equal(true);
  });

  it('folds its progress from the records: equal to counting them, after any history (seeded)', async () => {
    const seed = Number(process.env.LOOPSTATE_SEED ?? Date.now() % 1e9);
    const random = seeded(seed);
    const [a, b] = await twoStates();
    for (let n = 0; n < 600; n++) {
      const state = random() < 0.5 ? a : b;
      const id = `${Math.floor(random() * 40)}`;
      const claim = await state.claim(id);
      if (claim === undefined) {
        if (random() < 0.2) await state.retry([id]);
        continue;
      }
      const kind = random();
      if (kind < 0.3) await claim.end({ status: 'success', cost: { usd: random() } });
      else if (kind < 0.5) await claim.end({ status: 'error', cost: { usd: 0.1 } });
      else if (kind < 0.7) await claim.end({ status: 'glitch', cost: { usd: 0.01 } });
      else if (kind < 0.9) await claim.release();
    }
    for (const state of [a, b]) {
      const { progress, items } = await state.snapshot();
      const count = (status: string): number => [...items.values()].filter((item) => item.status === status).length;
      const costUsd = [...items.values()].reduce((sum, item) => sum + (item.costUsd ?? 0), 0);
      expect([progress.completed, progress.failed, progress.inProgress, progress.outstanding], `seed ${seed}`).to.deep.equal(
        ['completed', 'failed', 'claimed', 'outstanding'].map(count),
      );
      expect(progress.costUsd, `seed ${seed}`).to.be.closeTo(costUsd, 1e-6);
    }
  });
});

describe('LoopState with lost replies', () => {
  for (const fault of ['reply-lost', 'lost'] as const) {
    it(`resolves a claim whose ${fault === 'lost' ? 'commit' : 'reply'} was lost`, async () => {
      const { state, backend, other } = await flakyState();
      backend.faults.push(fault);
      const claim = (await state.claim('x'))!;
      expect(claim.fence).to.equal((await state.read('x'))?.revision);
      expect(await other.claim('x')).to.equal(undefined);
      expect(await claim.end({ status: 'success' })).to.equal('completed');
    });

    it(`records one outcome when the ${fault === 'lost' ? 'commit' : 'reply'} of an end was lost`, async () => {
      const { state, backend, other } = await flakyState();
      const claim = (await state.claim('x'))!;
      backend.faults.push(fault);
      expect(await claim.end({ status: 'success', output: 1 })).to.equal('completed');
      expect((await other.read('x'))?.output).to.equal(1);
    });
  }

  it('lets at most one sending apply when the first lands late', async () => {
    const { state, backend } = await flakyState();
    backend.faults.push('lands-late');
    const claim = (await state.claim('x'))!;
    await backend.land();
    expect((await state.read('x'))?.revision).to.equal(claim.fence);
    backend.faults.push('lands-late');
    await claim.end({ status: 'success', output: 'once' });
    const { revision } = (await state.read('x'))!;
    await backend.land();
    expect(await state.read('x')).to.include({ output: 'once', revision });
  });

  it('keeps a claim whose end failed, so that it can be ended later', async () => {
    const { state, backend, other } = await flakyState();
    const claim = (await state.claim('x'))!;
    backend.isAway = true;
    expect(await codeOf(claim.end({ status: 'success', output: 1 }))).to.equal('LOOPSTATE_UNAVAILABLE');
    backend.isAway = false;
    expect(await other.claim('x')).to.equal(undefined);
    expect(await claim.end({ status: 'success', output: 1 })).to.equal('completed');
  });

  it('knows its own outcome when every reply was lost and it is ended again', async () => {
    const { state, backend } = await flakyState();
    const claim = (await state.claim('x'))!;
    backend.faults.push('reply-lost', 'lost', 'lost', 'lost', 'lost', 'lost');
    expect(await codeOf(claim.end({ status: 'success', output: 1 }))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    const answer = await claim.end({ status: 'success', output: 1 }).catch((error: { code: string }) => error.code);
    expect(answer).to.equal('completed');
  });

  it('commit/three-answers: does not take a claim for refused whose reply was lost before the store went away', async () => {
    const { state, backend } = await flakyState();
    backend.faults.push('reply-lost', 'away', 'away', 'away', 'away', 'away');
    expect(await codeOf(state.claim('x'))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(await state.read('x')).to.include({ status: 'claimed', run: state.runId });
  });

  it('gives back a claim that was seen to have landed while it was still asked for', async () => {
    const { state, backend, other } = await flakyState();
    backend.faults.push('reply-lost', 'lost', 'lost', 'lost', 'lost', 'lost');
    const claiming = codeOf(state.claim('x'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    await state.refresh();
    expect(await claiming).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    await state.refresh();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await other.refresh();
    expect((await other.claim('x'))?.attempt).to.equal(1);
  });

  it('gives back a claim that landed after its caller had given up', async () => {
    const { state, backend, other } = await flakyState();
    backend.faults.push('lands-late', 'lost', 'lost', 'lost', 'lost', 'lost');
    expect(await codeOf(state.claim('x'))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    await backend.land();
    expect(await other.claim('x')).to.equal(undefined);
    await state.refresh();
    await settle();
    await other.refresh();
    expect(await other.claim('x')).to.not.equal(undefined);
  });

  it('checks every key that it puts, in every commit', async () => {
    const { state, backend } = await flakyState();
    await (await state.claim('x'))!.end({ status: 'glitch' });
    await (await state.claim('x'))!.end({ status: 'error' });
    await state.retry(['x']);
    await state.begin('y');
    await state.close();
    expect(backend.log.length).to.be.greaterThan(5);
    for (const { commit } of backend.log) {
      const checked = new Set(commit.checks?.map((check) => check.key));
      for (const key of [...(commit.puts ?? []).map((put) => put.key), ...(commit.deletes ?? [])])
        expect(checked.has(key), key).to.equal(true);
    }
    const bys = backend.log.flatMap(({ commit }) => commit.puts ?? []).map((put) => (put.value as { by: string }).by);
    expect(new Set(bys).size).to.be.greaterThan(4);
  });
});

async function twoStates(): Promise<[LoopState, LoopState]> {
  const store = createMemoryStore();
  return [await LoopState.open(openMemoryBackend({ store })), await LoopState.open(openMemoryBackend({ store }))];
}

async function flakyState() {
  const world = new World();
  const store = createMemoryStore();
  const backend = unreliable(openMemoryBackend({ store, reach: 'network' }));
  const open = async (on: StateBackend): Promise<LoopState> => await LoopState.open(on, { environment: world.process() });
  const state = await open(backend);
  const other = await open(openMemoryBackend({ store, reach: 'network' }));
  await (await state.claim('warm-up'))!.release();
  return { state, backend, other };
}

/** mulberry32, by Tommy Ettinger (public domain). */
function seeded(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
