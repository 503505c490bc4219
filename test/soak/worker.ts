/**
 * One worker of a soak: it runs the loop over the items it is told, and keeps a ledger of its own, synced to the disk before it gives an outcome
 * to the store and after that was acknowledged. Its environment misbehaves as it is told: the wall clock jumps, disk calls fail.
 *
 * Argument: a {@link WorkerTask} as JSON.
 */
import fs, { fdatasyncSync, openSync, writeSync } from 'node:fs';
import { argv, hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLoopStateError, realEnvironment } from '@loopstate/core';
import { Glitch, LoopState, runLoop, type WorkContext } from 'loopstate';
import { seeded } from '../support/seeded.js';

/** What a worker is to do. */
export interface WorkerTask {
  readonly worker: number;
  readonly url: string;
  /** The file that its ledger goes to. */
  readonly ledger: string;
  /** It runs the items `item-0` up to this one, this one excluded. */
  readonly items: number;
  readonly concurrency: number;
  readonly leaseMs: number;
  /** How long an item takes on average. */
  readonly workMs: number;
  /** Decides on all that is left to chance here. */
  readonly seed: number;
  readonly doClocksJump: boolean;
  /** One of so many disk calls fails; 0: none does. */
  readonly diskFaultEvery: number;
}

const HOUR_MS = 3_600_000;

const task = JSON.parse(argv[2] ?? '{}') as WorkerTask;
const random = seeded(task.seed);
const ledger = openSync(task.ledger, 'a');
const fences = new Map<string, number>();
const glitched = new Set<string>();
let executions = 0;
let areDisksFaulty = false;

const state = await open();
if (state !== undefined) {
  write({ type: 'opened', findings: state.recovery });
  areDisksFaulty = task.diskFaultEvery > 0;
  const claim = state.claim.bind(state);
  state.claim = (id, options) => {
    // Whoever dies between a claim and the beginning of its work has died with it.
    write({ type: 'asked', id });
    return claim(id, options);
  };
  // The loop listens until its last outcome; a signal that comes later must not end this process before its last word.
  process.on('SIGTERM', () => undefined);
  const result = await runLoop({
    state,
    items: Array.from({ length: task.items }, (_, n) => `item-${n}`),
    concurrency: task.concurrency,
    glitches: { minDelayMs: 5, maxDelayMs: 40, maxInRow: 1_000_000 },
    backoff: { minDelayMs: 1, maxDelayMs: 10 },
    retries: 1,
    work,
    onProgress: (event) => {
      if ('id' in event && event.type !== 'started' && event.type !== 'skipped') {
        const isOutcome = event.type === 'completed' || event.type === 'failed';
        write({ type: event.type, id: event.id, fence: fences.get(event.id) }, { isSynced: isOutcome });
      } else if (event.type === 'unavailable') write({ type: event.type, error: codeOf(event.error) });
    },
  });
  areDisksFaulty = false;
  // A store that is away just then gets back by itself what could not be given back to it.
  await state.close().catch((error: unknown) => {
    if (!isLoopStateError(error) || !error.retryable) throw error;
    write({ type: 'close-failed', error: error.code });
  });
  write({ type: 'done', status: result.status, findings: state.recovery });
}

async function open(): Promise<LoopState | undefined> {
  let jumpMs = 0;
  if (task.doClocksJump) {
    setInterval(() => {
      jumpMs = (random() - 0.5) * 4 * HOUR_MS;
    }, 50).unref();
  }
  failDiskCalls();
  try {
    return await LoopState.open(task.url, {
      leaseMs: task.leaseMs,
      environment: { ...realEnvironment, wallMs: () => Date.now() + jumpMs },
      onEvent: (event) => write({ ...event, error: 'error' in event ? codeOf(event.error) : undefined }),
    });
  } catch (error) {
    write({ type: 'refused', error: codeOf(error), message: error instanceof Error ? error.message : String(error) });
    return undefined;
  }
}

/** Most items succeed; some glitch once, some fail once or twice, and some have a large output. */
async function work(id: string, { fence, attempt, signal }: WorkContext): Promise<unknown> {
  executions += 1;
  const token = `<${task.worker}.${executions}>`;
  fences.set(id, fence);
  write({ type: 'began', id, fence });
  signal.addEventListener('abort', () => write({ type: 'aborted', id, fence }));
  await sleep(task.workMs * 2 * random());
  const fate = seeded(Number(id.slice('item-'.length)) * 7_919 + 1)();
  const doesGlitch = fate < 0.05 && !glitched.has(id);
  if (doesGlitch || (fate > 0.93 && attempt === 1)) {
    // What comes back may be another's before this one is told so.
    write({ type: 'returned', id, fence });
    glitched.add(id);
    throw doesGlitch ? new Glitch('It glitched.') : new Error('It failed at first.');
  }
  write({ type: 'worked', id, fence, token }, { isSynced: true });
  if (fate > 0.96) throw new Error(`It failed: ${token}`);
  return { token, fence, ...(fate > 0.5 && fate < 0.53 ? { filler: 'x'.repeat(fate * 40_000) } : {}) };
}

function write(event: object, { isSynced = false }: { isSynced?: boolean } = {}): void {
  writeSync(ledger, `${JSON.stringify({ ...event, atNs: `${hrtime.bigint()}` })}\n`);
  if (isSynced) fdatasyncSync(ledger);
}

function codeOf(error: unknown): string {
  return isLoopStateError(error) ? error.code : String(error);
}

/** The calls that the file backend makes for its writes fail now and then, with what disks say. */
function failDiskCalls(): void {
  if (task.diskFaultEvery === 0) return;
  for (const name of ['write', 'fsync', 'fdatasync'] as const) {
    const call = fs[name] as (...args: unknown[]) => unknown;
    const failing = (...args: unknown[]): unknown => {
      if (!areDisksFaulty || random() * task.diskFaultEvery > 1) return call(...args);
      const code = random() < 0.5 ? 'EIO' : 'ENOSPC';
      const done = args.at(-1) as (error: Error) => void;
      return setImmediate(() => done(Object.assign(new Error(`${code}: a fault of the soak, ${name}`), { code })));
    };
    (fs as unknown as Record<string, unknown>)[name] = failing;
  }
}
