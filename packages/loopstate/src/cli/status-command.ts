/**
 * `loopstate status`: how far a loop is, read beside the running loop, without a lock.
 */
import type { LoopState as CoreLoopState, ItemSnapshot, LoopSnapshot, RunSnapshot } from '@loopstate/core';
import type { Command } from 'commander';
import picocolors from 'picocolors';
import { LoopState } from '../loop-state.js';
import type { ExitCode } from './exit-codes.js';
import { findingLine } from './reporters.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';
import { visible, visibleStart } from './visible-text.js';

interface StatusOptions {
  readonly state: string;
  readonly json?: true;
}

/** Adds `status` to the program; `onExit` is told the exit code. */
export function addStatusCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('status')
    .summary('show how far a loop is')
    .description('Show how far a loop is. It only reads: it can be used beside a running loop, and repairs nothing.')
    .addOption(stateOption('the state to look at'))
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  $ loopstate status --state ./encode.json\n')
    .action(async (options: StatusOptions) => onExit(await status(options)));
}

/** An item that is being worked on. */
interface OpenClaim {
  readonly id: string;
  readonly item: ItemSnapshot;
}

async function status({ state: target, json }: StatusOptions): Promise<ExitCode> {
  const state = await LoopState.open(target, { access: 'read' });
  try {
    const snapshot = await state.snapshot();
    const text = json === true ? `${JSON.stringify(statusJson(target, state, snapshot), null, 2)}\n` : statusText(target, state, snapshot);
    process.stdout.write(text);
    return 0;
  } finally {
    await state.close();
  }
}

function statusJson(target: string, state: CoreLoopState, { progress, items, runs }: LoopSnapshot): object {
  const oldest = oldestClaim(items);
  return {
    state: shownState(target),
    traits: state.traits,
    progress,
    runs: runs.map((run) => ({ ...run, process: state.environment.probe(run), since: timeText(run.since) })),
    oldestClaim: oldest && { id: oldest.id, run: oldest.item.run, attempt: oldest.item.attempt, since: timeText(oldest.item.at) },
    recovery: state.recovery,
  };
}

function statusText(target: string, state: CoreLoopState, snapshot: LoopSnapshot): string {
  const { progress, items, runs } = snapshot;
  const colors = picocolors.createColors(process.stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb');
  const failed = `${numberText(progress.failed)}${progress.quarantined > 0 ? ` (${progress.quarantined} quarantined)` : ''}`;
  const oldest = oldestClaim(items);
  const rows: [name: string, value: string][] = [
    ['state', `${visible(shownState(target))} (${state.traits.name}, survives ${state.traits.survives.replace('-', ' ')})`],
    ['completed', numberText(progress.completed)],
    ['failed', progress.failed > 0 ? colors.red(failed) : failed],
    ['in progress', numberText(progress.inProgress)],
    ['outstanding', `${numberText(progress.outstanding)}${progress.glitched > 0 ? ` (${progress.glitched} glitched)` : ''}`],
    ['cost', `$${progress.costUsd.toFixed(2)}`],
    ...runs.map((run): [string, string] => ['run', runText(run, state.environment.probe(run))]),
    ...(oldest === undefined ? [] : [['oldest claim', claimText(oldest)] as [string, string]]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${value}`);
  return `${[...lines, ...state.recovery.map(findingLine)].join('\n')}\n`;
}

function runText(run: RunSnapshot, process: 'alive' | 'gone' | 'unknown'): string {
  const state = { alive: 'alive', gone: 'gone: the next run takes over', unknown: 'on another machine' }[process];
  return `pid ${run.pid} on ${visible(run.host)}, ${state}, since ${timeText(run.since)}, holds ${numberText(run.holds)}`;
}

function claimText({ id, item }: OpenClaim): string {
  return `${visibleStart(id, 100)} (attempt ${item.attempt}), since ${timeText(item.at)}`;
}

function oldestClaim(items: LoopSnapshot['items']): OpenClaim | undefined {
  let oldest: OpenClaim | undefined;
  for (const [id, item] of items) {
    // The order of revisions is the order of the claims, whatever the clocks said.
    if (item.status === 'claimed' && (oldest === undefined || item.revision < oldest.item.revision)) oldest = { id, item };
  }
  return oldest;
}

function numberText(value: number): string {
  return value.toLocaleString('en');
}

function timeText(ms: number): string {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z') : 'an unknown time';
}
