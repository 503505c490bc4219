/**
 * Proves that whoever only looks on reads a loop as it stands, and from a cursor on what changed since. On one store in memory that a
 * loop writes to.
 */
import { createMemoryStore, type LoopChange, LoopReader, LoopState, openMemoryBackend, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';

describe('LoopReader', () => {
  let backend: StateBackend;
  let state: LoopState;
  let reader: LoopReader;
  beforeEach(async () => {
    const store = createMemoryStore();
    backend = openMemoryBackend({ store, reach: 'network' });
    state = await LoopState.open(openMemoryBackend({ store, reach: 'network' }));
    reader = await LoopReader.open(backend);
  });
  afterEach(() => state.close());

  it('read/fresh: items and runs are read one by one, and what is not there is undefined', async () => {
    expect(await reader.item('x')).to.equal(undefined);
    const claim = (await state.claim('x'))!;
    expect(await reader.item('x')).to.include({ status: 'claimed', attempt: 1, run: state.runId, revision: claim.fence });
    expect(await reader.run(state.runId)).to.include({ pid: process.pid });
    expect(state.runs.map(({ runId }) => runId)).to.deep.equal([state.runId]);
    expect(await reader.run('another')).to.equal(undefined);
    expect(await codeOf(reader.item(''))).to.equal('LOOPSTATE_BAD_ID');
  });

  it('changes/no-gap: after the first reading comes only what changed, deletions included', async () => {
    await state.begin('x');
    await state.begin('y');
    const first = await changesAfter(0);
    expect(first.map(({ kind }) => kind).sort()).to.deep.equal(['beat', 'item', 'item', 'meta', 'run']);
    expect(await items()).to.deep.equal(['x claimed', 'y claimed']);
    const cursor = first.at(-1)!.revision;
    expect(await changesAfter(cursor)).to.deep.equal([]);
    await state.end('x', { status: 'success', output: 7 });
    await state.end('y', { status: 'error', reason: 'no' });
    await state.forget(['y']);
    const [done, gone, ...others] = await changesAfter(cursor);
    expect(done).to.deep.include({ kind: 'item', id: 'x' }).and.to.have.nested.include({ 'item.status': 'completed', 'item.output': 7 });
    expect(gone).to.include({ kind: 'item', id: 'y' }).and.to.not.have.property('item');
    expect(others).to.deep.equal([]);
    expect(await items()).to.deep.equal(['x completed']);
  });

  it('always-starts: what a later version may have written is left alone, its format is refused', async () => {
    await backend.commit({ puts: [{ key: 'note/x', value: 1 }] });
    expect((await changesAfter(0)).map(({ kind }) => kind)).to.deep.equal(['other']);
    await backend.commit({ puts: [{ key: 'meta', value: { format: 2, store: 'x', by: 'y' } }] });
    expect(await codeOf(LoopReader.open(backend))).to.equal('LOOPSTATE_NEWER_FORMAT');
    expect(await codeOf(LoopState.open(backend))).to.equal('LOOPSTATE_NEWER_FORMAT');
  });

  async function changesAfter(since: number): Promise<LoopChange[]> {
    const found: LoopChange[] = [];
    for await (const change of reader.changes(since)) found.push(change);
    return found;
  }

  async function items(): Promise<string[]> {
    const found: string[] = [];
    for await (const [id, { status }] of reader.items()) found.push(`${id} ${status}`);
    return found.sort();
  }
});
