/**
 * The command `loopstate`: reads the command line, hands over to a subcommand, and turns what comes of it into an exit code.
 */
import { createRequire } from 'node:module';
import { isLoopStateError } from '@loopstate/core';
import { Command, CommanderError } from 'commander';
import { addCompactCommand } from './cli/compact-command.js';
import { addCopyCommand } from './cli/copy-command.js';
import { addDoctorCommand } from './cli/doctor-command.js';
import { EXIT_CODES, type ExitCode, exitCodeOfError } from './cli/exit-codes.js';
import { addExportCommand } from './cli/export-command.js';
import { addImportCommand } from './cli/import-command.js';
import { addListCommand } from './cli/list-command.js';
import { addMendCommands } from './cli/mend-commands.js';
import { addResetCommand } from './cli/reset-command.js';
import { addRunCommand } from './cli/run-command.js';
import { addShowCommand } from './cli/show-command.js';
import { addStatusCommand } from './cli/status-command.js';
import { visible } from './cli/visible-text.js';
import { addWatchCommand } from './cli/watch-command.js';

// A reader that went away is noticed where it matters, and is nothing to die of.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

const exitCode = await main(process.argv);
await Promise.all([written(process.stdout), written(process.stderr)]);
// Whatever is still open, such as an input that nobody ends, must not keep the command from ending.
process.exit(exitCode);

async function main(argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = 0;
  const program = createProgram((code) => {
    exitCode = code;
  });
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

function createProgram(onExit: (code: ExitCode) => void): Command {
  const program = new Command('loopstate')
    .description('Loops that survive being killed: run a command for each item, and go on where it stopped.')
    .version(versionOf(createRequire(import.meta.url)('../package.json')))
    .enablePositionalOptions()
    .exitOverride()
    // It repeats what was typed, or came from a script that expanded who knows what.
    .configureOutput({ writeErr: (text) => process.stderr.write(text.split('\n').map(visible).join('\n')) })
    .addHelpText('after', `\nExit codes:\n${exitCodeLines()}\n`);
  addRunCommand(program, onExit);
  addStatusCommand(program, onExit);
  addListCommand(program, onExit);
  addShowCommand(program, onExit);
  addWatchCommand(program, onExit);
  addMendCommands(program, onExit);
  addCompactCommand(program, onExit);
  addDoctorCommand(program, onExit);
  addResetCommand(program, onExit);
  addExportCommand(program, onExit);
  addImportCommand(program, onExit);
  addCopyCommand(program, onExit);
  return program;
}

function exitCodeLines(): string {
  return Object.entries(EXIT_CODES)
    .map(([code, meaning]) => `  ${code.padStart(3)}  ${meaning}`)
    .join('\n');
}

function versionOf(manifest: unknown): string {
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : 'unknown';
}

/** One line for an error that was to be expected; for a defect, all that helps to find it. */
function messageOf(error: unknown): string {
  if (isLoopStateError(error)) return visible(error.message);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
