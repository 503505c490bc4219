/**
 * `loopstate export`: a loop as text, read beside a running loop, without a lock.
 */
import { LoopReader, LoopStateError, type StateBackend } from '@loopstate/core';
import type { Command } from 'commander';
import { openBackend } from '../backend-url.js';
import { exportLines, version2Text } from '../export-text.js';
import type { ExitCode } from './exit-codes.js';
import { untilInterrupted } from './interruption.js';
import { LineOutput, OutputFailure } from './line-output.js';
import { oneOf } from './option-values.js';
import { writeOutputFile } from './output-file.js';
import { ownershipIn } from './own-files.js';
import { findingLine } from './reporters.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';
import { visible } from './visible-text.js';

interface ExportOptions {
  readonly state: string;
  readonly output: string;
  readonly format: 'jsonl' | 'v2';
}

/** Adds `export` to the program; `onExit` is told the exit code. */
export function addExportCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('export')
    .summary('write a loop as text, to keep it or to move it')
    .description('Write a loop as JSON Lines, with all that is known of its items. It only reads: it can be used beside a running loop.')
    .addOption(stateOption('the state to export'))
    .option('-o, --output <file>', 'where to write; a file appears when all of it is there', '-')
    .option('--format <name>', 'jsonl holds all; v2 is {"version":2,…}, with outcomes and costs only', oneOf('jsonl', 'v2'), 'jsonl')
    .addHelpText('after', HELP)
    .action(async (options: ExportOptions) => onExit(await untilInterrupted((signal) => exportLoop(options, signal))));
}

const HELP = `
An item that a run holds is outstanding in the export, and its attempt is not counted.

Examples:
  $ loopstate export --state ./encode.json -o encode.jsonl
  $ loopstate export --state ./encode.json | loopstate import --state sqlite:./encode.db -
`;

async function exportLoop({ state: target, output, format }: ExportOptions, signal: AbortSignal): Promise<ExitCode> {
  const backend = await openBackend(target, { access: 'read' });
  try {
    await refuseOwnFile(target, output);
    const loop = await LoopReader.open(backend);
    tellFindings(backend);
    const text = until(signal, format === 'v2' ? version2Text(loop) : exportLines(loop));
    if (output === '-') return await writeStandardOutput(text);
    await writeOutputFile(output, text);
    process.stdout.write(`${visible(shownState(target))}: exported to ${visible(output)}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof OutputFailure)) throw error;
    process.stderr.write(`loopstate: ${visible(error.message)}\n`);
    return 130;
  } finally {
    await backend.close();
  }
}

async function writeStandardOutput(parts: AsyncIterable<string>): Promise<ExitCode> {
  return await LineOutput.with(process.stdout, async (output) => {
    for await (const part of parts) await output.write(part);
    return 0;
  });
}

/** An export in place of the state itself would be the end of it, and in place of a file beside it, of what that is kept for. */
async function refuseOwnFile(target: string, output: string): Promise<void> {
  if (output === '-') return;
  const ownership = await (await ownershipIn(target))(output);
  if (ownership === 'none') return;
  const what = ownership === 'state' ? 'the state itself' : 'a file of the state';
  throw new LoopStateError('LOOPSTATE_BAD_OPTION', `${output} is ${what}: name another file. Nothing was written.`);
}

function tellFindings({ recovery }: StateBackend): void {
  for (const finding of recovery) process.stderr.write(`${findingLine(finding)}\n`);
}

async function* until(signal: AbortSignal, parts: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const part of parts) {
    signal.throwIfAborted();
    yield part;
  }
}
