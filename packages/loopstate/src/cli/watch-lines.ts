/** A moment of a loop as one line, for whatever is no terminal: functions of the model. */
import { countText, numberText, timeJson, timeText } from './shown-values.js';
import { durationText } from './tally.js';
import { visibleJson } from './visible-text.js';
import { isOver, type WatchModel } from './watch-model.js';

/** How many reasons a line of JSON has. */
const REASONS_TOLD = 20;

/** `1,240 of 2,000 (62 %), 4 in progress, 40 failed, 3.4/s, 4 min 3 s left`, after the time. */
export function plainLine(model: WatchModel): string {
  const { progress, runs, perSecond, restMs } = model;
  const parts = [progressText(model), `${numberText(progress.inProgress)} in progress`];
  if (progress.failed > 0) parts.push(`${numberText(progress.failed)} failed`);
  if (progress.outstanding > 0) parts.push(`${numberText(progress.outstanding)} outstanding`);
  parts.push(`${perSecond.toFixed(1)}/s`);
  if (restMs !== undefined && restMs > 0) parts.push(`${durationText(restMs)} left`);
  parts.push(countText(runs.length, 'run'));
  return `${timeText(model.nowMs)}  ${parts.join(', ')}`;
}

/** The same for programs, and more of it. */
export function jsonLine(model: WatchModel): string {
  const { progress, total, isTotalGiven, perSecond, restMs, runs, leftBehind, failures, trouble } = model;
  return visibleJson({
    at: timeJson(model.nowMs),
    progress,
    total: isTotalGiven ? total : null,
    perSecond: Math.round(perSecond * 1_000) / 1_000,
    restMs: restMs === undefined ? null : Math.round(restMs),
    runs: runs.map(({ runId, host, pid, condition, held, since }) => ({
      runId,
      host,
      pid,
      condition,
      holds: held.length,
      oldestClaim: held[0] === undefined ? null : timeJson(held[0].since),
      since: timeJson(since),
    })),
    leftBehind: leftBehind.length,
    failures: failures.slice(0, REASONS_TOLD),
    trouble: trouble ?? null,
    isOver: isOver(model),
  });
}

/** `1,240 of 2,000 (62 %)`. */
export function progressText({ settled, total }: WatchModel): string {
  return `${numberText(settled)} of ${numberText(total)}${total === 0 ? '' : ` (${Math.floor((100 * settled) / total)} %)`}`;
}
