/** The worker processes of a soak, and their ledgers, which are read while they are written. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecoveryFinding } from '@loopstate/core';
import { spawnCompiled } from '../support/compiled.js';
import type { WorkerTask } from './worker.js';

/** A line of a ledger. */
export interface LedgerEvent {
  readonly type: string;
  readonly id?: string;
  readonly fence?: number;
  readonly status?: string;
  /** The code of the error that it tells of. */
  readonly error?: string;
  /** On a clock that all workers of the host share. */
  readonly atNs: string;
  /** Unique to one execution of an item's work; it stands in its outcome. */
  readonly token?: string;
  readonly message?: string;
  readonly findings?: readonly RecoveryFinding[];
}

/** One worker process. */
export interface Worker {
  readonly number: number;
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  /** When it was killed, or stopped if it never ran again; undefined: it was not killed. */
  killedNs: bigint | undefined;
  /** All that it has written down by now. */
  readonly events: readonly LedgerEvent[];
}

/** See the file's comment. */
export class Crew {
  readonly all: OwnWorker[] = [];
  readonly #directory: string;
  #started = 0;

  /** Ledgers, and what workers say on standard error, go to `directory`. */
  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  /** How many outcomes were acknowledged. */
  get outcomes(): number {
    return this.all.reduce((sum, worker) => sum + worker.outcomes, 0);
  }

  get running(): OwnWorker[] {
    return this.all.filter((worker) => worker.isRunning);
  }

  async start(task: Omit<WorkerTask, 'worker' | 'ledger'>): Promise<OwnWorker> {
    const number = ++this.#started;
    const ledger = join(this.#directory, `worker-${number}.jsonl`);
    writeFileSync(ledger, '');
    const errors = openSync(join(this.#directory, `worker-${number}.err`), 'w');
    const child = await spawnCompiled('test/soak/worker.ts', [JSON.stringify({ ...task, worker: number, ledger } satisfies WorkerTask)], {
      stdio: ['ignore', 'ignore', errors],
    });
    closeSync(errors);
    const worker = new OwnWorker(number, child, ledger);
    this.all.push(worker);
    return worker;
  }

  /** Reads what was written since. */
  read(): void {
    for (const worker of this.all) worker.read();
  }

  /** Writes a line into the ledger of the first worker, which has ended: for the test of the soak itself. */
  plant(event: LedgerEvent): void {
    appendFileSync(join(this.#directory, 'worker-1.jsonl'), `${JSON.stringify(event)}\n`);
    this.all[0]?.events.push(event);
  }

  /** Ends whoever still runs. */
  end(): void {
    for (const worker of this.running) worker.kill();
  }
}

class OwnWorker implements Worker {
  readonly number: number;
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  killedNs: bigint | undefined;
  outcomes = 0;
  readonly events: LedgerEvent[] = [];
  readonly #ledger: number;
  #rest = '';
  #isRead = false;
  #stoppedNs: bigint | undefined;

  constructor(number: number, child: ChildProcess, ledger: string) {
    this.number = number;
    this.child = child;
    this.exited = once(child, 'exit');
    this.#ledger = openSync(ledger, 'r');
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  kill(): void {
    // Taken before: nobody can have found it dead earlier. One that is stopped has done nothing since.
    this.killedNs ??= this.#stoppedNs ?? hrtime.bigint();
    this.child.kill('SIGKILL');
  }

  /** Stops it for a while. */
  async pause(pauseMs: number): Promise<void> {
    this.#stoppedNs ??= hrtime.bigint();
    this.child.kill('SIGSTOP');
    await sleep(pauseMs);
    this.#stoppedNs = undefined;
    this.child.kill('SIGCONT');
  }

  /** Reads what it has written since; a line that was cut short by its death is none. */
  read(): void {
    if (this.#isRead) return;
    const isOver = !this.isRunning;
    const bytes = Buffer.alloc(65_536);
    let text = this.#rest;
    for (let count = readSync(this.#ledger, bytes); count > 0; count = readSync(this.#ledger, bytes))
      text += bytes.toString('latin1', 0, count);
    const lines = text.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = JSON.parse(line) as LedgerEvent;
      this.events.push(event);
      if (event.type === 'completed' || event.type === 'failed') this.outcomes += 1;
    }
    if (!isOver) return;
    this.#isRead = true;
    closeSync(this.#ledger);
  }
}
