/**
 * `loopstate show`: everything that a state knows of one item.
 */
import { type ItemSnapshot, type RunRecord, realEnvironment } from '@loopstate/core';
import type { Command } from 'commander';
import type { ExitCode } from './exit-codes.js';
import { itemJson } from './item-json.js';
import { standingText } from './item-kinds.js';
import { withReadLoop } from './open-loop.js';
import { shownState } from './shown-state.js';
import { dollarsText, timeText } from './shown-values.js';
import { stateOption } from './state-option.js';
import { durationText } from './tally.js';
import { colorsFor } from './terminal-colors.js';
import { visible, visibleJson } from './visible-text.js';

interface ShowOptions {
  readonly state: string;
  readonly json?: true;
}

/** Adds `show` to the program; `onExit` is told the exit code. */
export function addShowCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('show')
    .summary('show all that is known of one item')
    .description('Show all that is known of one item. Exits with 1 if the state does not know it: it was not begun yet, or was forgotten.')
    .argument('<id>', 'the item; after -- if it begins with a hyphen')
    .addOption(stateOption('the state to look at'))
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  $ loopstate show --state ./encode.json -- track-07.wav\n')
    .action(async (id: string, options: ShowOptions) => onExit(await show(id, options)));
}

async function show(id: string, { state: target, json }: ShowOptions): Promise<ExitCode> {
  return await withReadLoop(target, async ({ reader }) => {
    const item = await reader.item(id);
    if (item === undefined) {
      process.stderr.write(`${visible(shownState(target))} does not know ${JSON.stringify(visible(id))}\n`);
      return 1;
    }
    const run = item.run === undefined ? undefined : await reader.run(item.run);
    process.stdout.write(json === true ? `${visibleJson(itemJson(id, item), 2)}\n` : itemText(id, item, run));
    return 0;
  });
}

/** How the store came by an outcome that it had lost. */
const RECORDED_AGAIN: Readonly<Record<NonNullable<ItemSnapshot['recordedAgain']>, string>> = {
  whole: 'again: the store had lost it',
  status: 'again, without its output: the store had lost it',
};

function itemText(id: string, item: ItemSnapshot, run: RunRecord | undefined): string {
  const rows: [name: string, value: string | undefined][] = [
    ['item', id],
    ['standing', standingText(item)],
    ['since', timeText(item.at)],
    ['held by', item.run === undefined ? undefined : holderText(item.run, run)],
    ['attempt', `${item.attempt}`],
    ['round', item.round === undefined ? undefined : `${item.round}: it was put back after an outcome`],
    ['reason', item.reason],
    ['code', item.code],
    ['last error', item.lastError],
    ['crashes', item.crashes === undefined ? undefined : `${item.crashes}${item.alone === true ? ': it runs alone' : ''}`],
    ['glitches', item.glitches?.toString()],
    ['waits', item.waitMs === undefined ? undefined : `${durationText(item.waitMs)} from when a run first sees it`],
    ['cost', item.costUsd === undefined ? undefined : `${dollarsText(item.costUsd)} for all attempts`],
    ['last cost', item.cost === undefined ? undefined : visibleJson(item.cost)],
    ['recorded', item.recordedAgain === undefined ? undefined : RECORDED_AGAIN[item.recordedAgain]],
    ['digest', item.digest],
    ['revision', `${item.revision}`],
    ['output', item.output === undefined ? undefined : visibleJson(item.output)],
  ];
  const shown = rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  const width = Math.max(...shown.map(([name]) => name.length));
  const colors = colorsFor(process.stdout);
  return shown.map(([name, value]) => `${colors.bold(name.padEnd(width))}  ${visible(value)}\n`).join('');
}

function holderText(runId: string, run: RunRecord | undefined): string {
  if (run === undefined) return `${runId}, which is no longer there: the item is free to be taken`;
  const state = { alive: 'alive', gone: 'gone', unknown: 'not of this machine' }[realEnvironment.probe(run)];
  return `${runId}, pid ${run.pid} on ${run.host}, ${state}`;
}
