/**
 * Proves what an operator may do to a loop beside its runs: retry, forget, release. On one store in memory that several handles share.
 */
import { type BackendTraits, createMemoryStore, LoopState, openMemoryBackend, type StateBackend, UnavailableError } from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';
import { fleet } from './support/fleet.js';

describe('Operations', () => {
  it('once-recorded: 1,200 failed items are put back for one more round each, and what is completed only if it is named', async () => {
    const { a } = await handles();
    const ids = Array.from({ length: 1_200 }, (_, n) => `item-${n}`);
    for (const id of ids) {
      await a.begin(id);
      await a.end(id, { status: 'error', cost: { usd: 1 } });
    }
    expect(await a.retry([...ids, ...ids, 'unknown'])).to.equal(1_200);
    expect(await a.retry(ids)).to.equal(0);
    expect(a.progress).to.include({ failed: 0, outstanding: 1_200, costUsd: 1_200 });
    expect((await a.claim('item-7'))?.attempt).to.equal(1);
  });

  it('once-recorded: many items are put back, however large their reasons are as JSON', async () => {
    const { a } = await handles();
    const ids = Array.from({ length: 500 }, (_, n) => `${n}`.padStart(1_024, '0'));
    const item = { status: 'failed', attempt: 1, reason: '\0'.repeat(4_096) } as const;
    await a.putItems(
      ids.map((id) => ({ id, item })),
      () => true,
    );
    expect(await a.retry(ids)).to.equal(500);
    expect(a.progress).to.include({ failed: 0, outstanding: 500 });
  });

  it('always-starts: items are put back and forgotten, however large their results are, where an answer of more than 32 MiB comes too late', async () => {
    const inner = openMemoryBackend();
    const state = await LoopState.open({
      traits: inner.traits,
      recovery: [],
      async read(keys) {
        const records = await inner.read(keys);
        if (JSON.stringify(records).length > 32 * 1_024 * 1_024) throw new UnavailableError('The test lets no answer in time.');
        return records;
      },
      commit: (commit) => inner.commit(commit),
      changes: (since) => inner.changes(since),
      close: () => inner.close(),
    });
    const ids = Array.from({ length: 40 }, (_, n) => `${n}`);
    const item = { status: 'completed', attempt: 1, output: 'x'.repeat(1_000_000) } as const;
    const entries = ids.map((id) => ({ id, item }));
    await state.putItems(entries, () => true);
    await state.putItems(entries, () => true);
    expect(await state.retry(ids)).to.equal(40);
    await state.putItems(entries, () => true);
    expect(await state.forget(ids)).to.equal(40);
  });

  it('fenced: what is forgotten is as if it had never been begun, and what a live run holds stays', async () => {
    const { a, b } = await handles('network');
    for (const id of ['done', 'held', 'given-back']) await a.begin(id);
    await a.end('done', { status: 'success', output: 1, cost: { usd: 3 } });
    await a.release('given-back');
    expect(await b.forget(['done', 'held', 'given-back', 'unknown'])).to.equal(2);
    expect(await b.read('done')).to.equal(undefined);
    expect(b.progress).to.include({ completed: 0, inProgress: 1, outstanding: 0, costUsd: 0 });
    expect(await a.end('held', { status: 'success' })).to.equal('completed');
    expect((await b.claim('done'))?.attempt).to.equal(1);
  });

  it('fenced: what is held by a run that came while it was being forgotten stays', async () => {
    const store = createMemoryStore();
    const inner = openMemoryBackend({ store, reach: 'network' });
    const worker = await LoopState.open(openMemoryBackend({ store, reach: 'network' }));
    await worker.begin('x');
    await worker.close();
    const late = await LoopState.open(openMemoryBackend({ store, reach: 'network' }));
    const operator = await openWith(inner, { beforeRead: async () => void (await late.begin('x')) });
    expect(await operator.forget(['x'])).to.equal(0);
    expect(await late.end('x', { status: 'success' })).to.equal('completed');
  });

  it('fenced: what changes all the time is neither forgotten nor put back, and whoever asks is told', async () => {
    const store = createMemoryStore();
    const other = await LoopState.open(openMemoryBackend({ store }));
    await other.begin('x');
    await other.end('x', { status: 'error' });
    let round = 0;
    const beforeCommit = async (): Promise<void> => {
      round += 1;
      await other.putItems([{ id: 'x', item: { status: 'failed', attempt: 1, round } }], () => true);
    };
    const operator = await openWith(openMemoryBackend({ store }), { beforeCommit });
    expect(await codeOf(operator.retry(['x']))).to.equal('LOOPSTATE_UNAVAILABLE');
    expect(await codeOf(operator.forget(['x']))).to.equal('LOOPSTATE_UNAVAILABLE');
    expect(await other.read('x')).to.include({ status: 'failed', round });
  });

  it('fenced: a run that is released loses all that it holds, is told, and goes on under another id', async () => {
    const { world, open } = fleet();
    const [a, b] = [await open(world.process('host-a')), await open(world.process('host-b'))];
    const claims = [];
    for (let n = 0; n < 250; n++) claims.push((await a.state.claim(`item-${n}`))!);
    expect(await b.state.releaseRun('unknown')).to.equal(undefined);
    expect(await b.state.releaseRun(a.state.runId)).to.equal(250);
    expect(b.state.progress).to.include({ inProgress: 0, outstanding: 250 });
    const former = a.state.runId;
    for (const claim of claims) expect(await codeOf(claim.end({ status: 'success' }))).to.equal('LOOPSTATE_LEASE_LOST');
    const again = await a.state.claim('item-0');
    expect(again?.attempt, 'an attempt that does not count').to.equal(1);
    expect(a.state.runId).to.not.equal(former);
    expect((await a.state.read('item-0'))?.crashes).to.equal(undefined);
  });

  it('fenced: a run that is released loses what it holds, though the reply to that is lost', async () => {
    const { world, open } = fleet();
    const [a, b] = [await open(world.process('host-a')), await open(world.process('host-b'))];
    for (const id of ['x', 'y']) await a.state.begin(id);
    b.backend.faults.push('reply-lost');
    expect(await b.state.releaseRun(a.state.runId)).to.equal(2);
    expect(b.state.progress).to.include({ inProgress: 0, outstanding: 2 });
  });

  it('once-recorded: a reset forgets every item, and with them what was spent before the store began', async () => {
    const { a, b } = await handles();
    await a.putCarriedUsd(3);
    await a.begin('x');
    await a.end('x', { status: 'success', cost: { usd: 1 } });
    await a.close();
    expect(await b.reset()).to.equal(1);
    expect(b.progress).to.include({ completed: 0, costUsd: 0 });
    await b.refresh();
    expect(b.progress.costUsd, 'read anew').to.equal(0);
  });

  it('once-recorded: what is forgotten counts, though the reply to that is lost', async () => {
    const { world, open } = fleet();
    const { state, backend } = await open(world.process());
    for (const id of ['x', 'y', 'z']) await state.putItems([{ id, item: { status: 'completed', attempt: 1 } }], () => true);
    backend.faults.push('reply-lost');
    expect(await state.forget(['x', 'y'])).to.equal(2);
    backend.faults.push('reply-lost');
    expect(await state.reset()).to.equal(1);
    expect(state.progress).to.include({ completed: 0 });
  });

  it('once-recorded: a reset forgets an item that changes meanwhile, and those that were to be forgotten with it', async () => {
    const store = createMemoryStore();
    const other = await LoopState.open(openMemoryBackend({ store }));
    for (const id of ['x', 'y', 'z']) await other.putItems([{ id, item: { status: 'completed', attempt: 1 } }], () => true);
    let isBefore = true;
    const beforeCommit = async (): Promise<void> => {
      if (isBefore) await other.retry(['y']);
      isBefore = false;
    };
    const operator = await openWith(openMemoryBackend({ store }), { beforeCommit });
    expect(await operator.reset()).to.equal(3);
    expect(operator.progress).to.include({ completed: 0, outstanding: 0 });
  });

  it('once-recorded: a reset counts each item once, though its own deletions come while it reads', async () => {
    const { a } = await handles('process', readingSlowly);
    const ids = Array.from({ length: 600 }, (_, n) => `${n}`);
    await a.putItems(
      ids.map((id) => ({ id, item: { status: 'completed', attempt: 1 } })),
      () => true,
    );
    expect(await a.reset()).to.equal(600);
  });

  it('changes/no-gap: a snapshot shows each item once, as it stood last, though it changed while all were read', async () => {
    const meanwhile: (() => Promise<void>)[] = [];
    const { a, b } = await handles('host', (inner) => readingSlowly(inner, async () => await meanwhile.pop()?.()));
    const claims = await Promise.all(['x', 'y', 'z'].map((id) => b.claim(id)));
    await a.refresh();
    meanwhile.push(async () => {
      for (const claim of claims) await claim?.release();
      await b.claim('x');
      await b.forget(['z']);
    });
    const { items, runs } = await a.snapshot();
    expect([...items].map(([id, { status }]) => `${id} ${status}`)).to.deep.equal(['x claimed', 'y outstanding']);
    expect(runs.map(({ runId, holds }) => [runId, holds])).to.deep.equal([[b.runId, 1]]);
  });

  it('changes/no-gap: items come one after another, each as it stands', async () => {
    const { a } = await handles();
    for (const id of ['x', 'y']) await a.begin(id);
    await a.end('x', { status: 'success', output: [1] });
    const found = [];
    for await (const [id, { status }] of a.items()) found.push(`${id} ${status}`);
    expect(found.sort()).to.deep.equal(['x completed', 'y claimed']);
  });

  it('value/exact: a digest is kept with the item until it is claimed with another, and a bad one is refused', async () => {
    const { a } = await handles();
    const claim = (await a.claim('x', { digest: 'one' }))!;
    await claim.end({ status: 'success' });
    expect((await a.read('x'))?.digest).to.equal('one');
    await a.retry(['x']);
    await (await a.claim('x', { digest: 'two' }))!.end({ status: 'success' });
    expect((await a.read('x'))?.digest).to.equal('two');
    for (const digest of ['', 'x'.repeat(1_025), '\ud800', 7 as never])
      expect(await codeOf(a.claim('y', { digest })), JSON.stringify(digest)).to.equal('LOOPSTATE_BAD_OPTION');
    for (const options of [null, 'one', { digset: 'one' }])
      expect(await codeOf(a.claim('y', options as never)), JSON.stringify(options)).to.equal('LOOPSTATE_BAD_OPTION');
    expect(await a.read('y')).to.equal(undefined);
  });

  it('a string is no list of ids, nor is anything else that is none', async () => {
    const { a } = await handles();
    for (const id of ['a', 'b']) await (await a.claim(id))!.end({ status: 'success' });
    for (const ids of ['ab', undefined, null, 5, {}] as never[]) {
      expect(await codeOf(a.retry(ids)), JSON.stringify(ids)).to.equal('LOOPSTATE_BAD_OPTION');
      expect(await codeOf(a.forget(ids)), JSON.stringify(ids)).to.equal('LOOPSTATE_BAD_OPTION');
    }
    expect([await a.read('a'), await a.read('b')].map((item) => item?.status)).to.deep.equal(['completed', 'completed']);
  });
});

async function handles(reach: BackendTraits['reach'] = 'process', seen: (inner: StateBackend) => StateBackend = (inner) => inner) {
  const store = createMemoryStore();
  const open = async (): Promise<LoopState> => await LoopState.open(seen(openMemoryBackend({ store, reach })));
  return { a: await open(), b: await open() };
}

/** A store that is read a part at a time, as those on disks and servers are: what is committed meanwhile, when `whenRead` is called, comes along. */
function readingSlowly(inner: StateBackend, whenRead?: () => Promise<void>): StateBackend {
  return {
    traits: inner.traits,
    recovery: [],
    read: (keys) => inner.read(keys),
    commit: (commit) => inner.commit(commit),
    async *changes(since) {
      let last = since;
      for await (const change of inner.changes(since)) {
        last = change.revision;
        yield change;
      }
      if (last === since) return;
      if (since === 0) await whenRead?.();
      yield* inner.changes(last);
    },
    close: () => inner.close(),
  };
}

/** A state before whose reads or commits something else happens. */
async function openWith(
  inner: StateBackend,
  { beforeRead, beforeCommit }: { readonly beforeRead?: () => Promise<void>; readonly beforeCommit?: () => Promise<void> },
): Promise<LoopState> {
  return await LoopState.open({
    traits: inner.traits,
    recovery: [],
    async read(keys) {
      await beforeRead?.();
      return await inner.read(keys);
    },
    async commit(commit) {
      await beforeCommit?.();
      return await inner.commit(commit);
    },
    changes: (since) => inner.changes(since),
    close: () => inner.close(),
  });
}
