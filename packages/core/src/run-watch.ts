/**
 * Which runs are dead, and how that is known.
 *
 * - *proven gone*: its process can be seen not to exist any more.
 * - *ended*: it was closed in this very process, and its store was out of reach then.
 * - *presumed*: its heartbeat kept one revision for its whole lease, by this observer's monotonic clock, over reads of which none came
 *   later than a third of the lease after the one before. A longer gap (an outage, a pause, a laptop's sleep) starts the count anew.
 *
 * No wall clock is asked and no two clocks are compared.
 */
import type { BackendTraits } from './backend.js';
import type { Environment } from './environment.js';
import type { RunRecord } from './loop-records.js';
import type { KnownRun, LoopView } from './loop-view.js';

/** How a run was found dead. */
export type Death = 'proven-gone' | 'ended' | 'presumed';

interface Observation {
  beat: number;
  /** When the first read that showed this beat had ended. */
  sinceMs: number;
  /** When the last read that showed this beat had begun. */
  lastMs: number;
}

/** Watches the heartbeats of other runs; see the file's comment. */
export class RunWatch {
  readonly #environment: Environment;
  readonly #reach: BackendTraits['reach'];
  readonly #observations = new Map<string, Observation>();

  constructor(environment: Environment, reach: BackendTraits['reach']) {
    this.#environment = environment;
    this.#reach = reach;
  }

  /** Takes note of a read of the store that began and ended at these times and went into `view`. */
  observe(view: LoopView, beganMs: number, endedMs: number): void {
    for (const run of view.runs.values()) {
      const beat = view.beats.get(run.runId) ?? 0;
      const seen = this.#observations.get(run.runId);
      const gapMs = beganMs - (seen?.lastMs ?? beganMs);
      // A clock that went back can't have measured anything either.
      const isUnbroken = seen !== undefined && seen.beat === beat && gapMs >= 0 && gapMs <= run.record.leaseMs / 3;
      if (isUnbroken) seen.lastMs = beganMs;
      else this.#observations.set(run.runId, { beat, sinceMs: endedMs, lastMs: beganMs });
    }
    for (const runId of this.#observations.keys()) if (!view.runs.has(runId)) this.#observations.delete(runId);
  }

  /** How `run`, whose last known heartbeat has revision `beat`, is known to be dead; `undefined`: it is not known to be. */
  judge(run: KnownRun, beat: number): Death | undefined {
    if (this.#isProvenGone(run)) return 'proven-gone';
    if (this.#environment.endedRuns.has(run.runId)) return 'ended';
    if (this.#reach === 'process') return undefined; // No heartbeats there: the lock is the proof.
    const seen = this.#observations.get(run.runId);
    return seen !== undefined && seen.beat === beat && seen.lastMs - seen.sinceMs >= run.record.leaseMs ? 'presumed' : undefined;
  }

  #isProvenGone({ record }: KnownRun): boolean {
    // Whoever has opened a store that one process holds alone knows that every other process is gone.
    if (this.#reach === 'process') return record.process !== this.#environment.self.process;
    return probeRun(record, this.#environment, this.#reach) === 'gone';
  }
}

/** Whether the process of a run still runs, as far as that can be told from here. */
export function probeRun(record: RunRecord, environment: Environment, reach: BackendTraits['reach']): 'alive' | 'gone' | 'unknown' {
  const { self } = environment;
  if (record.process === self.process) return 'alive';
  const isOfAnotherBoot = record.bootId !== undefined && self.bootId !== undefined && record.bootId !== self.bootId;
  // Where all processes are of one host, another boot of it is over.
  return reach !== 'network' && isOfAnotherBoot ? 'gone' : environment.probe(record);
}
