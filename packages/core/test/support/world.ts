import type { Environment, ProcessIdentity } from '@loopstate/core';

interface Timer {
  readonly dueMs: number;
  readonly action: () => void;
}

/** A process on one of the world's hosts, with a clock of its own. */
export interface TestProcess extends Environment {
  readonly self: ProcessIdentity;
  /** Timers don't fire, as after SIGSTOP; its clock goes on. */
  isPaused: boolean;
  /** For those who can see it, the process no longer exists; its timers never fire again. */
  isDead: boolean;
  /** How far its monotonic clock is ahead of the world's. */
  clockOffsetMs: number;
  /** Its wall clock, by the world's; by default it stands still. */
  wallClock: (worldMs: number) => number;
}

/** Several hosts in one test: a clock that only the test moves, and processes that can be paused and killed. */
export class World {
  #nowMs = 1_000;
  #ids = 0;
  readonly #processes = new Map<TestProcess, Set<Timer>>();

  /** A process; those of one host (and pid namespace) can see each other. */
  process(host = 'host-a', options: { readonly pidNamespace?: string; readonly clockOffsetMs?: number } = {}): TestProcess {
    const timers = new Set<Timer>();
    const number = this.#nextId();
    const self = {
      process: `process-${number}`,
      host,
      pid: 1_000 + number,
      bootId: `boot-of-${host}`,
      pidNamespace: options.pidNamespace ?? 'root',
      startTime: String(number),
    };
    const made: TestProcess = {
      self,
      isPaused: false,
      isDead: false,
      clockOffsetMs: options.clockOffsetMs ?? 0,
      wallClock: () => 0,
      monotonicMs: () => this.#nowMs + made.clockOffsetMs,
      wallMs: () => made.wallClock(this.#nowMs),
      random: () => 0,
      newId: () => `id-${this.#nextId()}`,
      endedRuns: new Set(),
      after: (ms, action) => {
        const timer = { dueMs: this.#nowMs + ms, action };
        timers.add(timer);
        return () => timers.delete(timer);
      },
      probe: (identity) => {
        if (identity.bootId !== self.bootId || identity.pidNamespace !== self.pidNamespace) return 'unknown';
        const found = [...this.#processes.keys()].find((other) => other.self.pid === identity.pid && !other.isDead);
        return found?.self.startTime === identity.startTime ? 'alive' : 'gone';
      },
    };
    this.#processes.set(made, timers);
    return made;
  }

  #nextId(): number {
    this.#ids += 1;
    return this.#ids;
  }

  /** Moves the clock, firing the timers of all processes that run, each in its turn. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settle();
      const due = [...this.#processes]
        .filter(([process]) => !process.isPaused && !process.isDead)
        .flatMap(([, timers]) => [...timers].map((timer) => ({ timer, timers })))
        .filter(({ timer }) => timer.dueMs <= endMs)
        .sort((a, b) => a.timer.dueMs - b.timer.dueMs)[0];
      if (due === undefined) break;
      due.timers.delete(due.timer);
      this.#nowMs = Math.max(this.#nowMs, due.timer.dueMs);
      due.timer.action();
    }
    this.#nowMs = endMs;
    await settle();
  }
}

/** Lets everything that waits for no timer come to rest. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
