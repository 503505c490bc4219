/**
 * `loopstate compact`: a state that takes no more room than it needs, and is whole by itself.
 */
import type { Command } from 'commander';
import { compactBackend } from '../backend-compaction.js';
import type { ExitCode } from './exit-codes.js';
import { findingLine } from './reporters.js';
import { shownState } from './shown-state.js';
import { countText } from './shown-values.js';
import { stateOption } from './state-option.js';
import { visible } from './visible-text.js';

/** Adds `compact` to the program; `onExit` is told the exit code. */
export function addCompactCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('compact')
    .summary('give back the room that a state does not need')
    .description(
      'Give back the room that a state does not need, while no loop works on it: a file holds all by itself then, a database has no unused space and a fresh copy. What is kept for the case of damage is not counted.',
    )
    .addOption(stateOption('the state to compact'))
    .addHelpText('after', '\nExample:\n  $ loopstate compact --state sqlite:./state.db\n')
    .action(async ({ state }: { readonly state: string }) => onExit(await compact(state)));
}

async function compact(target: string): Promise<ExitCode> {
  const compaction = await compactBackend(target);
  if (compaction === undefined) {
    // Nobody has read the rest of the URL: where it is wrong, a password may stand anywhere in it.
    process.stdout.write(`${target.slice(0, target.indexOf(':') + 1)} there is nothing to compact in a store of this kind\n`);
    return 0;
  }
  const { bytesBefore, bytesAfter, recovery } = compaction;
  for (const finding of recovery) process.stderr.write(`${findingLine(finding)}\n`);
  process.stdout.write(`${visible(shownState(target))}: ${countText(bytesBefore, 'byte')} before, ${countText(bytesAfter, 'byte')} now\n`);
  return 0;
}
