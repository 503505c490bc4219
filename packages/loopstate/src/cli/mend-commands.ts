/**
 * `loopstate retry`, `forget` and `release`: what an operator does to a loop that went wrong, beside the running loop where the store is
 * shared. Each says what it did, and to how many items.
 */
import { LoopStateError } from '@loopstate/core';
import type { Command } from 'commander';
import type { LoopState } from '../loop-state.js';
import type { ExitCode } from './exit-codes.js';
import { inBatches, namedIds } from './id-source.js';
import { type ItemKind, isOfKind, type KindOptions, kindsIn } from './item-kinds.js';
import { withOpenState } from './open-loop.js';
import { shownState } from './shown-state.js';
import { countText, numberText } from './shown-values.js';
import { stateOption } from './state-option.js';
import { visible, visibleStart } from './visible-text.js';

interface MendOptions extends KindOptions {
  readonly state: string;
  readonly null?: true;
}

/** Adds `retry`, `forget` and `release` to the program; `onExit` is told the exit code. */
export function addMendCommands(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('retry')
    .summary('put items back that have an outcome')
    .description('Put items back that have an outcome, for another round: their attempts are counted anew, their cost stays.')
    .argument('[id...]', 'the items; - reads them from standard input, one per line')
    .addOption(stateOption('the state to change'))
    .option('--failed', 'all that failed, the quarantined ones included')
    .option('--quarantined', 'all that failed because they kept killing their process')
    .option('-0, --null', 'on standard input each id ends with a NUL')
    .addHelpText('after', help('an item that was named has no outcome', ['retry --failed', 'retry -- track-07.wav']))
    .action(async (ids: string[], options: MendOptions) => onExit(await mend(RETRY, ids, options)));
  program
    .command('forget')
    .summary('forget items, as if they had never been begun')
    .description('Forget items, as if they had never been begun, their outcomes and costs included. What a live run holds stays.')
    .argument('[id...]', 'the items; - reads them from standard input, one per line')
    .addOption(stateOption('the state to change'))
    .option('--failed', 'all that failed, the quarantined ones included')
    .option('-0, --null', 'on standard input each id ends with a NUL')
    .addHelpText('after', help('an item that was named is unknown, or held by a live run', ['forget --failed', 'forget -- track-07.wav']))
    .action(async (ids: string[], options: MendOptions) => onExit(await mend(FORGET, ids, options)));
  program
    .command('release')
    .summary('take back what a dead run holds')
    .description(
      'Declare runs dead and take back the items that they hold; status names the runs. If such a run lives after all, what it tries to record of them is refused.',
    )
    .argument('<run...>', 'the runs, or beginnings of their ids that fit only one; - reads them from standard input')
    .addOption(stateOption('the state to change'))
    .option('-0, --null', 'on standard input each id ends with a NUL')
    .addHelpText('after', help('a run that was named is not there', ['release 3fa8']))
    .action(async (runs: string[], options: MendOptions) => onExit(await release(runs, options)));
}

function help(exitOne: string, examples: readonly string[]): string {
  const lines = examples.map((example) => `  $ loopstate ${example.replace(/^\w+/, '$& --state ./encode.json')}`);
  return `\nExit codes: 0, or 1 if ${exitOne}.\nA state in a file is changed while no loop runs (else: 5); sqlite: and redis: states beside running loops.\nWhat is put back or forgotten when a running loop is past it runs with the next one.\n\nExamples:\n${lines.join('\n')}\n`;
}

/** Something that is done to items. */
interface Deed {
  readonly act: (state: LoopState, ids: Iterable<string>) => Promise<number>;
  /** What became of so many items. */
  readonly done: string;
  /** Why some that were named were left alone. */
  readonly leftAlone: string;
}

const RETRY: Deed = {
  act: (state, ids) => state.retry(ids),
  done: 'put back for another round',
  leftAlone: 'with no outcome to put back',
};

const FORGET: Deed = {
  act: (state, ids) => state.forget(ids),
  done: 'forgotten',
  leftAlone: 'unknown, or held by a live run',
};

async function mend(deed: Deed, words: readonly string[], options: MendOptions): Promise<ExitCode> {
  const kinds = kindsIn(options);
  const isNamed = words.length > 0;
  if (isNamed === kinds.length > 0)
    throw badUsage(isNamed ? 'Name items, or a kind of them, not both.' : 'Name the items, or a kind of them.');
  if (options.null === true && !words.includes('-')) throw badUsage('--null is about standard input: add -.');
  return await withOpenState(options.state, async (state) => {
    const ids = isNamed ? namedIds(words, { isNull: options.null === true }) : idsOfKind(state, kinds);
    let asked = 0;
    let count = 0;
    try {
      for await (const batch of inBatches(ids)) {
        asked += batch.size;
        count += await deed.act(state, batch);
      }
    } finally {
      // Said too when it ends in the middle: that much has happened.
      process.stdout.write(`${visible(shownState(options.state))}: ${countText(count, 'item')} ${deed.done}\n`);
    }
    if (!isNamed || count === asked) return 0;
    process.stderr.write(`${countText(asked - count, 'item')} of those named left alone: ${deed.leftAlone}\n`);
    return 1;
  });
}

/** What is changed meanwhile comes again, and is of the kind no more. */
async function* idsOfKind(state: LoopState, kinds: readonly ItemKind[]): AsyncGenerator<string> {
  for await (const [id, item] of state.items()) if (isOfKind(item, kinds)) yield id;
}

async function release(words: readonly string[], options: MendOptions): Promise<ExitCode> {
  if (options.null === true && !words.includes('-')) throw badUsage('--null is about standard input: add -.');
  return await withOpenState(options.state, async (state) => {
    let code: ExitCode = 0;
    for await (const start of namedIds(words, { isNull: options.null === true })) {
      await state.refresh();
      const run = runOf(state, start);
      const count = run && (await state.releaseRun(run.runId));
      if (run === undefined || count === undefined) {
        process.stderr.write(`there is no run ${JSON.stringify(visibleStart(start, 100))}: it has ended, or was released\n`);
        code = 1;
        continue;
      }
      process.stdout.write(`${visible(run.runId)}, pid ${run.pid} on ${visible(run.host)}: ${countText(count, 'item')} came back\n`);
    }
    return code;
  });
}

/** Errors: `LOOPSTATE_BAD_OPTION` if several runs begin so. */
function runOf(state: LoopState, start: string): LoopState['runs'][number] | undefined {
  if (start === '') throw badUsage('A run has an id: status names it.');
  const found = state.runs.filter(({ runId }) => runId.startsWith(start));
  const exact = found.find(({ runId }) => runId === start);
  if (exact !== undefined || found.length <= 1) return exact ?? found[0];
  const list = found.map(({ runId }) => visible(runId)).join(', ');
  throw badUsage(`${numberText(found.length)} runs begin with ${JSON.stringify(visibleStart(start, 100))}: ${list}.`);
}

function badUsage(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message);
}
