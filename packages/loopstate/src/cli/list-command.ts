/**
 * `loopstate list`: the items of a state, one after another, for people, for programs, and as ids for other commands.
 */
import { type ItemSnapshot, LoopStateError } from '@loopstate/core';
import type { Command } from 'commander';
import type { ExitCode } from './exit-codes.js';
import { itemJson } from './item-json.js';
import { isOfKind, type KindOptions, kindsIn, standingText } from './item-kinds.js';
import { LineOutput } from './line-output.js';
import { withReadLoop } from './open-loop.js';
import { timeText } from './shown-values.js';
import { stateOption } from './state-option.js';
import { type Colors, colorsFor } from './terminal-colors.js';
import { visible, visibleJson, visibleStart } from './visible-text.js';

interface ListOptions extends KindOptions {
  readonly state: string;
  readonly json?: true;
  readonly ids?: true;
  readonly null?: true;
}

/** Adds `list` to the program; `onExit` is told the exit code. */
export function addListCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('list')
    .summary('list items')
    .description('List the items that the state knows, oldest change first; of all kinds, or of those that are named.')
    .addOption(stateOption('the state to look at'))
    .optionsGroup('Kinds:')
    .option('--failed', 'that failed, the quarantined ones included')
    .option('--completed', 'that are completed')
    .option('--in-progress', 'that a run holds')
    .option('--glitched', 'that came back after a glitch')
    .option('--outstanding', 'that were begun and came back, the glitched ones included')
    .option('--quarantined', 'that failed because they kept killing their process')
    .optionsGroup('Output:')
    .option('--json', 'as JSON lines, each with all that is known of an item')
    .option('--ids', 'nothing but the ids, as they are; on a terminal with escapes')
    .option('-0, --null', 'with --ids: each ends with a NUL, not with a line break')
    .addHelpText('after', HELP)
    .action(async (options: ListOptions) => onExit(await list(options)));
}

const HELP = `
Examples:
  $ loopstate list --state ./encode.json --failed
  $ loopstate list --state ./encode.json --failed --ids --null | loopstate retry --state ./encode.json --null -
`;

/** Shows an item, if it is to be shown. */
type Show = (id: string, item: ItemSnapshot) => string;

async function list(options: ListOptions): Promise<ExitCode> {
  if (options.json === true && options.ids === true) throw badUsage('Give either --json or --ids.');
  if (options.null === true && options.ids !== true) throw badUsage('--null needs --ids.');
  const kinds = kindsIn(options);
  const show = showFor(options);
  return await withReadLoop(options.state, ({ reader }) =>
    LineOutput.with(process.stdout, async (output) => {
      for await (const [id, item] of reader.items()) {
        if (kinds.length === 0 || isOfKind(item, kinds)) await output.write(show(id, item));
      }
      return 0;
    }),
  );
}

function showFor({ json, ids, null: isNull }: ListOptions): Show {
  if (json === true) return (id, item) => `${visibleJson(itemJson(id, item))}\n`;
  if (ids !== true) {
    const colors = colorsFor(process.stdout);
    return (id, item) => `${itemLine(id, item, colors)}\n`;
  }
  const end = isNull === true ? '\0' : '\n';
  if (process.stdout.isTTY) return (id) => visible(id) + end;
  return (id) => rawId(id, { isNull: isNull === true }) + end;
}

/** The command that reads it must find the same id, and no other: it might forget the wrong item. */
function rawId(id: string, { isNull }: { readonly isNull: boolean }): string {
  const shown = JSON.stringify(visibleStart(id, 100));
  if (isNull && id.includes('\0')) throw badUsage(`The id ${shown} holds a NUL: list it with --json.`);
  if (!isNull && /\n|\r$|^\ufeff/.test(id))
    throw badUsage(`The id ${shown} would not come back from a line: add --null, here and to whatever reads it.`);
  return id;
}

function itemLine(id: string, item: ItemSnapshot, colors: Colors): string {
  const standing = standingText(item).padEnd(11);
  const why = item.reason ?? item.lastError;
  const words = [item.status === 'failed' ? colors.red(standing) : standing, timeText(item.at), visible(id)];
  return [...words, ...(why === undefined ? [] : [colors.dim(visibleStart(why, 200))])].join('  ');
}

function badUsage(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message);
}
