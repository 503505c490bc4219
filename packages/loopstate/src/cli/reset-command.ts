/**
 * `loopstate reset`: forgets all items, so that the loop starts from nothing; a copy of a file state is kept.
 */
import type { Progress } from '@loopstate/core';
import { LoopStateError } from '@loopstate/core';
import type { Command } from 'commander';
import { askToConfirm, type Confirmation } from './confirmation.js';
import type { ExitCode } from './exit-codes.js';
import { withOpenState } from './open-loop.js';
import { shownState } from './shown-state.js';
import { keepCopy } from './state-copy.js';
import { stateOption } from './state-option.js';
import { visible } from './visible-text.js';

interface ResetOptions {
  readonly state: string;
  readonly yes?: true;
}

/** Adds `reset` to the program; `onExit` is told the exit code. */
export function addResetCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('reset')
    .summary('forget all items, so that the loop starts anew')
    .description('Forget all items, so that the loop starts anew. Of a state in a file a copy is kept beside it.')
    .addOption(stateOption('the state to reset'))
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  $ loopstate reset --state ./encode.json --yes\n')
    .action(async (options: ResetOptions) => onExit(await reset(options)));
}

async function reset({ state: target, yes }: ResetOptions): Promise<ExitCode> {
  if (yes !== true) {
    const answer = await confirm(target, await withOpenState(target, async ({ progress }) => progress));
    if (answer !== 'yes') {
      process.stderr.write('Nothing was changed.\n');
      return answer === 'no' ? 3 : 130;
    }
  }
  const copy = await keepCopy(target, new Date());
  return await withOpenState<ExitCode>(target, async (state) => {
    const count = await state.reset();
    process.stdout.write(`${visible(shownState(target))}: ${count} ${count === 1 ? 'item' : 'items'} forgotten\n`);
    if (copy !== undefined) process.stdout.write(`the state as it was is kept in ${visible(copy)}\n`);
    return 0;
  });
}

async function confirm(target: string, { completed, failed }: Progress): Promise<Confirmation> {
  if (!process.stdin.isTTY) {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', 'A reset must be confirmed: add --yes. Nothing was changed.');
  }
  return await askToConfirm(`Forget ${completed} completed and ${failed} failed items of ${visible(shownState(target))}? [y/N] `, {
    input: process.stdin,
    output: process.stderr,
  });
}
