/** Worker processes that share one loop, and what they wrote down about it. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { spawnCompiled } from './compiled.js';
import { type FleetEvent, judgeFleet } from './judge-fleet.js';

const LONG_LEASE_MS = 30_000;

/** The loop that the workers share: its items, and how long each takes on average. */
export interface FleetLoop {
  readonly items: number;
  readonly workMs: number;
  /** Default: longer than the test. */
  readonly leaseMs?: number;
}

/** One process of a fleet. */
export interface Worker {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  /** What it has written down by now. */
  events(): FleetEvent[];
}

/** See the file's comment. */
export class Fleet {
  readonly workers: Worker[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), 'loopstate-fleet-'));
  readonly #killedNs = new Map<Worker, bigint>();
  #started = 0;

  /** Starts a worker on the store that `url` names. `under`: a command, with its arguments, that starts node. */
  async start(url: string, { items, workMs, leaseMs = LONG_LEASE_MS }: FleetLoop, under: readonly string[] = []): Promise<Worker> {
    const logPath = join(this.#folder, `worker-${++this.#started}.log`);
    const args = [url, logPath, `${items}`, `${workMs}`, `${leaseMs}`];
    const child = await spawnCompiled('test/programs/shared-worker.ts', args, { stdio: ['ignore', 'ignore', 'inherit'], under });
    const worker = { child, exited: once(child, 'exit'), events: () => readLog(logPath) };
    this.workers.push(worker);
    return worker;
  }

  /** Starts several workers, and resolves when each has recorded an item. */
  async startAll(count: number, url: string, loop: FleetLoop): Promise<Worker[]> {
    const started = await Promise.all(Array.from({ length: count }, () => this.start(url, loop)));
    await Promise.all(started.map((worker) => until(() => worker.events().some(({ type }) => type === 'completed'))));
    return started;
  }

  kill(worker: Worker): void {
    // Taken before: nobody can have found it dead earlier.
    this.#killedNs.set(worker, hrtime.bigint());
    worker.child.kill('SIGKILL');
  }

  /** All that the workers wrote down, of the named types. */
  events(...types: string[]): FleetEvent[] {
    return this.workers.flatMap((worker) => worker.events()).filter(({ type }) => types.includes(type));
  }

  /** How many outcomes were acknowledged so far. */
  get completed(): number {
    return this.events('completed').length;
  }

  /** Resolves when all workers have ended; rejects if one that was not killed did not finish the loop. */
  async finished(): Promise<void> {
    await Promise.all(this.workers.map(({ exited }) => exited));
    for (const worker of this.workers.filter((each) => !this.#killedNs.has(each))) {
      expect(worker.child.exitCode, JSON.stringify(worker.events().slice(-8))).to.equal(0);
      expect(worker.events().at(-1)).to.include({ type: 'done', status: 'completed' });
    }
  }

  /** What the history violates; none: it keeps *once-recorded* and *fenced*. */
  violations(): string[] {
    return judgeFleet(this.workers.map((worker) => ({ events: worker.events(), killedNs: this.#killedNs.get(worker) })));
  }

  /** Every item has one outcome, which a worker worked out, and nothing is left over of the runs. */
  async expectAllRecorded(url: string, items: number): Promise<void> {
    const state = await LoopState.open(url);
    const { progress, items: records, runs } = await state.snapshot();
    await state.close();
    expect(progress).to.include({ completed: items, inProgress: 0, outstanding: 0, failed: 0 });
    expect(records.size).to.equal(items);
    expect(runs).to.deep.equal([]);
    const worked = new Set(this.events('worked').map(({ id, fence }) => `${id} ${fence}`));
    for (const [id, { output }] of records) expect(worked.has(`${id} ${(output as { fence: number }).fence}`), id).to.equal(true);
  }

  /** Ends what still runs. */
  remove(): void {
    for (const { child } of this.workers) child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Waits until `isSo`; rejects when that takes too long. */
export async function until(isSo: () => boolean, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error('What the test waited for did not happen.');
    await sleep(10);
  }
}

function readLog(path: string): FleetEvent[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as FleetEvent);
}
