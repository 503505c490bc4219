/**
 * `loopstate copy`: a loop from one place to another, and a look at both to see that they are equal.
 */
import { LoopReader, LoopStateError, type StateBackend } from '@loopstate/core';
import type { Command } from 'commander';
import { openBackend, placeOf } from '../backend-url.js';
import { type CopyCounts, compareLoops, copyLoop, isEqualLoop, type LoopDifference } from '../copy-loop.js';
import { LoopState } from '../loop-state.js';
import type { ExitCode } from './exit-codes.js';
import { untilInterrupted } from './interruption.js';
import { findingLine } from './reporters.js';
import { shownState } from './shown-state.js';
import { numberText } from './shown-values.js';
import { visible, visibleJson, visibleStart } from './visible-text.js';

interface CopyOptions {
  readonly verifyOnly?: true;
  readonly json?: true;
}

/** From where to where, as the user named them. */
interface Route {
  readonly from: string;
  readonly to: string;
}

const ID_SHOWN_MAX = 100;

/** Adds `copy` to the program; `onExit` is told the exit code. */
export function addCopyCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('copy')
    .summary('copy a loop to another place')
    .description(
      'Copy a loop from one state to another, which holds nothing else, then read both and compare them: 0 only if they are equal.',
    )
    .argument('<from>', 'the state to copy: ./state.json, file:…, sqlite:…, redis:…')
    .argument('<to>', 'where to copy it to; it is made if need be')
    .option('--verify-only', 'copy nothing, only compare')
    .option('--json', 'say what was done as one JSON object')
    .addHelpText('after', HELP)
    .action(async (from: string, to: string, options: CopyOptions) =>
      onExit(await untilInterrupted((signal) => copy({ from, to }, options, signal))),
    );
}

const HELP = `
Stop the loop first: an item that a run holds is outstanding in the copy. Interrupted at any moment, it can be run again.
Exit 1: the two are not equal.

Example:
  $ loopstate copy ./encode.json redis://host/0?job=encode
`;

async function copy(route: Route, options: CopyOptions, signal: AbortSignal): Promise<ExitCode> {
  if (placeOf(route.to).kind === 'memory') {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', 'A copy in memory ends with this command: copy to a file, a database or a server.');
  }
  return await reading(route.from, async (from) => {
    const counts = options.verifyOnly === true ? undefined : await copyTo(route, from, signal);
    say(`comparing ${namesOf(route).join(' with ')}`);
    // Read anew: what counts is what the next one will find there.
    const difference = await reading(route.to, (to) => compareLoops(from, to, { signal }));
    const isEqual = isEqualLoop(difference);
    if (options.json === true) process.stdout.write(`${visibleJson({ isEqual, ...counts, ...difference })}\n`);
    else process.stdout.write(textOf(route, counts, difference));
    return isEqual ? 0 : 1;
  });
}

async function reading<T>(target: string, use: (loop: LoopReader) => Promise<T>): Promise<T> {
  const backend = await openBackend(target, { access: 'read' });
  try {
    const loop = await LoopReader.open(backend);
    tellFindings(backend);
    return await use(loop);
  } finally {
    await backend.close();
  }
}

async function copyTo(route: Route, from: LoopReader, signal: AbortSignal): Promise<CopyCounts> {
  const state = await LoopState.open(route.to);
  try {
    tellFindings(state);
    say(`copying ${namesOf(route).join(' to ')}`);
    const counts = await copyLoop(from, state, { signal });
    const held = counts.inProgress;
    if (held > 0)
      say(
        `${numberText(held)} ${held === 1 ? 'item was' : 'items were'} in progress, and outstanding in the copy. If a run is at work there, stop it and copy again.`,
      );
    return counts;
  } finally {
    await state.close();
  }
}

function tellFindings({ recovery }: Pick<StateBackend, 'recovery'>): void {
  for (const finding of recovery) say(findingLine(finding));
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function namesOf({ from, to }: Route): string[] {
  return [from, to].map((target) => visible(shownState(target)));
}

function textOf(route: Route, counts: CopyCounts | undefined, difference: LoopDifference): string {
  const { equal, missing, different, extra, isCarriedUsdEqual, examples } = difference;
  const names = namesOf(route).join(' and ');
  const lines = counts === undefined ? [] : [`${numberText(counts.copied)} items copied, ${numberText(counts.present)} were there already`];
  if (isEqualLoop(difference)) lines.push(`${names} are equal: ${numberText(equal)} items`);
  else {
    lines.push(`${names} are NOT equal: ${numberText(equal)} items are`);
    lines.push(`${numberText(missing)} missing, ${numberText(different)} different, ${numberText(extra)} more than there should be`);
    for (const id of examples) lines.push(`  ${visibleStart(id, ID_SHOWN_MAX)}`);
    if (!isCarriedUsdEqual) lines.push('what was spent before they began is not the same');
  }
  return `${lines.join('\n')}\n`;
}
