/**
 * `loopstate run`: a command for each item, each item once, however often the run is interrupted.
 */
import { type ItemResult, type Items, isLoopStateError, LoopStateError, runLoop, type WorkContext } from '@loopstate/core';
import type { Command } from 'commander';
import { placeOf } from '../backend-url.js';
import { LoopState } from '../loop-state.js';
import { argvCommand, type ChildCommand, shellCommand } from './child-command.js';
import { type ChildEnd, KILL_AFTER_MS, runChild } from './child-process.js';
import { type ExitCode, exitCodeOfResult } from './exit-codes.js';
import { openItemInput } from './item-input.js';
import { atLeastOne, fromZero, secondsAsMs } from './option-values.js';
import { createReporter, type Reporter, type ReportStyle } from './reporters.js';
import { SharedOutput } from './shared-output.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';
import { visible } from './visible-text.js';

/** The exit code by which a child says that the circumstances are at fault (EX_TEMPFAIL of sysexits.h). */
const EXIT_TEMPFAIL = 75;

/** What a child that can't be started says of the machine, not of the command: there are too many processes or files just now. */
const START_GLITCHES = ['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM'];

interface RunOptions {
  readonly state: string;
  readonly items?: string;
  readonly glob?: readonly string[];
  readonly jobs: number;
  readonly retries: number;
  readonly maxItems?: number;
  readonly timeout?: number;
  readonly shell?: true;
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
    .option('-i, --items <file>', 'one item per line; - is standard input, the default')
    .option('-g, --glob <pattern>', 'the files that match are the items; may be given several times', gather)
    .option('-j, --jobs <n>', 'how many run at once', atLeastOne, 1)
    .option('-r, --retries <n>', 'how many more attempts a failed item has', fromZero, 0)
    .option('-m, --max-items <n>', 'stop after so many items were begun', atLeastOne)
    .option('-t, --timeout <seconds>', 'stop a command that takes longer; it has failed then', secondsAsMs)
    .option('--shell', 'the command is one string for /bin/sh; the item is {} or "$1", quoted')
    .option('--bar', 'show a progress bar (default on a terminal)')
    .option('--plain', 'show progress as plain lines (default elsewhere)')
    .option('--json', 'write events as JSON lines to standard error')
    .option('--quiet', 'show nothing but trouble')
    .addHelpText('after', HELP)
    .action(async (words: string[], options: RunOptions) => onExit(await run(words, options)));
}

const HELP = `
The command sees LOOPSTATE_ITEM, LOOPSTATE_ATTEMPT and LOOPSTATE_FENCE, and nothing on its standard input. Exit 0 is success, exit 75
a glitch (tried again later, not counted), anything else an error with the last line of its standard error as the reason.
Standard output passes through in whole lines. Ctrl-C finishes what runs; a second one stops it.

Example:
  $ find . -name '*.wav' | loopstate run --state ./encode.json -j 4 -- flac --silent {}
`;

async function run(words: readonly string[], options: RunOptions): Promise<ExitCode> {
  const command = options.shell === true ? shellCommand(words) : argvCommand(words);
  const style = reportStyle(options);
  if (options.items !== undefined && options.glob !== undefined) throw badUsage('Give either --items or --glob.');
  placeOf(options.state);
  const input = await openItemInput(options);
  try {
    const state = await LoopState.open(options.state);
    try {
      const reporter = createReporter(style, (line) => process.stderr.write(`${line}\n`));
      reporter.begin({ state: shownState(options.state), total: input.total, progress: state.progress, recovery: state.recovery });
      try {
        return await runItems({ items: input.items, state, command, reporter, options });
      } finally {
        reporter.stop();
      }
    } finally {
      await state.close();
    }
  } finally {
    input.close();
  }
}

interface ItemRun {
  readonly items: Items<string>;
  readonly state: LoopState;
  readonly command: ChildCommand;
  readonly reporter: Reporter;
  readonly options: RunOptions;
}

async function runItems({ items, state, command, reporter, options }: ItemRun): Promise<ExitCode> {
  const children = new Children(command, reporter, options.timeout);
  const result = await runLoop({
    items,
    work: (item, context) => children.run(item, context),
    state,
    concurrency: options.jobs,
    retries: options.retries,
    maxItems: options.maxItems,
    signal: children.signal,
    // A child that doesn't heed SIGTERM is killed first: nothing should still work on an item that was given back.
    graceMs: KILL_AFTER_MS + 2_000,
    onProgress: (event) => reporter.event(event),
  });
  if (children.unusable !== undefined) throw children.unusable;
  const exitCode = exitCodeOfResult(result);
  reporter.end({ result, exitCode });
  return exitCode;
}

/** Runs the command for one item after another, and stops the loop when there is no point in going on. */
class Children {
  /** Set when the command can't be run at all: it would fail for every item. */
  unusable: LoopStateError | undefined;
  readonly #command: ChildCommand;
  readonly #reporter: Reporter;
  readonly #timeoutMs: number | undefined;
  readonly #stop = new AbortController();
  readonly #stdout: SharedOutput;
  readonly #stderr: SharedOutput;

  constructor(command: ChildCommand, reporter: Reporter, timeoutMs: number | undefined) {
    this.#command = command;
    this.#reporter = reporter;
    this.#timeoutMs = timeoutMs;
    const beforeWrite = (): void => {
      if (process.stderr.isTTY) reporter.makeRoom();
    };
    this.#stdout = new SharedOutput(process.stdout, { beforeWrite, onFailure: (error) => this.#outputFailed(error) });
    // Nobody reads what goes wrong: that is no reason to stop.
    this.#stderr = new SharedOutput(process.stderr, { beforeWrite, onFailure: () => undefined });
  }

  /** Aborted when the loop is to stop at once. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  async run(item: string, context: WorkContext): Promise<ItemResult> {
    if (item.includes('\0')) return { status: 'error', reason: 'The item holds a NUL, which no argument of a command can hold.' };
    const argv = this.#command(item);
    let end: ChildEnd;
    try {
      end = await runChild(argv, {
        env: { ...process.env, LOOPSTATE_ITEM: item, LOOPSTATE_ATTEMPT: `${context.attempt}`, LOOPSTATE_FENCE: `${context.fence}` },
        stdout: (lines) => this.#stdout.write(lines),
        stderr: (lines) => this.#passErrors(item, lines),
        signal: context.signal,
        timeoutMs: this.#timeoutMs,
      });
    } catch (error) {
      if (!isSpawnError(error)) throw error;
      if (START_GLITCHES.includes(error.code)) return { status: 'glitch', reason: `It could not be started: ${error.message}` };
      this.unusable ??= unusableCommand(argv.file, error);
      this.#stop.abort();
      throw this.unusable;
    }
    // It was cut short, so its exit says nothing: the loop gives the item back.
    if (end.stopped === 'abort') throw context.signal.reason;
    return resultOfChild(end, this.#timeoutMs);
  }

  async #passErrors(item: string, lines: Buffer): Promise<void> {
    if (this.#reporter.childErrors !== undefined) this.#reporter.childErrors(item, lines);
    else await this.#stderr.write(lines).catch(() => undefined);
  }

  #outputFailed(error: Error): void {
    // Whoever closes the pipe (`| head`) has what he wants, and needs no message.
    if (!isErrorWithCode(error) || error.code !== 'EPIPE')
      process.stderr.write(`loopstate: The output can not be written: ${error.message}\n`);
    this.#stop.abort();
  }
}

/** What a child's end says of its item. */
function resultOfChild({ exitCode, signal, stopped, lastErrorLine }: ChildEnd, timeoutMs: number | undefined): ItemResult {
  if (exitCode === 0 && stopped === undefined) return { status: 'success' };
  const how =
    stopped === 'timeout' ? `timeout after ${(timeoutMs ?? 0) / 1_000} s` : signal === null ? `exit ${exitCode}` : `signal ${signal}`;
  const reason = lastErrorLine === '' ? how : `${how}: ${lastErrorLine}`;
  return { status: exitCode === EXIT_TEMPFAIL && stopped === undefined ? 'glitch' : 'error', reason };
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

function isErrorWithCode(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}

function isSpawnError(error: unknown): error is Error & { readonly code: string } {
  return isErrorWithCode(error) && !isLoopStateError(error) && 'syscall' in error && String(error.syscall).startsWith('spawn');
}

function unusableCommand(file: string, error: Error & { readonly code: string }): LoopStateError {
  const why =
    { ENOENT: 'there is no such command', EACCES: 'it may not be executed', ENOEXEC: 'it is no program' }[error.code] ?? error.message;
  const message = `The command "${visible(file)}" can not be run: ${why}. No item was recorded.`;
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message, { cause: error });
}

function badUsage(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message);
}
