/** Worker processes that share one loop, and what they and others saw of it. */
import { type LoopSnapshot, LoopState } from '@loopstate/core';
import { expect } from 'chai';
import { describeEnd, type Program, startProgram } from './child.js';
import { nowMs } from './clock.js';
import type { BackendFixture } from './fixture.js';
import { type BrokenPromise, judgeLoop, type LoopCall, type OutcomeRead, type WorkerHistory } from './judge-loop.js';

const LONG_LEASE_MS = 30_000;
const POLL_MS = 10;
const GO_ON_WITHIN_MS = 500;
/** A worker that is told to stop may be between two items: so often it may try again. */
const STOPS_MAX = 100;
const ANSWERS: Readonly<Record<string, 'yes' | 'no'>> = { completed: 'yes', lost: 'no' };

/** The loop that the workers share: its items, and how long each takes on average. */
export interface FleetLoop {
  readonly items: number;
  readonly workMs: number;
  /** Default: longer than the test. */
  readonly leaseMs?: number;
}

/** What a worker said. */
export interface FleetEvent {
  readonly type: string;
  readonly id?: string;
  readonly fence?: number;
  readonly runId?: string;
  readonly status?: string;
  /** The code of the error that it tells of. */
  readonly error?: string;
  /** How a run that was taken over was found dead. */
  readonly death?: string;
  readonly asked?: number;
  readonly refused?: number;
  readonly unknown?: number;
  /** When the call was made that this is the answer to. */
  readonly askedMs?: number;
  /** On a clock that all workers of the host share. */
  readonly atMs: number;
}

/** One process of a fleet. */
export interface FleetWorker {
  /** Sends a signal, such as SIGSTOP. To kill it, use {@link Fleet.kill}, which takes it down. */
  signal(name: NodeJS.Signals): void;
  /** What it has said by now. */
  events(): readonly FleetEvent[];
}

interface Member extends FleetWorker {
  readonly program: Program;
  readonly leaseMs: number;
  killedMs?: number;
}

/** See the file's comment. */
export class Fleet {
  readonly #fixture: BackendFixture;
  readonly #members: Member[] = [];
  readonly #reads: OutcomeRead[] = [];

  /** Its workers open the place by the opener of the fixture; this process, to look at it, by `open`. */
  constructor(fixture: BackendFixture) {
    this.#fixture = fixture;
  }

  /** Starts a worker on a place. `launch`: another way to do so than that of the fixture. */
  async start(url: string, { leaseMs = LONG_LEASE_MS, ...loop }: FleetLoop, launch = this.#fixture.launch): Promise<FleetWorker> {
    const program = await startProgram('share-loop', launch === undefined ? this.#fixture : { ...this.#fixture, launch }, url);
    program.send(JSON.stringify({ ...loop, leaseMs }));
    const events: FleetEvent[] = [];
    const member: Member = {
      program,
      leaseMs,
      signal: (name) => program.kill(name),
      events: () => {
        for (const line of program.lines.slice(events.length)) events.push(JSON.parse(line) as FleetEvent);
        return events;
      },
    };
    this.#members.push(member);
    return member;
  }

  /** Starts several workers, and resolves when each has recorded an item. */
  async startAll(count: number, url: string, loop: FleetLoop): Promise<FleetWorker[]> {
    const started = await Promise.all(Array.from({ length: count }, () => this.start(url, loop)));
    await this.until(() => started.every((worker) => worker.events().some(({ type }) => type === 'completed')));
    return started;
  }

  kill(worker: FleetWorker): void {
    const member = this.#members.find((each) => each === worker);
    if (member === undefined) throw new TypeError('A worker of another fleet.');
    // Taken before: nobody can have found it dead earlier.
    member.killedMs = nowMs();
    member.program.kill();
  }

  /**
   * Stops a worker (SIGSTOP) in the middle of an item, and resolves with that item. The `others` can go on: one that was stopped while it
   * wrote may hold a lock of the store, so it is let go and stopped again until they do.
   */
  async stopAtWork(worker: FleetWorker, others: readonly FleetWorker[]): Promise<string> {
    for (let stops = 0; stops < STOPS_MAX; stops++) {
      worker.signal('SIGSTOP');
      // What it had said by then arrives.
      await pause(2 * POLL_MS);
      const last = worker.events().findLast(({ type }) => type !== 'beat');
      if (last?.type === 'began' && last.id !== undefined && (await goOn(others))) return last.id;
      worker.signal('SIGCONT');
      await pause(POLL_MS / 2);
    }
    throw new Error('A worker was never in the middle of an item.');
  }

  /** All that the workers said, of the named types. */
  events(...types: string[]): FleetEvent[] {
    return this.#members.flatMap((worker) => worker.events()).filter(({ type }) => types.includes(type));
  }

  /** How many outcomes were acknowledged so far. */
  get completed(): number {
    return this.events('completed').length;
  }

  /** Waits until `isSo`; rejects when that takes too long. */
  async until(isSo: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
    const endMs = nowMs() + timeoutMs;
    while (!(await isSo())) {
      if (nowMs() > endMs) throw new Error('What the test waited for did not happen.');
      await pause(POLL_MS);
    }
  }

  /** Resolves when all workers have ended; rejects if one that was not killed did not finish the loop. */
  async finished(): Promise<void> {
    for (const worker of this.#members) {
      const end = await worker.program.ended;
      if (worker.killedMs !== undefined) continue;
      expect(end.exitCode, `${JSON.stringify(worker.events().slice(-8))} ${describeEnd(end)}`).to.equal(0);
      expect(worker.events().at(-1)).to.include({ type: 'done', status: 'completed' });
    }
  }

  /** What a place holds now. It is taken down, and held against what the workers say when `broken` judges. */
  async look(url: string): Promise<LoopSnapshot> {
    const store = await this.#fixture.open(url);
    try {
      const startMs = nowMs();
      const snapshot = await (await LoopState.open(store)).snapshot();
      const endMs = nowMs();
      for (const id of new Set([...snapshot.items.keys(), ...this.events('began').map((event) => event.id ?? '')]))
        this.#reads.push({ startMs, endMs, id, fence: (snapshot.items.get(id)?.output as { fence: number } | undefined)?.fence });
      return snapshot;
    } finally {
      await store.close();
    }
  }

  /** The promises that what was said and seen shows to be broken; none: the workers kept *acked-survives*, *once-recorded* and *fenced*. */
  broken(): BrokenPromise[] {
    return judgeLoop(this.#members.map(historyOf), this.#reads);
  }

  /** Every item has an outcome, which a worker worked out, and nothing is left over of the runs. */
  async expectAllRecorded(url: string, items: number): Promise<void> {
    const { progress, items: records, runs } = await this.look(url);
    expect(progress).to.include({ completed: items, inProgress: 0, outstanding: 0, failed: 0 });
    expect(records.size).to.equal(items);
    expect(runs).to.deep.equal([]);
    const worked = new Set(this.events('worked').map(({ id, fence }) => `${id} ${fence}`));
    for (const [id, { output }] of records) expect(worked.has(`${id} ${(output as { fence: number }).fence}`), id).to.equal(true);
  }

  /** Ends what still runs. */
  remove(): void {
    for (const { program } of this.#members) program.kill();
  }
}

/** Whether some of the workers begin another item soon. */
async function goOn(workers: readonly FleetWorker[]): Promise<boolean> {
  const begun = () => workers.flatMap((worker) => worker.events()).filter(({ type }) => type === 'began').length;
  const before = begun();
  for (let waited = 0; waited < GO_ON_WITHIN_MS; waited += POLL_MS) {
    await pause(POLL_MS);
    if (begun() > before) return true;
  }
  return false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function historyOf(worker: Member): WorkerHistory {
  const events = worker.events();
  const calls = events.flatMap((event, index): LoopCall[] => {
    const { type, id = '', fence = 0, runId = '', askedMs, atMs } = event;
    const times = { startMs: askedMs ?? atMs, endMs: atMs };
    switch (type) {
      case 'beat':
        return [{ kind: 'beat', ...times, run: runId }];
      case 'began':
        return [{ kind: 'claim', ...times, id, fence, run: runId }];
      case 'aborted':
        return [{ kind: 'told', ...times, id, fence }];
      case 'given-back':
        return [{ kind: 'gave-back', ...times, id, fence: events.slice(0, index).findLast((earlier) => earlier.id === id)?.fence ?? 0 }];
      case 'worked': {
        const answer = events.slice(index).find((later) => later.id === id && ['completed', 'lost'].includes(later.type));
        const endMs = answer?.atMs ?? Number.POSITIVE_INFINITY;
        return [{ kind: 'end', startMs: atMs, endMs, id, fence, answer: ANSWERS[answer?.type ?? ''] ?? 'unknown' }];
      }
      default:
        return [];
    }
  });
  return { calls, leaseMs: worker.leaseMs, killedMs: worker.killedMs };
}
