/**
 * `loopstate import`: puts what a file says of items into a loop on which nobody is at work.
 */
import type { Command } from 'commander';
import { type ImportCounts, importItems } from '../import-items.js';
import { IMPORT_FORMATS, type ImportFormat, type ImportSource, openImport } from '../import-source.js';
import { LoopState } from '../loop-state.js';
import type { ExitCode } from './exit-codes.js';
import { type InputFile, inputFile } from './input-file.js';
import { untilInterrupted } from './interruption.js';
import { oneOf } from './option-values.js';
import { findingLine } from './reporters.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';
import { visible, visibleJson } from './visible-text.js';

interface ImportOptions {
  readonly state: string;
  readonly format: ImportFormat | 'auto';
  readonly items?: string;
  readonly replace?: true;
  readonly partial?: true;
  readonly json?: true;
}

/** Adds `import` to the program; `onExit` is told the exit code. */
export function addImportCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('import')
    .summary('put the items of an export, an older state or a job log into a state')
    .description('Put what a file says of items into a state. What is there already stays, unless it has no outcome and the file has one.')
    .argument('<file>', 'an export, a state of an older format, or a --joblog of GNU parallel; - is standard input')
    .addOption(stateOption('the state to put them into; it is made if need be'))
    .option('--format <name>', `what the file is: auto, ${IMPORT_FORMATS.join(', ')}`, oneOf('auto', ...IMPORT_FORMATS), 'auto')
    .option(
      '-i, --items <file>',
      'joblog: the file of the arguments; job n is the item in line n, which it is not after parallel -r or --header (default: the command is the item)',
    )
    .option('--replace', 'put items over what is there, outcomes included')
    .option('--partial', 'take what can be read of a file that was cut or damaged')
    .option('--json', 'say what was done as one JSON object')
    .addHelpText('after', HELP)
    .action(async (file: string, options: ImportOptions) => onExit(await untilInterrupted((signal) => importFile(file, options, signal))));
}

const HELP = `
All of the file is read before anything is imported. Interrupted, it can be run again.

Examples:
  $ loopstate import --state ./encode.json encode.jsonl
  $ loopstate import --state ./encode.json --items wavs.txt parallel.log
`;

async function importFile(file: string, options: ImportOptions, signal: AbortSignal): Promise<ExitCode> {
  const inputs: InputFile[] = [];
  const pathOf = async (named: string): Promise<string> => {
    const input = await inputFile(named, signal);
    inputs.push(input);
    return input.path;
  };
  try {
    const source = await openImport(await pathOf(file), {
      format: options.format === 'auto' ? undefined : options.format,
      itemsPath: options.items === undefined ? undefined : await pathOf(options.items),
      isPartial: options.partial,
      source: nameOf(file),
      itemsSource: options.items === undefined ? undefined : nameOf(options.items),
    });
    const counts = await putAll(source, options, signal);
    process.stdout.write(options.json === true ? `${visibleJson(jsonOf(options, source, counts))}\n` : textOf(options, counts));
    tellDoubts(source, counts);
    return 0;
  } finally {
    for (const input of inputs) await input.remove();
  }
}

function nameOf(file: string): string {
  return file === '-' ? 'standard input' : file;
}

async function putAll(source: ImportSource, { state: target, replace }: ImportOptions, signal: AbortSignal): Promise<ImportCounts> {
  const state = await LoopState.open(target);
  try {
    for (const finding of state.recovery) process.stderr.write(`${findingLine(finding)}\n`);
    return await importItems(state, source.items(), { replace, carriedUsd: source.carriedUsd, signal });
  } finally {
    await state.close();
  }
}

function textOf({ state }: ImportOptions, { imported, skipped, replaced }: ImportCounts): string {
  return `${visible(shownState(state))}: ${imported} imported, ${skipped} skipped, ${replaced} replaced\n`;
}

function jsonOf({ state }: ImportOptions, { format, leftOut, isWhole }: ImportSource, counts: ImportCounts): object {
  const { imported, skipped, replaced } = counts;
  return { state: shownState(state), format, imported, skipped, replaced, leftOut, isWhole };
}

function tellDoubts({ format, leftOut, isWhole }: ImportSource, { keptCarriedUsd }: ImportCounts): void {
  if (!isWhole) {
    const [one, many] = format === 'v1' || format === 'v2' ? ['entry', 'entries'] : ['line', 'lines'];
    const missing = leftOut === 0 ? 'some of it' : `${leftOut} ${leftOut === 1 ? one : many} can not be read, and others`;
    process.stderr.write(`loopstate: The file is not whole: ${missing} may be missing.\n`);
  }
  if (keptCarriedUsd) {
    process.stderr.write(
      'loopstate: What was spent before the state began is another amount there, and stayed; --replace takes that of the file.\n',
    );
  }
}
