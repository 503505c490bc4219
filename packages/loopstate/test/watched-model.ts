/** What a watcher might see at one moment. */
import type { WatchedRun, WatchModel } from '../src/cli/watch-model.js';

export const NOW_MS = Date.UTC(2026, 10, 24, 12);

export const NOTHING = { completed: 0, failed: 0, quarantined: 0, glitched: 0, inProgress: 0, outstanding: 0, costUsd: 0 };

export const MODEL: WatchModel = {
  state: './encode.json',
  traits: { name: 'sqlite', survives: 'power-loss', reach: 'host' },
  recovery: [],
  trouble: undefined,
  nowMs: NOW_MS,
  progress: { completed: 1_300, failed: 40, quarantined: 2, glitched: 3, inProgress: 6, outstanding: 12, costUsd: 1.25 },
  settled: 1_340,
  total: 2_000,
  isTotalGiven: true,
  perSecond: 3.5,
  restMs: 188_571,
  runs: [
    run({
      host: 'alpha',
      since: NOW_MS - 3_600_000,
      held: [120_000, 60_000, 9_000, -5_000, 0].map((ageMs, n) => held(`item-${n}`, ageMs, n === 0 ? 2 : 1)),
    }),
    run({ host: 'beta', pid: 99, condition: 'silent', held: [] }),
  ],
  leftBehind: [held('left', 5_000, 1)],
  recent: [
    { id: 'item-9', status: 'completed', reason: undefined, at: NOW_MS - 1_000, revision: 9 },
    { id: 'item-8', status: 'failed', reason: 'exit 1: no such file', at: NOW_MS - 2_000, revision: 8 },
    { id: 'item-7', status: 'quarantined', reason: 'Its process died 3 times', at: NOW_MS - 3_000, revision: 7 },
  ],
  failures: [
    { reason: 'exit 1: no such file', count: 38 },
    { reason: 'Its process died 3 times', count: 2 },
  ],
};

export function held(id: string, ageMs: number, attempt: number) {
  return { id, run: 'r', attempt, since: NOW_MS - ageMs, revision: 1 };
}

export function run(parts: Partial<WatchedRun>): WatchedRun {
  const record = { process: 'p', host: 'alpha', pid: 4_711, leaseMs: 30_000, since: NOW_MS, by: 'r.1' };
  return { ...record, runId: '3fa85f64c1d2e3b4', beatAt: undefined, silentMs: undefined, condition: 'alive', held: [], ...parts };
}
