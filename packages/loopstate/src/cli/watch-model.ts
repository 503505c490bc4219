/**
 * What a watcher is shown, at one moment: plain figures, taken from an overview, without any clock or terminal.
 */
import type { BackendTraits, ProcessIdentity, Progress, RecoveryFinding } from '@loopstate/core';
import type { FailureGroup, HeldItem, LoopOverview, OverviewRun, RecentOutcome } from './loop-overview.js';

/** What is known of a run's process: `silent` is one of another host that gave no sign of life for its whole lease. */
export type RunCondition = 'alive' | 'gone' | 'silent' | 'elsewhere';

/** A run as it is shown. */
export interface WatchedRun extends OverviewRun {
  readonly condition: RunCondition;
}

/** See the file's comment. */
export interface WatchModel {
  /** The state as the user named it, without any password. */
  readonly state: string;
  readonly traits: BackendTraits;
  readonly recovery: readonly RecoveryFinding[];
  /** Why the state can't be read now; everything else is of before then. */
  readonly trouble: string | undefined;
  /** In ms since the epoch. */
  readonly nowMs: number;
  readonly progress: Progress;
  /** Items that have an outcome. */
  readonly settled: number;
  /** How many items there are, as the user says; else how many are known. */
  readonly total: number;
  readonly isTotalGiven: boolean;
  /** Outcomes a second, lately. */
  readonly perSecond: number;
  /** How long the rest will take at this rate, in ms; undefined while that can't be told. */
  readonly restMs: number | undefined;
  readonly runs: readonly WatchedRun[];
  /** Claims of runs that are no longer there. */
  readonly leftBehind: readonly HeldItem[];
  readonly recent: readonly RecentOutcome[];
  readonly failures: readonly FailureGroup[];
}

/** What a model is made of beside the overview. */
export interface WatchModelParts extends Pick<WatchModel, 'state' | 'traits' | 'recovery' | 'trouble' | 'nowMs'> {
  readonly total: number | undefined;
  readonly self: ProcessIdentity;
  readonly probe: (identity: ProcessIdentity) => 'alive' | 'gone' | 'unknown';
}

/** The model of this moment. */
export function watchModel(overview: LoopOverview, { total, self, probe, ...parts }: WatchModelParts): WatchModel {
  const { progress, rate, runs, leftBehind, recent, failures } = overview;
  const settled = progress.completed + progress.failed;
  const known = settled + progress.inProgress + progress.outstanding;
  const { perSecond } = rate;
  const all = Math.max(total ?? known, settled);
  return {
    ...parts,
    progress,
    settled,
    total: all,
    isTotalGiven: total !== undefined,
    perSecond,
    restMs: perSecond > 0 ? ((all - settled) * 1_000) / perSecond : undefined,
    runs: runs.map((run) => ({ ...run, condition: conditionOf(run, { reach: parts.traits.reach, self, probe }) })),
    leftBehind,
    recent,
    failures,
  };
}

/** Nothing that is known is left to do, and nobody is at work who might come to know more. */
export function isOver({ progress, settled, total, runs, trouble }: WatchModel): boolean {
  const isAtWork = runs.some(({ condition }) => condition === 'alive' || condition === 'elsewhere');
  return trouble === undefined && !isAtWork && progress.inProgress + progress.outstanding === 0 && settled >= total;
}

function conditionOf(
  run: OverviewRun,
  { reach, self, probe }: Pick<WatchModelParts, 'self' | 'probe'> & Pick<BackendTraits, 'reach'>,
): RunCondition {
  const state = probe(run);
  if (state !== 'unknown') return state;
  // Who can't be reached by a network was on this machine, before it was started anew.
  if (reach !== 'network' && run.bootId !== undefined && self.bootId !== undefined && run.bootId !== self.bootId) return 'gone';
  return run.silentMs !== undefined && run.silentMs > run.leaseMs ? 'silent' : 'elsewhere';
}
