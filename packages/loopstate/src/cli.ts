/**
 * The command `loopstate`: reads the command line, hands over to a subcommand, and turns what comes of it into an exit code.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isError, isLoopStateError, keepThreadPoolAwake } from '@loopstate/core';
import { CommanderError } from 'commander';
import { type ExitCode, exitCodeOfError, SIGNAL_EXIT_CODES } from './cli/exit-codes.js';
import { createProgram } from './cli/program.js';
import { visible } from './cli/visible-text.js';

/** How long a command that was interrupted waits for a reader of its output: he may have stopped reading, and never go on. */
const UNREAD_MS = 1_000;

let outputError: NodeJS.ErrnoException | undefined;

// A reader that went away is noticed where it matters, and is nothing to die of.
process.stdout.on('error', (error) => {
  outputError ??= error;
});
process.stderr.on('error', () => undefined);

// Input and output are files too, before and after a store is open.
keepThreadPoolAwake();

const exitCode = await main(process.argv);
const allWritten = Promise.all([written(process.stdout), written(process.stderr)]);
await (exitCode >= SIGNAL_EXIT_CODES.SIGHUP ? Promise.race([allWritten, sleep(UNREAD_MS)]) : allWritten);
// Whatever is still open, such as an input that nobody ends, must not keep the command from ending.
// What 1 says of the items is of no use to who lacks the output, and 1 is what a script would take for the answer.
process.exit(exitCode <= 1 && isOutputLost() ? 130 : exitCode);

async function main(argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = await createProgram((code) => {
    exitCode = code;
  }, argv[2]);
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    // It has said what was wrong; asking for help is no error.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    process.stderr.write(`loopstate: ${messageOf(error)}\n`);
    return exitCodeOfError(error);
  }
}

/** Resolves when all that was written before is on its way, or can't be written at all. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write('', () => resolve());
  });
}

/** Whether the disk that the output should go to did not take it, which is said; whoever closes the pipe has what he wants. */
function isOutputLost(): boolean {
  if (outputError === undefined || outputError.code === 'EPIPE') return false;
  process.stderr.write(`loopstate: The output can not be written: ${visible(outputError.message)}\n`);
  return true;
}

/** One line for an error that was to be expected; for a defect, all that helps to find it. */
function messageOf(error: unknown): string {
  if (isLoopStateError(error)) return visible(error.message);
  return isError(error) ? (error.stack ?? error.message) : String(error);
}
