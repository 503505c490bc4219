/**
 * The drop-in of `examples/loop-the-loop-state.ts` behaves as programs that are written for loop-the-loop's own state rely on, on every
 * backend; and keeps *fenced* and *once-recorded* where that state did not. It has the types that such programs name.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState as Loop } from 'loopstate';
import { type PromptResult, PromptState } from '../examples/loop-the-loop-state.js';
import { type RedisServer, startRedis } from './support/redis-server.js';

/** The types as loop-the-loop has them. */
interface CostInfo {
  readonly usd: number;
  readonly inputTokens?: number;
  readonly model?: string;
  readonly costSource: 'provider' | 'estimated' | 'unavailable';
}
type InvokeResult =
  | { readonly status: 'success'; readonly output: string; readonly cost?: CostInfo; readonly structuredOutput?: unknown }
  | { readonly status: 'glitch'; readonly reason: string; readonly cost?: CostInfo }
  | { readonly status: 'error'; readonly reason: string; readonly cost?: CostInfo };
interface LoopState {
  isOutstanding(id: string): boolean;
  claim(runId: string, id: string): Promise<boolean>;
  complete(runId: string, id: string, result: InvokeResult): Promise<void>;
  release(runId: string): Promise<void>;
  getSnapshot(): Promise<{
    readonly version: 2;
    readonly results: Readonly<
      Record<string, { readonly status: 'success' | 'error'; readonly reason?: string; readonly cost?: CostInfo }>
    >;
    readonly claims: Readonly<Record<string, { readonly runId: string; readonly claimedAt: string; readonly expiresAt?: string }>>;
    readonly totalUsd: number;
  }>;
}

const DONE: PromptResult = { status: 'success', output: 'done' };

let server: RedisServer;
let directory = '';
let places = 0;
const URLS = {
  memory: () => 'memory:',
  file: () => join(directory, 'state.json'),
  sqlite: () => `sqlite:${join(directory, 'state.db')}`,
  redis: () => `redis://127.0.0.1:${server.port}/0?job=drop-in-${++places}`,
};

describe('The drop-in for loop-the-loop', () => {
  before(async function () {
    this.timeout(120_000);
    server = await startRedis();
  });
  after(() => server.remove());
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'loopstate-drop-in-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  for (const kind of ['memory', 'file', 'sqlite', 'redis'] as const) {
    describe(`on ${kind}`, () => {
      let url = '';
      let opened: PromptState;
      let state: LoopState;
      let refused: string[] = [];
      beforeEach(async () => {
        url = URLS[kind]();
        refused = [];
        opened = await PromptState.open(url, { onRefused: ({ runId, id }) => refused.push(`${runId} ${id}`) });
        state = opened;
      });
      afterEach(() => opened.close());

      it('fenced: a claim is true again for the same run, false for another, and free when it was given back', async () => {
        expect(await state.claim('run-1', 'a')).to.equal(true);
        expect(await state.claim('run-1', 'a')).to.equal(true);
        expect(await state.claim('run-2', 'a')).to.equal(false);
        expect(state.isOutstanding('a')).to.equal(true);
        await state.claim('run-1', 'b');
        await state.claim('run-2', 'c');
        const { claims } = await state.getSnapshot();
        expect(Object.entries(claims).map(([id, { runId }]) => `${id} ${runId}`)).to.have.members(['a run-1', 'b run-1', 'c run-2']);
        expect(new Date(claims.a!.claimedAt).toISOString()).to.equal(claims.a!.claimedAt);
        await state.release('run-1');
        await state.release('never seen');
        expect(Object.keys((await state.getSnapshot()).claims)).to.deep.equal(['c']);
        expect(await state.claim('run-2', 'a')).to.equal(true);
        expect(await state.claim('run-1', 'a')).to.equal(false);
        expect(refused).to.deep.equal([]);
      });

      it('fenced: claims that race for one prompt have one winner, and those of one run all win', async () => {
        const runs = ['run-1', 'run-2', 'run-3'];
        const won = await Promise.all(runs.flatMap((run) => [state.claim(run, 'a'), state.claim(run, 'a')]));
        expect(runs.map((_, n) => won.slice(2 * n, 2 * n + 2).join()).sort()).to.deep.equal(['false,false', 'false,false', 'true,true']);
      });

      it('once-recorded: results are final, in the shape that programs read, and costs of every attempt add up', async () => {
        await state.claim('run-1', 'a');
        await state.complete('run-1', 'a', { status: 'glitch', reason: 'busy', cost: { usd: 0.25, costSource: 'estimated' } });
        expect(state.isOutstanding('a')).to.equal(true);
        expect(await state.getSnapshot()).to.deep.equal({ version: 2, results: {}, claims: {}, totalUsd: 0.25 });
        const cost = { usd: 0.5, inputTokens: 7, model: undefined as never, costSource: 'provider' } as const;
        expect(await state.claim('run-2', 'a')).to.equal(true);
        await state.complete('run-2', 'a', { status: 'success', output: 'done', structuredOutput: { x: 1 }, cost });
        expect(await state.claim('run-1', '__proto__')).to.equal(true);
        await state.complete('run-1', '__proto__', { status: 'error', reason: 'no', cost: { usd: 1, costSource: 'provider' } });
        expect(['a', '__proto__', 'b'].map((id) => state.isOutstanding(id))).to.deep.equal([false, false, true]);
        expect(await state.claim('run-1', 'a'), 'it is done').to.equal(false);
        const { results, claims, totalUsd } = await state.getSnapshot();
        expect(Object.entries(results)).to.have.deep.members([
          ['a', { status: 'success', output: 'done', cost: { usd: 0.5, inputTokens: 7, costSource: 'provider' } }],
          ['__proto__', { status: 'error', reason: 'no', cost: { usd: 1, costSource: 'provider' } }],
        ]);
        expect([claims, totalUsd, opened.totalUsd]).to.deep.equal([{}, 1.75, 1.75]);
      });

      it('fenced: who does not hold a prompt completes nothing, and is told; one that nobody holds need not be claimed', async () => {
        await state.claim('run-1', 'a');
        await state.complete('run-2', 'a', { status: 'success', output: 'sneaky', cost: { usd: 1, costSource: 'provider' } });
        expect(state.isOutstanding('a')).to.equal(true);
        await state.complete('run-1', 'a', DONE);
        await state.complete('run-2', 'a', { status: 'error', reason: 'late' });
        expect(refused).to.deep.equal(['run-2 a', 'run-2 a']);
        await state.complete('run-2', 'b', DONE);
        expect((await state.getSnapshot()).results).to.deep.equal({ a: DONE, b: DONE });
        expect(opened.totalUsd).to.equal(0);
      });

      it('value/exact: no cost and no output makes a failure of a success', async () => {
        const costs = [
          { usd: 10, costSource: 'unavailable' },
          { usd: -1, costSource: 'estimated' },
          { usd: Number.NaN, costSource: 'estimated' },
        ] as const;
        for (const [n, cost] of costs.entries()) await state.complete('run-1', `${n}`, { status: 'success', output: 'half \ud83d', cost });
        await state.complete('run-1', 'long', { status: 'success', output: '\u0000'.repeat(1_000_000) });
        const { results, totalUsd } = await state.getSnapshot();
        expect(totalUsd).to.equal(0);
        expect(results).to.deep.equal({
          0: { status: 'success', output: 'half \ufffd', cost: { usd: 10, costSource: 'unavailable' } },
          1: { status: 'success', output: 'half \ufffd', cost: { usd: -1, costSource: 'estimated' } },
          2: { status: 'success', output: 'half \ufffd', cost: { usd: 0, costSource: 'estimated' } },
          long: { status: 'success' },
        });
      });

      if (kind !== 'memory') {
        it('acked-survives: what was completed is there after it was opened again, and claims were given back', async () => {
          await state.claim('run-1', 'held');
          await state.complete('run-1', 'a', { ...DONE, cost: { usd: 0.5, costSource: 'provider' } });
          await opened.close();
          opened = await PromptState.open(url);
          expect(opened.isOutstanding('a')).to.equal(false);
          expect(await opened.getSnapshot()).to.deep.include({ claims: {}, totalUsd: 0.5 });
          expect(await opened.claim('run-2', 'held')).to.equal(true);
        });
      }

      if (kind === 'sqlite' || kind === 'redis') {
        it('fenced: a run that lost its claim to another process changes nothing and is told, then it can claim again', async () => {
          for (const id of ['a', 'b']) expect(await state.claim('run-1', id)).to.equal(true);
          const other = await Loop.open(url);
          const holder = (await other.read('a'))?.run ?? '';
          expect(await other.releaseRun(holder)).to.equal(2);
          const [claim] = [await other.claim('a'), await other.claim('b')];
          expect(await state.claim('run-1', 'b'), 'it was lost').to.equal(false);
          await state.complete('run-1', 'a', { ...DONE, cost: { usd: 9, costSource: 'provider' } });
          expect(refused).to.deep.equal(['run-1 a']);
          expect(await state.claim('run-1', 'a'), 'another holds it').to.equal(false);
          expect((await state.getSnapshot()).claims.a?.runId).to.equal(other.runId);
          await claim?.release();
          expect(await state.claim('run-1', 'a')).to.equal(true);
          await state.complete('run-1', 'a', DONE);
          const { claims, ...others } = await state.getSnapshot();
          expect(others).to.deep.equal({ version: 2, results: { a: DONE }, totalUsd: 0 });
          expect(Object.keys(claims)).to.deep.equal(['b']);
          await other.close();
        });
      }
    });
  }

  it('always-starts: a state file of loop-the-loop goes on, whole or torn', async () => {
    const results = { a: { status: 'success' } };
    const whole = JSON.stringify({ version: 2, results, claims: { b: { runId: 'r', claimedAt: '2020-01-01' } }, totalUsd: 1.25 });
    for (const [name, text] of [
      ['whole.json', whole],
      ['torn.json', whole.slice(0, -30)],
    ] as const) {
      writeFileSync(join(directory, name), text);
      const state = await PromptState.open(join(directory, name));
      expect([state.isOutstanding('a'), state.isOutstanding('b')], name).to.deep.equal([false, true]);
      expect(await state.claim('run-1', 'b'), name).to.equal(true);
      await state.close();
    }
  });
});
