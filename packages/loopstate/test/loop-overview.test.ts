/**
 * The figures of a loop are those of its records, whether everything was read at once or, over any history, only what changed. On one
 * store in memory that two runs work on; the clocks are the test's.
 */
import { createMemoryStore, type LoopChange, LoopReader, LoopState, openMemoryBackend, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { seeded, seedFromEnvironment } from '../../../test/support/seeded.js';
import { LoopFollower } from '../src/cli/loop-follower.js';
import { LoopOverview } from '../src/cli/loop-overview.js';
import { OutcomeRate } from '../src/cli/outcome-rate.js';

const CLOCKS = { wallMs: () => Date.now(), monotonicMs: () => 0 };

describe('LoopOverview', () => {
  it('changes/no-gap: figures that follow a loop equal those read at once and those of the loop itself, after any history (seeded)', async () => {
    const seed = seedFromEnvironment();
    console.log(`      LOOPSTATE_SEED=${seed}`);
    const random = seeded(seed);
    const { store, states } = await twoStates();
    await states[0]?.putCarriedUsd(1 / 3);
    const follower = await follow(openMemoryBackend({ store, reach: 'network' }));
    for (let n = 0; n < 600; n++) {
      const state = states[random() < 0.5 ? 0 : 1] as LoopState;
      const id = `${Math.floor(random() * 40)}`;
      const claim = await state.claim(id);
      const kind = random();
      if (claim === undefined && kind < 0.2) await state.retry([id]);
      else if (claim === undefined && kind < 0.4) await state.forget([id]);
      else if (kind < 0.3) await claim?.end({ status: 'success', cost: { usd: random() } });
      else if (kind < 0.5) await claim?.end({ status: 'error', reason: `no ${id}, ${Math.floor(random() * 3)} times`, cost: { usd: 0.1 } });
      else if (kind < 0.7) await claim?.end({ status: 'glitch', cost: { usd: 0.01 } });
      else if (kind < 0.9) await claim?.release();
      if (random() < 0.3) await follower.read();
    }
    await follower.read();
    const atOnce = await follow(openMemoryBackend({ store, reach: 'network' }));
    await states[0]?.refresh();
    for (const { overview } of [follower, atOnce]) {
      expect(overview.progress).to.deep.equal(states[0]?.progress);
      const snapshot = await states[0]?.snapshot();
      const items = [...(snapshot?.items ?? [])];
      expect(overview.held.map(({ id }) => id).sort()).to.deep.equal(
        items
          .filter(([, item]) => item.status === 'claimed')
          .map(([id]) => id)
          .sort(),
      );
      expect(overview.runs.map(({ runId, held }) => [runId, held.length])).to.deep.equal(
        snapshot?.runs.map(({ runId, holds }) => [runId, holds]),
      );
      expect(overview.failures.reduce((sum, { count }) => sum + count, 0)).to.equal(overview.progress.failed);
    }
    expect(follower.overview.failures).to.have.deep.members(atOnce.overview.failures);
    for (const state of states) await state.close();
  });

  it('changes/no-gap: a change that is fed twice counts once', () => {
    const overview = new LoopOverview(CLOCKS);
    const change: LoopChange = item('a', 7, { status: 'failed', reason: 'no', costUsd: 0.1 });
    for (let n = 0; n < 3; n++) overview.take(change);
    expect(overview.progress).to.include({ failed: 1, costUsd: 0.1 });
    expect(overview.recent).to.have.lengthOf(1);
    expect(overview.rate.lastMinute).to.equal(1);
    overview.take({ kind: 'item', id: 'a', revision: 8 });
    expect(overview.progress).to.include({ failed: 0, costUsd: 0 });
    expect(overview.failures).to.deep.equal([]);
  });

  it('flat-cost: of 100,000 reasons and outcomes only the first and the latest are kept, and all are counted', () => {
    const overview = new LoopOverview(CLOCKS);
    for (let n = 1; n <= 100_000; n++) overview.take(item(`i${n}`, n, { status: 'failed', reason: `reason ${n}` }));
    expect(overview.failures).to.have.lengthOf(1_000);
    expect(overview.failures[0]).to.deep.equal({ reason: '(other reasons)', count: 99_001 });
    expect(overview.recent.map(({ id }) => id)).to.deep.equal(Array.from({ length: 50 }, (_, n) => `i${100_000 - n}`));
    for (let n = 1; n <= 100_000; n++) overview.take({ kind: 'item', id: `i${n}`, revision: 100_000 + n });
    expect(overview.failures).to.deep.equal([]);
  });

  it('says one reason for items that differ in nothing but their names', () => {
    const overview = new LoopOverview(CLOCKS);
    const reasons: readonly (readonly [id: string, reason: string])[] = [
      ['a.wav', "exit 1: can't open a.wav"],
      ['7', "exit 1: can't open 7"],
      ['$&', "exit 1: can't open $&"],
      ['no', 'exit 1: nothing'],
    ];
    for (const [index, [id, reason]] of reasons.entries()) overview.take(item(id, index + 1, { status: 'failed', reason }));
    expect(overview.failures).to.deep.equal([
      { reason: "exit 1: can't open {}", count: 3 },
      { reason: 'exit 1: nothing', count: 1 },
    ]);
  });

  it('tells a run that was silent from one that beats, by its own clock', () => {
    let nowMs = 0;
    const overview = new LoopOverview({ wallMs: () => 0, monotonicMs: () => nowMs });
    const run = { process: 'p', host: 'h', pid: 1, leaseMs: 30_000, since: 0, by: 'r.1' };
    overview.take({ kind: 'run', id: 'r', revision: 1, run });
    expect(overview.runs[0]).to.include({ silentMs: undefined, beatAt: undefined });
    overview.take({ kind: 'beat', id: 'r', revision: 1, at: 5 });
    nowMs = 40_000;
    expect(overview.runs[0]).to.include({ silentMs: 40_000, beatAt: 5 });
    overview.take({ kind: 'beat', id: 'r', revision: 9, at: 6 });
    expect(overview.runs[0]).to.include({ silentMs: 0, beatAt: 6 });
  });
});

describe('LoopFollower', () => {
  it('flat-cost: after the first reading it reads only what changed', async () => {
    const { store, states } = await twoStates();
    const [state] = states as [LoopState, LoopState];
    const backend = openMemoryBackend({ store, reach: 'network' });
    const changes = backend.changes.bind(backend);
    let read = 0;
    backend.changes = async function* (since: number) {
      for await (const change of changes(since)) {
        read += 1;
        yield change;
      }
    };
    for (let n = 0; n < 500; n++) await state.begin(`i${n}`);
    const follower = await follow(backend);
    expect(read).to.be.at.least(500);
    read = 0;
    await follower.read();
    expect(read).to.equal(0);
    await state.end('i7', { status: 'success' });
    await follower.read();
    expect(read).to.equal(1);
    expect(follower.overview.progress).to.include({ completed: 1, inProgress: 499 });
    for (const each of states) await each.close();
  });

  it('changes/no-gap: when deletions were forgotten, or the store went backwards, it starts anew', async () => {
    for (const code of ['LOOPSTATE_HISTORY_GONE', 'LOOPSTATE_WENT_BACKWARDS']) {
      const { store, states } = await twoStates();
      const [state] = states as [LoopState, LoopState];
      let isOutdated = false;
      const backend = openMemoryBackend({ store, reach: 'network' });
      const changes = backend.changes.bind(backend);
      backend.changes = (since: number) => {
        if (isOutdated && since > 0) throw Object.assign(new Error('outdated'), { code });
        return changes(since);
      };
      const follower = await follow(backend);
      await state.begin('a');
      await follower.read();
      expect(follower.overview.progress).to.include({ inProgress: 1 });
      isOutdated = true;
      await state.end('a', { status: 'success' });
      await follower.read();
      expect(follower.overview.progress).to.include({ inProgress: 0, completed: 1 });
      for (const each of states) await each.close();
    }
  });

  it('keeps what it knows while the store is out of reach, and says so; what lasts is raised', async () => {
    const { store, states } = await twoStates();
    const [state] = states as [LoopState, LoopState];
    let trouble: object | undefined;
    const backend = openMemoryBackend({ store, reach: 'network' });
    const changes = backend.changes.bind(backend);
    backend.changes = async function* (since: number) {
      let count = 0;
      for await (const change of changes(since)) {
        if (trouble !== undefined && count++ > 0) throw Object.assign(new Error('away'), trouble);
        yield change;
      }
    };
    await state.begin('a');
    await state.begin('b');
    const follower = await follow(backend);
    trouble = { code: 'LOOPSTATE_UNAVAILABLE', retryable: true };
    await state.end('a', { status: 'success' });
    await state.end('b', { status: 'success' });
    await follower.read();
    expect(follower.trouble).to.equal('away');
    trouble = undefined;
    await follower.read();
    expect(follower.trouble).to.equal(undefined);
    expect(follower.overview.progress).to.include({ inProgress: 0, completed: 2 });
    expect(follower.overview.recent.map(({ id }) => id)).to.deep.equal(['b', 'a']);
    trouble = { code: 'LOOPSTATE_FOREIGN' };
    for (const id of ['c', 'd']) await state.begin(id);
    expect(await follower.read().catch((error: unknown) => error)).to.include({ code: 'LOOPSTATE_FOREIGN' });
    for (const each of states) await each.close();
  });
});

describe('OutcomeRate', () => {
  it('counts the last minute and the last hour, and keeps no more than two hours', () => {
    let nowMs = 1e12;
    const rate = new OutcomeRate(() => nowMs);
    rate.add(nowMs - 3_700_000);
    rate.add(nowMs - 3_000_000);
    rate.add(nowMs + 1e9); // The clock of another host.
    expect([rate.lastMinute, rate.lastHour]).to.deep.equal([1, 2]);
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) rate.add(value);
    for (let n = 0; n < 20_000; n++) {
      nowMs += 1_000;
      rate.add(nowMs);
      rate.add(nowMs);
    }
    expect([rate.lastMinute, rate.lastHour]).to.deep.equal([120, 7_200]);
    expect(rate.perSecond).to.be.closeTo(2, 0.1);
    nowMs += 3_600_000;
    expect([rate.lastMinute, rate.lastHour, rate.perSecond]).to.deep.equal([0, 0, 0]);
  });

  it('is the rate since the first outcome for a loop that has just begun', () => {
    let nowMs = 1e12;
    const rate = new OutcomeRate(() => nowMs);
    expect(rate.perSecond).to.equal(0);
    for (let n = 0; n <= 50; n++) {
      rate.add(nowMs);
      nowMs += 100;
    }
    expect(rate.perSecond).to.be.closeTo(10, 1);
  });
});

function item(id: string, revision: number, record: object): LoopChange {
  return { kind: 'item', id, revision, item: { attempt: 1, by: `r.${revision}`, revision, at: Date.now(), status: 'claimed', ...record } };
}

async function twoStates() {
  const store = createMemoryStore();
  const open = () => LoopState.open(openMemoryBackend({ store, reach: 'network' }));
  return { store, states: [await open(), await open()] };
}

async function follow(backend: StateBackend): Promise<LoopFollower> {
  const follower = new LoopFollower(await LoopReader.open(backend), CLOCKS);
  await follower.read();
  return follower;
}
