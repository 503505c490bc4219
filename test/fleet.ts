/**
 * The tests of many worker processes that share one loop: they are the same for every backend that more than one process can open.
 */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BackendFixture, Place } from '@loopstate/conformance';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { spawnCompiled } from './support/compiled.js';
import { type FleetEvent, judgeFleet } from './support/judge-fleet.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';

const LONG_LEASE_MS = 30_000;
const SHORT_LEASE_MS = 1_500;

/** Adds the tests for one backend. */
export function testFleet(fixture: BackendFixture): void {
  describe(`A fleet on ${fixture.name}`, () => {
    let place: Place;
    let folder = '';
    const workers: Worker[] = [];
    let started = 0;
    before(async function () {
      this.timeout(120_000);
      await fixture.start?.();
    });
    after(() => fixture.stop?.());
    beforeEach(async () => {
      place = await fixture.createPlace();
      folder = mkdtempSync(join(tmpdir(), 'loopstate-fleet-'));
    });
    afterEach(async () => {
      for (const { child } of workers.splice(0)) child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
      await place.remove();
    });

    const start = async (job: { items: number; workMs: number; leaseMs?: number }): Promise<Worker> => {
      started += 1;
      const logPath = join(folder, `worker-${started}.log`);
      const args = [place.url, logPath, `${job.items}`, `${job.workMs}`, `${job.leaseMs ?? LONG_LEASE_MS}`];
      const options: SpawnOptions = { stdio: ['ignore', 'ignore', 'inherit'] };
      const child = await spawnCompiled('test/programs/shared-worker.ts', args, options);
      const worker: Worker = { child, logPath, exited: once(child, 'exit'), killedNs: undefined };
      workers.push(worker);
      return worker;
    };
    const verify = async (items: number): Promise<{ asked: number; refused: number }> => {
      const histories = workers.map(({ logPath, killedNs }) => ({ events: readLog(logPath), killedNs }));
      expect(judgeFleet(histories)).to.deep.equal([]);
      const state = await LoopState.open(await fixture.open(place.url), { closeBackend: true });
      const { progress, items: records, runs } = await state.snapshot();
      await state.close();
      expect(progress).to.include({ completed: items, inProgress: 0, outstanding: 0, failed: 0 });
      expect(records.size).to.equal(items);
      expect(runs).to.deep.equal([]);
      const worked = new Set(histories.flatMap(({ events }) => events).map(({ id, type, fence }) => `${type} ${id} ${fence}`));
      for (const [id, { output }] of records) expect(worked.has(`worked ${id} ${(output as { fence: number }).fence}`), id).to.equal(true);
      const ends = histories.flatMap(({ events }) => events).filter(({ type }) => type === 'done');
      return { asked: sum(ends.map(({ asked = 0 }) => asked)), refused: sum(ends.map(({ refused = 0 }) => refused)) };
    };

    it('once-recorded, fenced: 8 workers over 2,000 items, three of them killed and replaced', async () => {
      const seed = seedFromEnvironment();
      const random = seeded(seed);
      console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
      const job = { items: 2_000, workMs: 8 };
      const first = await Promise.all(Array.from({ length: 8 }, () => start(job)));
      await Promise.all(first.map(({ logPath }) => until(() => readLog(logPath).some(({ type }) => type === 'completed'))));
      for (let n = 0; n < 3; n++) {
        const victim = first.splice(Math.floor(random() * first.length), 1)[0]!;
        kill(victim);
        await start(job);
        await sleep(100 + random() * 200);
      }
      await Promise.all(workers.map(({ exited }) => exited));
      expect(workers.filter(({ killedNs, child }) => killedNs === undefined && child.exitCode !== 0)).to.deep.equal([]);
      const lost = workers.flatMap(({ logPath }) => readLog(logPath)).filter(({ type }) => type === 'lost' || type === 'claim-lost');
      expect(lost, 'claims taken from the living').to.deep.equal([]);
      await verify(job.items);
    }).timeout(180_000);

    it('fenced: a worker that is stopped beyond its lease is refused and told, and goes on', async () => {
      const job = { items: 60, workMs: 100, leaseMs: SHORT_LEASE_MS };
      const sleeper = await start(job);
      await until(() => readLog(sleeper.logPath).filter(({ type }) => type === 'completed').length >= 3);
      // In the middle of an item: what it holds then is what the other takes over.
      const begun = readLog(sleeper.logPath).filter(({ type }) => type === 'began').length;
      await until(() => readLog(sleeper.logPath).filter(({ type }) => type === 'began').length > begun);
      sleeper.child.kill('SIGSTOP');
      const other = await start(job);
      await until(() => readLog(other.logPath).some(({ type }) => type === 'took-over'), 30_000);
      await sleep(1_000);
      sleeper.child.kill('SIGCONT');
      await Promise.all(workers.map(({ exited }) => exited));
      const events = readLog(sleeper.logPath);
      expect(events.at(-1)).to.include({ type: 'done', status: 'completed' });
      expect(events.some(({ type }) => type === 'run-replaced')).to.equal(true);
      const taken = readLog(other.logPath).filter(({ type }) => type === 'began');
      const held = events.filter(({ type, id }) => type === 'began' && taken.some((event) => event.id === id));
      // If the other worker took what the sleeper held, the sleeper was told so.
      if (held.length > 0) expect(events.some(({ type }) => type === 'lost' || type === 'aborted')).to.equal(true);
      await verify(job.items);
    }).timeout(90_000);

    it('wastes at most 15 % of the claims of 16 workers over 5,000 items', async () => {
      const job = { items: 5_000, workMs: 20 };
      await Promise.all(Array.from({ length: 16 }, () => start(job)));
      await Promise.all(workers.map(({ exited }) => exited));
      const { asked, refused } = await verify(job.items);
      console.log(`      ${asked} claims asked, ${refused} refused: ${((100 * refused) / asked).toFixed(1)} %`);
      expect(refused / asked).to.be.below(0.15);
    }).timeout(240_000);
  });
}

interface Worker {
  readonly child: ChildProcess;
  readonly logPath: string;
  readonly exited: Promise<unknown>;
  killedNs: bigint | undefined;
}

function kill(worker: Worker): void {
  // Taken before: nobody can have found it dead earlier.
  worker.killedNs = hrtime.bigint();
  worker.child.kill('SIGKILL');
}

function readLog(path: string): FleetEvent[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as FleetEvent);
}

async function until(isSo: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error('What the test waited for did not happen.');
    await sleep(10);
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
