/**
 * `loopstate run`: a command for each item, each item once, however often the run is interrupted.
 */
import { LoopStateError, type RunLoopOptions, runLoop } from '@loopstate/core';
import { type Command, Option } from 'commander';
import { placeOf } from '../backend-url.js';
import { LoopState } from '../loop-state.js';
import { argvCommand, type ChildCommand, shellCommand } from './child-command.js';
import { Children } from './children.js';
import { dryRun } from './dry-run.js';
import { type ExitCode, exitCodeOfError, exitCodeOfResult, SIGNAL_EXIT_CODES } from './exit-codes.js';
import { type HaltRule, HaltWatch, haltRule } from './halt-rule.js';
import { digestOf } from './item-digest.js';
import { type InputItem, type ItemInput, openItemInput } from './item-input.js';
import { atLeastOne, dollars, exitCodes, fromZero, oneOf, oneTo, secondsAsMs, secondsWithin } from './option-values.js';
import { createReporter, type Reporter, type ReportStyle } from './reporters.js';
import { makeResultsFolder } from './results-folder.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';

/** The exit code by which a child says that the circumstances are at fault (EX_TEMPFAIL of sysexits.h). */
const EXIT_TEMPFAIL = 75;

const GRACE_MS = 5_000;

/** The loop waits a little longer than that, and for a day at most. */
const GRACE_MAX_S = 86_000;

const BACKOFF_MAX_S = 86_400;

/** As many as a loop takes. */
const JOBS_MAX = 10_000;

/** How far the waits between attempts grow that began shorter. */
const BACKOFF_GROWN_MS = 60_000;

interface RunOptions {
  readonly state: string;
  readonly items?: string;
  readonly glob?: readonly string[];
  readonly jsonl?: true;
  readonly csv?: true;
  readonly idField?: string;
  readonly total?: number;
  readonly jobs: number;
  readonly retries: number;
  readonly backoff: number;
  readonly maxItems?: number;
  readonly maxCost?: number;
  readonly timeout?: number;
  readonly grace: number;
  readonly lease?: number;
  readonly halt?: HaltRule;
  readonly glitchCodes: readonly number[];
  readonly report: 'fd' | 'line' | 'none';
  readonly results?: string;
  readonly onChange?: 'refuse' | 'warn' | 'rerun';
  readonly shell?: true;
  readonly dryRun?: true;
  readonly json?: true;
  readonly plain?: true;
  readonly bar?: true;
  readonly quiet?: true;
}

/** Adds `run` to the program; `onExit` is told the exit code. */
export function addRunCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('run')
    .summary('run a command for each item, resumable')
    .description('Run a command for each item that has no outcome yet, and record how it ended. Interrupted, it goes on where it was.')
    .usage('--state <url|path> [options] -- <command> [arguments, {} is the item]')
    .argument('<command...>', 'the command and its arguments; {} is replaced by the item, or it is added at the end')
    .passThroughOptions()
    .addOption(stateOption('where to remember: ./state.json, file:…, sqlite:…, redis:…'))
    .optionsGroup('Items:')
    .option('-i, --items <file>', 'one item per line; - is standard input, the default')
    .option(
      '-g, --glob <pattern>',
      'the files that match are the items, by whole paths, or from ./, if all patterns are; may be given several times',
      gather,
    )
    .option('--jsonl', 'each line is a JSON object; {name} is a field of it')
    .option('--csv', 'each record is an item; the first one names the fields')
    .option('--id-field <name>', 'the field that is the id of a row (default: "id")')
    .option('--total <n>', 'how many items there are, where that can not be known', atLeastOne)
    .optionsGroup('Commands:')
    .option('-j, --jobs <n>', 'how many run at once', oneTo(JOBS_MAX), 1)
    .option('-t, --timeout <seconds>', 'stop a command that takes longer; it has failed then', secondsAsMs)
    .addOption(
      new Option('--grace <seconds>', 'how long a command that is stopped (SIGTERM) has until it is killed')
        .argParser(secondsWithin({ min: 0.001, max: GRACE_MAX_S }))
        .default(GRACE_MS, `${GRACE_MS / 1_000}`),
    )
    .option('--shell', 'the command is one string for /bin/sh; the item is {} or "$1", quoted')
    .option('--glitch-codes <list>', "exit codes that mean: not the item's fault, try again later", exitCodes, [EXIT_TEMPFAIL])
    .option(
      '--report <where>',
      'where a command reports {"cost":{"usd":…},"output":…}: fd (descriptor 3), line (its last one), none',
      oneOf('fd', 'line', 'none'),
      'fd',
    )
    .option('--results <dir>', 'keep the output of each item there, as <item>.out and <item>.err')
    .option('--dry-run', 'show what would run, and change nothing')
    .optionsGroup('Bounds:')
    .option('-r, --retries <n>', 'how many more attempts a failed item has', fromZero, 0)
    .option(
      '--backoff <seconds>',
      'the wait before the first of them, doubled each time up to a minute',
      secondsWithin({ min: 0, max: BACKOFF_MAX_S }),
      0,
    )
    .option('-m, --max-items <n>', 'stop once so many attempts were begun', atLeastOne)
    .option('--max-cost <usd>', 'begin nothing more once all attempts together have cost so much', dollars)
    .option('--halt <rule>', 'stop when items fail: soon,fail=N or now,fail=N%', haltRule)
    .option('--on-change <what>', 'when an item or the command is not what it was: refuse, warn, rerun', oneOf('refuse', 'warn', 'rerun'))
    .option(
      '--lease <seconds>',
      'for how long this run may be silent before others take over (default: 30)',
      secondsWithin({ min: 1, max: 86_400 }),
    )
    .optionsGroup('Progress:')
    .option('--bar', 'show a progress bar (default on a terminal)')
    .option('--plain', 'show progress as plain lines (default elsewhere)')
    .option('--json', 'write events as JSON lines to standard error')
    .option('--quiet', 'show nothing but trouble')
    .addHelpText('after', HELP)
    .action(async (words: string[], options: RunOptions) => onExit(await run(words, options)));
}

const HELP = `
Placeholders: {} the item, {id} its id, {n} its place in the input, {attempt}, and {name} a field of a row.
With --shell each is one word, whether it is quoted or not, and \${name} is a variable of the shell.
The command sees LOOPSTATE_ITEM, LOOPSTATE_ID, LOOPSTATE_ATTEMPT and LOOPSTATE_FENCE, and nothing on its standard input. Exit 0 is success, exit 75
a glitch (tried again later, not counted), anything else an error with the last line of its standard error as the reason.
What it reports is written to file descriptor 3 (LOOPSTATE_RESULT_FD), as in echo '{"output":1}' >&3, or with --report line is the last line of
its standard output.
Standard output passes through in whole lines. Ctrl-C finishes what runs; a second one stops it.

Examples:
  $ find . -name '*.wav' | loopstate run --state ./encode.json -j 4 -- flac --silent {}
  $ loopstate run --state ./mail.json --items people.csv --csv --id-field email -- ./send {email} {name}
`;

async function run(words: readonly string[], options: RunOptions): Promise<ExitCode> {
  // As a variable of a script leaves it that is not set: each item would have failed for good, or been done by a shell that did nothing.
  if (words[0]?.trim() === '') throw badUsage('The command is empty. Nothing was run.');
  const hasFields = options.jsonl === true || options.csv === true;
  const command = options.shell === true ? shellCommand(words, { hasFields }) : argvCommand(words, { hasFields });
  const style = reportStyle(options);
  if (options.items !== undefined && options.glob !== undefined) throw badUsage('Give either --items or --glob.');
  placeOf(options.state);
  const input = await openItemInput({ ...options, fields: command.fields, names: command.names });
  try {
    if (options.dryRun === true) return await dryRun(options.state, input.items, command, options);
    return await runWithState({ input, command, style, options });
  } finally {
    input.close();
  }
}

interface Run {
  readonly input: ItemInput;
  readonly command: ChildCommand;
  readonly style: ReportStyle;
  readonly options: RunOptions;
}

async function runWithState({ input, command, style, options }: Run): Promise<ExitCode> {
  if (options.results !== undefined) await makeResultsFolder(options.results);
  const state = await LoopState.open(options.state, { leaseMs: options.lease });
  try {
    const reporter = await createReporter(style, (line) => process.stderr.write(`${line}\n`));
    reporter.begin({ state: shownState(options.state), total: input.total, progress: state.progress, recovery: state.recovery });
    try {
      return await runItems({ input, command, options, state, reporter });
    } finally {
      reporter.stop();
    }
  } finally {
    await state.close();
  }
}

interface ItemRun extends Omit<Run, 'style'> {
  readonly state: LoopState;
  readonly reporter: Reporter;
}

async function runItems({ input, state, command, reporter, options }: ItemRun): Promise<ExitCode> {
  const children = new Children({
    command,
    reporter,
    timeoutMs: options.timeout,
    killAfterMs: options.grace,
    glitchCodes: options.glitchCodes,
    report: options.report,
    resultsFolder: options.results,
  });
  const halt = new AbortController();
  const watch = options.halt === undefined ? undefined : new HaltWatch(options.halt);
  const loop: RunLoopOptions<InputItem> = {
    items: input.items,
    work: (item, context) => children.run(item, context),
    state,
    concurrency: options.jobs,
    retries: options.retries,
    backoff: { minDelayMs: options.backoff, maxDelayMs: Math.max(options.backoff, BACKOFF_GROWN_MS) },
    maxItems: options.maxItems,
    maxBudgetUsd: options.maxCost,
    signal: children.signal,
    halt: halt.signal,
    // A child that doesn't heed SIGTERM is killed first: nothing should still work on an item that was given back.
    graceMs: options.grace + 2_000,
    ...(options.onChange === undefined ? {} : { digest: (item) => digestOf(item, command), onChange: options.onChange }),
    onProgress: (event) => {
      reporter.event(event);
      if (event.type === 'stopping' && Object.hasOwn(SIGNAL_EXIT_CODES, event.reason)) children.noteInterruption();
      if (watch?.take(event) !== true) return;
      halt.abort();
      if (options.halt?.how === 'now') children.stop();
    },
  };
  try {
    const result = await runLoop(loop);
    if (children.failure !== undefined) throw children.failure;
    const exitCode = exitCodeOfResult(result);
    reporter.end({ result, exitCode });
    return exitCode;
  } catch (error) {
    reporter.fail({ error, exitCode: exitCodeOfError(error), progress: state.progress });
    throw error;
  }
}

function reportStyle({ json, plain, bar, quiet }: RunOptions): ReportStyle {
  const styles = { json, plain, bar, quiet };
  const given = Object.entries(styles).flatMap(([style, isGiven]) => (isGiven === true ? [style as ReportStyle] : []));
  if (given.length > 1) throw badUsage(`Give only one of ${given.map((style) => `--${style}`).join(', ')}.`);
  return given[0] ?? (process.stderr.isTTY && process.env.TERM !== 'dumb' ? 'bar' : 'plain');
}

function gather(pattern: string, patterns: readonly string[] = []): string[] {
  return [...patterns, pattern];
}

function badUsage(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message);
}
