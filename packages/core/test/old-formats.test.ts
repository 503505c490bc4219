/**
 * Proves that documents of the two older formats become the records they stand for, and that nothing else is taken for one of them.
 */
import { createMemoryStore, isOldFormat, type Json, LoopState, openMemoryBackend, recordsFromOldFormat } from '@loopstate/core';
import { expect } from 'chai';

describe('Older formats', () => {
  it('are told from everything else', () => {
    const old = [
      { completed: [] },
      { failed: [{ id: 'a', reason: 'b' }] },
      { completed: ['a'], failed: [], inProgress: 'c' },
      { inProgress: 'c' },
      { version: 2 },
      { version: 2, results: {}, claims: {}, totalUsd: 1 },
    ];
    for (const document of old) expect(isOldFormat(document), JSON.stringify(document)).to.equal(true);
    const other = [
      null,
      7,
      'x',
      [],
      {},
      { version: 3 },
      { version: 2, results: [] },
      { completed: 'a' },
      { name: 'package', dependencies: {} },
    ];
    for (const document of other) expect(isOldFormat(document), JSON.stringify(document)).to.equal(false);
  });

  it('open as loops: the first', async () => {
    const state = await opened({
      completed: ['a', 'b', 'a'],
      failed: [
        { id: 'c', reason: 'broken' },
        { id: 'a', reason: 'later' },
      ],
      inProgress: 'd',
    });
    expect(state.progress).to.include({ completed: 2, failed: 1, inProgress: 0 });
    expect(['a', 'b', 'c', 'd'].map((id) => state.isOutstanding(id))).to.deep.equal([false, false, false, true]);
    expect(await state.read('c')).to.include({ status: 'failed', reason: 'broken' });
  });

  it('open as loops: the second, with what was spent on glitches', async () => {
    const state = await opened({
      version: 2,
      results: {
        a: { status: 'success', cost: { usd: 0.5, costSource: 'provider' } },
        b: { status: 'error', reason: 'no', cost: { usd: 9, costSource: 'unavailable' } },
        c: { status: 'success' },
      },
      claims: { d: { runId: 'r', claimedAt: '2020-01-01' } },
      totalUsd: 0.75,
    });
    expect(state.progress).to.include({ completed: 2, failed: 1, inProgress: 0, costUsd: 0.75 });
    expect((await state.read('a'))?.cost).to.deep.equal({ usd: 0.5, costSource: 'provider' });
    expect(state.isOutstanding('d')).to.equal(true);
  });

  it('leave out what could not be an item', async () => {
    const state = await opened({ completed: ['', 7, 'x'.repeat(2_000), null, 'good'], failed: ['no object', { reason: 'no id' }] });
    expect(state.progress).to.include({ completed: 1, failed: 0 });
  });
});

async function opened(document: { [key: string]: Json }): Promise<LoopState> {
  const backend = openMemoryBackend({ store: createMemoryStore() });
  for (const put of recordsFromOldFormat(document, 'store')) await backend.commit({ puts: [put] });
  return await LoopState.open(backend);
}
