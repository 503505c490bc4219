/** The command line as a whole: what `loopstate` understands, and what it says of itself. */
import { Command } from 'commander';
import { VERSION } from '../version.js';
import { EXIT_CODES, type ExitCode } from './exit-codes.js';
import { visible } from './visible-text.js';

/** Adds a subcommand, or a few that are much alike. */
type AddCommand = (program: Command, onExit: (code: ExitCode) => void) => void;

const addMendCommands = async (): Promise<AddCommand> => (await import('./mend-commands.js')).addMendCommands;

/** The subcommands, in the order of the help. A start that loads all of them takes nearly twice as long as one that loads what it needs. */
const COMMANDS: Readonly<Record<string, () => Promise<AddCommand>>> = {
  run: async () => (await import('./run-command.js')).addRunCommand,
  status: async () => (await import('./status-command.js')).addStatusCommand,
  list: async () => (await import('./list-command.js')).addListCommand,
  show: async () => (await import('./show-command.js')).addShowCommand,
  watch: async () => (await import('./watch-command.js')).addWatchCommand,
  retry: addMendCommands,
  forget: addMendCommands,
  release: addMendCommands,
  compact: async () => (await import('./compact-command.js')).addCompactCommand,
  doctor: async () => (await import('./doctor-command.js')).addDoctorCommand,
  reset: async () => (await import('./reset-command.js')).addResetCommand,
  export: async () => (await import('./export-command.js')).addExportCommand,
  import: async () => (await import('./import-command.js')).addImportCommand,
  copy: async () => (await import('./copy-command.js')).addCopyCommand,
};

/**
 * The program; `onExit` is told the exit code of the subcommand that ran. If `asked` names a subcommand the program has no other, else it has
 * all of them.
 */
export async function createProgram(onExit: (code: ExitCode) => void, asked?: string): Promise<Command> {
  const program = new Command('loopstate')
    .description('Loops that survive being killed: run a command for each item, and go on where it stopped.')
    .version(VERSION)
    .enablePositionalOptions()
    .exitOverride()
    // It repeats what was typed, or came from a script that expanded who knows what.
    .configureOutput({ writeErr: (text) => process.stderr.write(text.split('\n').map(visible).join('\n')) })
    .addHelpText('after', `\nExit codes:\n${exitCodeLines()}\n`);
  const isKnown = asked !== undefined && Object.hasOwn(COMMANDS, asked);
  const loaders = isKnown ? [COMMANDS[asked] as () => Promise<AddCommand>] : new Set(Object.values(COMMANDS));
  for (const load of loaders) (await load())(program, onExit);
  return program;
}

function exitCodeLines(): string {
  return Object.entries(EXIT_CODES)
    .map(([code, meaning]) => `  ${code.padStart(3)}  ${meaning}`)
    .join('\n');
}
