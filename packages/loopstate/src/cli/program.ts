/** The command line as a whole: what `loopstate` understands, and what it says of itself. */
import { createRequire } from 'node:module';
import { Command } from 'commander';
import { addCompactCommand } from './compact-command.js';
import { addCopyCommand } from './copy-command.js';
import { addDoctorCommand } from './doctor-command.js';
import { EXIT_CODES, type ExitCode } from './exit-codes.js';
import { addExportCommand } from './export-command.js';
import { addImportCommand } from './import-command.js';
import { addListCommand } from './list-command.js';
import { addMendCommands } from './mend-commands.js';
import { addResetCommand } from './reset-command.js';
import { addRunCommand } from './run-command.js';
import { addShowCommand } from './show-command.js';
import { addStatusCommand } from './status-command.js';
import { visible } from './visible-text.js';
import { addWatchCommand } from './watch-command.js';

/** The program with all its subcommands; `onExit` is told the exit code of the one that ran. */
export function createProgram(onExit: (code: ExitCode) => void): Command {
  const program = new Command('loopstate')
    .description('Loops that survive being killed: run a command for each item, and go on where it stopped.')
    .version(versionOf(createRequire(import.meta.url)('../../package.json')))
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
