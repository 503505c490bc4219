/**
 * What `LoopState` needs of the world around it: a clock that only goes forward, timers, chance, and who is who among processes.
 * It is passed in, so that tests can hold the clock and play several hosts.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Who a process is: enough for another process of the same machine to tell whether it still runs. */
export interface ProcessIdentity {
  /** Unique to this process (and worker thread); the same for all runs in it. */
  readonly process: string;
  readonly host: string;
  readonly pid: number;
  /** The kernel's id of this boot; undefined where there is none. */
  readonly bootId?: string;
  /** The pid namespace; undefined where there is none. */
  readonly pidNamespace?: string;
  /** When the process started, in the kernel's ticks; undefined where it can't be read. */
  readonly startTime?: string;
}

/** See the file's comment. */
export interface Environment {
  /** Ms of a clock that never jumps; comparable only with itself. */
  monotonicMs(): number;
  /** Ms since the epoch, for display. */
  wallMs(): number;
  /** Calls `action` once after `ms`. With `keepAlive`, a waiting timer keeps the process running. Returns a function that cancels. */
  after(ms: number, action: () => void, options: { readonly keepAlive: boolean }): () => void;
  /** A number from 0 up to 1. */
  random(): number;
  /** A new id that no other run anywhere has. */
  newId(): string;
  readonly self: ProcessIdentity;
  /** The runs of this process that ended while their store was out of reach, so that their records may still stand there. */
  readonly endedRuns: Set<string>;
  /** Whether a process of this machine still runs; `unknown` when that can't be told from here. */
  probe(identity: ProcessIdentity): 'alive' | 'gone' | 'unknown';
}

/** The world as it is. */
export const realEnvironment: Environment = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(ms, action, { keepAlive }) {
    const timer = setTimeout(action, Math.min(ms, 0x7fffffff));
    if (!keepAlive) timer.unref();
    return () => clearTimeout(timer);
  },
  random: Math.random,
  newId: () => randomUUID().replaceAll('-', '').slice(0, 16),
  get self() {
    return identifySelf();
  },
  get endedRuns() {
    return endedRunsOfProcess();
  },
  probe: probeProcess,
};

/** One identity per process, also where two copies of this package are loaded. */
const IDENTITY = Symbol.for('loopstate.process');

/** One set per process, also where two copies of this package are loaded. */
const ENDED_RUNS = Symbol.for('loopstate.endedRuns');

function endedRunsOfProcess(): Set<string> {
  const scope = globalThis as { [ENDED_RUNS]?: Set<string> };
  scope[ENDED_RUNS] ??= new Set();
  return scope[ENDED_RUNS];
}

function identifySelf(): ProcessIdentity {
  const scope = globalThis as { [IDENTITY]?: ProcessIdentity };
  scope[IDENTITY] ??= {
    process: randomUUID(),
    host: hostname(),
    pid: process.pid,
    ...optional('bootId', readText('/proc/sys/kernel/random/boot_id')),
    ...optional('pidNamespace', readLink('/proc/self/ns/pid')),
    ...optional('startTime', processStat('self')?.startTime),
  };
  return scope[IDENTITY];
}

/**
 * Only a process of the same boot and the same pid namespace can be judged by its pid. Gone is one whose pid no longer exists, or now
 * belongs to a process that started at another time.
 */
function probeProcess(identity: ProcessIdentity): 'alive' | 'gone' | 'unknown' {
  const self = identifySelf();
  if (identity.process === self.process) return 'alive';
  if (identity.bootId === undefined || identity.bootId !== self.bootId) return 'unknown';
  if (identity.pidNamespace === undefined || identity.pidNamespace !== self.pidNamespace) return 'unknown';
  try {
    process.kill(identity.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'gone';
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return 'unknown';
  }
  const { state, startTime } = processStat(identity.pid) ?? {};
  if (startTime === undefined || identity.startTime === undefined) return 'unknown';
  // One that has ended keeps its pid until its parent asks how, which in a container may be never.
  return startTime === identity.startTime && state !== 'Z' && state !== 'X' ? 'alive' : 'gone';
}

/** Fields 3 and 22 of /proc/<pid>/stat (proc(5)); the name before them may hold blanks and parentheses, so they count from the last one. */
function processStat(pid: number | 'self'): { readonly state?: string; readonly startTime?: string } | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { ...optional('state', fields[0]), ...optional('startTime', fields[19]) };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined; // No /proc here, or not ours to read: then nothing is proven by it.
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function optional<K extends string>(key: K, value: string | undefined): { [P in K]?: string } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: string });
}
