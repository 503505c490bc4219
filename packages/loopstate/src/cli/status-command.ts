/**
 * `loopstate status`: how far a loop is, read beside the running loop, without a lock.
 */
import { type Progress, realEnvironment } from '@loopstate/core';
import type { Command } from 'commander';
import type { ExitCode } from './exit-codes.js';
import { type HeldItem, LoopOverview, type OverviewRun } from './loop-overview.js';
import { type ReadLoop, withReadLoop } from './open-loop.js';
import { findingLine } from './reporters.js';
import { shownState } from './shown-state.js';
import { countText, dollarsText, numberText, timeText } from './shown-values.js';
import { stateOption } from './state-option.js';
import { colorsFor } from './terminal-colors.js';
import { visible, visibleJson, visibleStart } from './visible-text.js';

interface StatusOptions {
  readonly state: string;
  readonly json?: true;
  readonly check?: true;
}

/** Adds `status` to the program; `onExit` is told the exit code. */
export function addStatusCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('status')
    .summary('show how far a loop is')
    .description('Show how far a loop is. It only reads: it can be used beside a running loop, and repairs nothing.')
    .addOption(stateOption('the state to look at'))
    .option('--json', 'as one JSON object')
    .option('--check', 'exit with 1 if any item that is known failed, is outstanding or in progress')
    .addHelpText('after', HELP)
    .action(async (options: StatusOptions) => onExit(await status(options)));
}

const HELP = `
A state knows the items that were begun once; those that the loop has not come to yet are not counted.

Examples:
  $ loopstate status --state ./encode.json
  $ loopstate status --state ./encode.json --check && publish
`;

/** How many items of each run are shown; the JSON has all. */
const HELD_SHOWN = 3;

async function status({ state: target, json, check }: StatusOptions): Promise<ExitCode> {
  return await withReadLoop(target, async (loop) => {
    const overview = new LoopOverview(realEnvironment);
    // One record after another: a state may have a million.
    for await (const change of loop.reader.changes(0)) overview.take(change);
    process.stdout.write(json === true ? `${visibleJson(statusJson(target, loop, overview), 2)}\n` : statusText(target, loop, overview));
    return check === true && isLeft(overview.progress) ? 1 : 0;
  });
}

/** A failed item is left for whoever decides about it: to retry it, or to forget it. */
function isLeft({ failed, inProgress, outstanding }: Progress): boolean {
  return failed + inProgress + outstanding > 0;
}

function statusJson(target: string, { backend }: ReadLoop, overview: LoopOverview): object {
  const { progress, rate, runs, held, leftBehind } = overview;
  const json = ({ id, attempt, since }: HeldItem): object => ({ id, attempt, since: timeText(since) });
  return {
    state: shownState(target),
    traits: backend.traits,
    progress,
    rate: { lastMinute: rate.lastMinute, lastHour: rate.lastHour },
    oldestClaim: held.slice(0, 1).map((item) => ({ ...json(item), run: item.run }))[0] ?? null,
    runs: runs.map(({ silentMs: _silentMs, held: heldByRun, ...run }) => ({
      ...run,
      process: realEnvironment.probe(run),
      since: timeText(run.since),
      holds: heldByRun.length,
      held: heldByRun.map(json),
    })),
    leftBehind: leftBehind.map(json),
    recovery: backend.recovery,
  };
}

function statusText(target: string, { backend }: ReadLoop, overview: LoopOverview): string {
  const { progress, rate, runs, held, leftBehind } = overview;
  const { traits, recovery } = backend;
  const colors = colorsFor(process.stdout);
  const failed = `${numberText(progress.failed)}${progress.quarantined > 0 ? ` (${progress.quarantined} quarantined)` : ''}`;
  const rows: [name: string, value: string][] = [
    ['state', `${visible(shownState(target))} (${traits.name}, survives ${traits.survives.replace('-', ' ')})`],
    ['completed', numberText(progress.completed)],
    ['failed', progress.failed > 0 ? colors.red(failed) : failed],
    ['in progress', numberText(progress.inProgress)],
    ['outstanding', `${numberText(progress.outstanding)}${progress.glitched > 0 ? ` (${progress.glitched} glitched)` : ''}`],
    ['rate', `${countText(rate.lastMinute, 'outcome')} in the last minute, ${numberText(rate.lastHour)} in the last hour`],
    ['cost', dollarsText(progress.costUsd)],
    ...held.slice(0, 1).map((item): [string, string] => ['oldest claim', `${visibleStart(item.id, 100)}, since ${timeText(item.since)}`]),
    ...runs.flatMap((run) => [['run', runText(run, realEnvironment.probe(run))] as [string, string], ...heldRows(run.held)]),
    ...(leftBehind.length === 0
      ? []
      : [['left behind', `${numberText(leftBehind.length)}, free to be taken`] as [string, string], ...heldRows(leftBehind)]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${value}`);
  return `${[...lines, ...recovery.map(findingLine)].join('\n')}\n`;
}

function runText(run: OverviewRun, process: ReturnType<typeof realEnvironment.probe>): string {
  const heard = run.beatAt === undefined ? '' : `, last heard of ${timeText(run.beatAt)}`;
  const state = { alive: 'alive', gone: 'gone: the next run takes over', unknown: `not of this machine${heard}` }[process];
  return `${visible(run.runId)}, pid ${run.pid} on ${visible(run.host)}, ${state}, since ${timeText(run.since)}, holds ${numberText(run.held.length)}`;
}

function heldRows(held: readonly HeldItem[]): [name: string, value: string][] {
  const rows = held.slice(0, HELD_SHOWN).map((item): [string, string] => ['', `  ${heldText(item)}`]);
  return held.length > HELD_SHOWN ? [...rows, ['', `  and ${numberText(held.length - HELD_SHOWN)} more`]] : rows;
}

function heldText({ id, attempt, since }: HeldItem): string {
  return `${visibleStart(id, 100)} (attempt ${attempt}), since ${timeText(since)}`;
}
