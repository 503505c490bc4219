/**
 * Proves on a real Redis server that a live loop survives the loss of its store: everything is flushed in the middle of a run, and at
 * the end every item has its one outcome, those from before the loss included.
 */
import { expect } from 'chai';
import { LoopState, type LoopStateEvent, runLoop } from 'loopstate';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { askRedis } from './support/resp.js';

describe('A Redis server that loses everything during a run', () => {
  let server: RedisServer;
  before(async function () {
    this.timeout(120_000);
    server = await startRedis();
  });
  after(() => server.remove());

  it('once-recorded: the run records again what it knows, says so, and finishes', async () => {
    const url = `redis://127.0.0.1:${server.port}/0?job=flushed`;
    const events: LoopStateEvent[] = [];
    const state = await LoopState.open(url, { onEvent: (event) => events.push(event) });
    const items = Array.from({ length: 120 }, (_, n) => `${n}`);
    let begun = 0;
    let flushed: Promise<unknown> | undefined;
    const result = await runLoop({
      state,
      items,
      concurrency: 4,
      work: async (id) => {
        begun += 1;
        if (begun === 60) flushed = askRedis(server.port, 'FLUSHALL');
        // Nobody is quicker than the loss.
        await flushed;
        return Number(id) * 2;
      },
    });
    expect(result.status).to.equal('completed');
    const told = events.find(({ type }) => type === 'went-backwards');
    expect(told).to.have.property('recordedAgain').within(50, 60);
    await state.close();

    const later = await LoopState.open(url);
    const { progress, items: records } = await later.snapshot();
    await later.close();
    expect(progress).to.include({ completed: 120, inProgress: 0, outstanding: 0 });
    for (const id of items) expect(records.get(id)?.output, id).to.equal(Number(id) * 2);
  }).timeout(60_000);
});
