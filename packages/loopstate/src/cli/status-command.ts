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
import { visible, visibleJson, visibleStart } from './visible-text.js';

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

/** An item that a run holds. */
interface HeldItem {
  readonly id: string;
  readonly item: ItemSnapshot;
}

/** How many items of each run are shown; the JSON has all. */
const HELD_SHOWN = 3;

async function status({ state: target, json }: StatusOptions): Promise<ExitCode> {
  const state = await LoopState.open(target, { access: 'read' });
  try {
    const snapshot = await state.snapshot();
    const text =
      json === true
        ? `${visibleJson(JSON.stringify(statusJson(target, state, snapshot), null, 2))}\n`
        : statusText(target, state, snapshot);
    process.stdout.write(text);
    return 0;
  } finally {
    await state.close();
  }
}

function statusJson(target: string, state: CoreLoopState, { progress, items, runs }: LoopSnapshot): object {
  const held = heldItems(items);
  const json = ({ id, item }: HeldItem): object => ({ id, attempt: item.attempt, since: timeText(item.at) });
  return {
    state: shownState(target),
    traits: state.traits,
    progress,
    runs: runs.map((run) => ({
      ...run,
      process: state.environment.probe(run),
      since: timeText(run.since),
      held: held.filter(({ item }) => item.run === run.runId).map(json),
    })),
    leftBehind: leftBehind(held, runs).map(json),
    recovery: state.recovery,
  };
}

function statusText(target: string, state: CoreLoopState, snapshot: LoopSnapshot): string {
  const { progress, items, runs } = snapshot;
  const colors = picocolors.createColors(process.stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb');
  const failed = `${numberText(progress.failed)}${progress.quarantined > 0 ? ` (${progress.quarantined} quarantined)` : ''}`;
  const held = heldItems(items);
  const left = leftBehind(held, runs);
  const rows: [name: string, value: string][] = [
    ['state', `${visible(shownState(target))} (${state.traits.name}, survives ${state.traits.survives.replace('-', ' ')})`],
    ['completed', numberText(progress.completed)],
    ['failed', progress.failed > 0 ? colors.red(failed) : failed],
    ['in progress', numberText(progress.inProgress)],
    ['outstanding', `${numberText(progress.outstanding)}${progress.glitched > 0 ? ` (${progress.glitched} glitched)` : ''}`],
    ['cost', `$${progress.costUsd.toFixed(2)}`],
    ...runs.flatMap((run) => [
      ['run', runText(run, state.environment.probe(run))] as [string, string],
      ...heldRows(held.filter(({ item }) => item.run === run.runId)),
    ]),
    ...(left.length === 0 ? [] : [['left behind', `${numberText(left.length)}, free to be taken`] as [string, string], ...heldRows(left)]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${value}`);
  return `${[...lines, ...state.recovery.map(findingLine)].join('\n')}\n`;
}

function runText(run: RunSnapshot, process: 'alive' | 'gone' | 'unknown'): string {
  const heard = run.beatAt === undefined ? '' : `, last heard of ${timeText(run.beatAt)}`;
  const state = { alive: 'alive', gone: 'gone: the next run takes over', unknown: `not of this machine${heard}` }[process];
  return `pid ${run.pid} on ${visible(run.host)}, ${state}, since ${timeText(run.since)}, holds ${numberText(run.holds)}`;
}

function heldRows(held: readonly HeldItem[]): [name: string, value: string][] {
  const rows = held.slice(0, HELD_SHOWN).map(({ id, item }): [string, string] => {
    return ['', `  ${visibleStart(id, 100)} (attempt ${item.attempt}), since ${timeText(item.at)}`];
  });
  return held.length > HELD_SHOWN ? [...rows, ['', `  and ${numberText(held.length - HELD_SHOWN)} more`]] : rows;
}

/** What is in progress, oldest first: the order of revisions is the order of the claims, whatever the clocks said. */
function heldItems(items: LoopSnapshot['items']): HeldItem[] {
  const held = [...items].filter(([, item]) => item.status === 'claimed').map(([id, item]) => ({ id, item }));
  return held.sort((a, b) => a.item.revision - b.item.revision);
}

/** Claims of runs that are no longer there. */
function leftBehind(held: readonly HeldItem[], runs: readonly RunSnapshot[]): HeldItem[] {
  const present = new Set(runs.map(({ runId }) => runId));
  return held.filter(({ item }) => item.run === undefined || !present.has(item.run));
}

function numberText(value: number): string {
  return value.toLocaleString('en');
}

function timeText(ms: number): string {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z') : 'an unknown time';
}
