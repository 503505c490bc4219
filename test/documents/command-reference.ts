/** The command's reference: what the program says of itself, its exit codes, and all that `doctor` and opening may find. */
import { LOOP_DIAGNOSES, PLACE_DIAGNOSES } from '@loopstate/core';
import { FILE_DIAGNOSES, FINDING_CODES as FILE_FINDINGS } from '@loopstate/file';
import { REDIS_DIAGNOSES, FINDING_CODES as REDIS_FINDINGS } from '@loopstate/redis';
import { SQLITE_DIAGNOSES, FINDING_CODES as SQLITE_FINDINGS } from '@loopstate/sqlite';
import { EXIT_CODES } from '../../packages/loopstate/src/cli/exit-codes.js';
import { createProgram } from '../../packages/loopstate/src/cli/program.js';
import { GENERATED, table } from './markdown.js';

type Command = Awaited<ReturnType<typeof createProgram>>;

/** The same on every terminal. */
const HELP_COLUMNS = 100;

const INTRODUCTION = `# The commands

Every command names its state with \`--state\`, or by the variable \`LOOPSTATE_URL\`: a path, \`file:…\`, \`sqlite:…?job=…\` or
\`redis://…?job=…\`. Results go to standard output, talk goes to standard error. \`NO_COLOR\` is respected, and what comes from items, files or
servers reaches a terminal with its control characters made visible.`;

const FINDINGS = `## What \`doctor\` finds

Each finding has an id that stays, a severity, and one sentence each for what was found and what to do. \`ok\`: it was looked at, and is as it
should be. \`info\`: worth knowing. \`warning\`: a loop can start, and something is to be done or was lost. \`problem\`: a loop can't start, or can't
record anything.`;

const REPAIRS = `## What opening repairs

Opening a state repairs what it can, keeps damaged files aside and says so: as lines \`recovery: …\` of \`run\` and \`status\`, as findings of
\`doctor\` with the same names, and as \`state.recovery\` in the library.`;

/** The text of \`docs/commands.md\`. */
export async function commandReference(): Promise<string> {
  const program = await createProgram(() => undefined);
  const commands = program.commands.filter((command) => command.name() !== 'help');
  return `${[
    INTRODUCTION.replace('\n\n', `\n\n${GENERATED}\n\n`),
    table(
      ['command', 'what it does'],
      commands.map((command) => [`[\`${command.name()}\`](#${command.name()})`, command.summary()]),
    ),
    '## Exit codes',
    table(['exit', 'meaning'], Object.entries(EXIT_CODES)),
    ...commands.map((command) => `## \`${command.name()}\`\n\n${helpBlock(command)}`),
    FINDINGS,
    findingTable('Of every state that is kept in files', PLACE_DIAGNOSES),
    findingTable('Of a state file', FILE_DIAGNOSES),
    findingTable('Of a SQLite database', SQLITE_DIAGNOSES),
    findingTable('Of Redis', REDIS_DIAGNOSES),
    findingTable('Of the loop, whatever it is kept in', LOOP_DIAGNOSES),
    REPAIRS,
    findingTable('A state file', FILE_FINDINGS),
    findingTable('A SQLite database', SQLITE_FINDINGS),
    findingTable('Redis', REDIS_FINDINGS),
  ].join('\n\n')}\n`;
}

function helpBlock(command: Command): string {
  let help = '';
  command.configureOutput({
    writeOut: (text) => {
      help += text;
    },
    getOutHelpWidth: () => HELP_COLUMNS,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return `\`\`\`text\n${help.trim()}\n\`\`\``;
}

function findingTable(title: string, findings: Readonly<Record<string, string>>): string {
  return `### ${title}\n\n${table(
    ['id', 'what it means'],
    Object.entries(findings).map(([id, meaning]) => [`\`${id}\``, meaning]),
  )}`;
}
