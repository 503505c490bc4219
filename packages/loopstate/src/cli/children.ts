/**
 * Runs the command for one item after another, and stops the loop when there is no point in going on.
 */
import { type ItemResult, isError, isLoopStateError, LoopStateError, type WorkContext } from '@loopstate/core';
import { type ChildCommand, MissingFieldError } from './child-command.js';
import { type ChildEnd, runChild } from './child-process.js';
import { SIGNAL_EXIT_CODES } from './exit-codes.js';
import type { InputItem } from './item-input.js';
import type { Reporter } from './reporters.js';
import { LastLine, REPORT_TOO_LONG, reportOf, withReport } from './result-report.js';
import { openResultFiles, type ResultFiles } from './results-folder.js';
import { SharedOutput } from './shared-output.js';
import { visible } from './visible-text.js';

/** Why a child can't be started, or its output not be kept, that is no fault of either: there are too many processes or files just now. */
const SHORTAGES = ['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM'];

/** What such a child says of its program. */
const UNUSABLE: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such command',
  EACCES: 'it may not be executed',
  ENOEXEC: 'it is no program',
};

/** Linux takes 128 KiB in one argument or variable (`execve`). Where an item has less than this, something else is too long. */
const LONG_WORD_BYTES = 64 * 1_024;

/** How children are run. */
export interface ChildrenOptions {
  readonly command: ChildCommand;
  readonly reporter: Reporter;
  readonly timeoutMs: number | undefined;
  readonly killAfterMs: number;
  /** The exit codes by which a child says that the circumstances are at fault. */
  readonly glitchCodes: readonly number[];
  /** Where a child reports its cost and output. */
  readonly report: 'fd' | 'line' | 'none';
  /** A directory for the output of each item. */
  readonly resultsFolder: string | undefined;
}

/** An item whose child is to be started. */
interface StartedItem {
  readonly item: InputItem;
  /** All that the child is given of it. */
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

/** See the file's comment. */
export class Children {
  /** Set when the command can't be run at all, or its output not be kept: it would be so for every item. */
  failure: LoopStateError | undefined;
  readonly #options: ChildrenOptions;
  readonly #stop = new AbortController();
  /** A copy: to read all of `process.env` for each child took 0.1 ms. */
  readonly #environment = withoutReport(process.env);
  readonly #stdout: SharedOutput;
  readonly #stderr: SharedOutput;
  #isInterrupted = false;

  constructor(options: ChildrenOptions) {
    this.#options = options;
    const beforeWrite = (): void => {
      if (process.stderr.isTTY) options.reporter.makeRoom();
    };
    this.#stdout = new SharedOutput(process.stdout, { beforeWrite, onFailure: (error) => this.#outputFailed(error) });
    // Nobody reads what goes wrong: that is no reason to stop.
    this.#stderr = new SharedOutput(process.stderr, { beforeWrite, onFailure: () => undefined });
  }

  /** Aborted when the loop is to stop at once. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Takes note that a signal has stopped the loop. Who stops a service, or the machine, sends it to each process: to those that run here too. */
  noteInterruption(): void {
    this.#isInterrupted = true;
  }

  /** Stops all that runs. */
  stop(): void {
    this.#stop.abort();
  }

  async run(item: InputItem, context: WorkContext): Promise<ItemResult> {
    const { command } = this.#options;
    const attempt = { item, attempt: context.attempt };
    try {
      const { file, args } = command.argvFor(attempt);
      const variables = command.environmentFor(attempt);
      const words = [file, ...args, item.text, item.id, ...Object.values(variables)];
      if (words.some((word) => word.includes('\0')))
        return { status: 'error', reason: 'The item holds a NUL, which no argument of a command can hold.' };
      const env = {
        ...this.#environment,
        LOOPSTATE_ITEM: item.text,
        LOOPSTATE_ID: item.id,
        LOOPSTATE_ATTEMPT: `${context.attempt}`,
        LOOPSTATE_FENCE: `${context.fence}`,
        ...variables,
        ...(this.#options.report === 'fd' ? { LOOPSTATE_RESULT_FD: '3' } : {}),
      };
      return await this.#runChild({ file, args }, { item, words, env, signal: context.signal });
    } catch (error) {
      if (error instanceof MissingFieldError) return { status: 'error', reason: error.message };
      throw error;
    }
  }

  async #runChild(
    argv: { readonly file: string; readonly args: readonly string[] },
    { item, words, env, signal }: StartedItem,
  ): Promise<ItemResult> {
    const { resultsFolder, report, timeoutMs, killAfterMs } = this.#options;
    const files = resultsFolder === undefined ? undefined : openResultFiles(resultsFolder, item.id);
    const lastLine = new LastLine();
    let end: ChildEnd;
    try {
      end = await runChild(argv, {
        env,
        signal,
        timeoutMs,
        killAfterMs,
        hasReport: report === 'fd',
        stdout: async (lines) => {
          if (report === 'line') lastLine.take(lines);
          await files?.stdout(lines);
          await this.#stdout.write(lines);
        },
        stderr: async (lines) => {
          await files?.stderr(lines);
          await this.#passErrors(item.id, lines);
        },
      });
      // It was cut short, so its exit says nothing: the loop gives the item back.
      if (end.stopped === 'abort') throw signal.reason;
      await files?.place();
    } catch (error) {
      await files?.discard();
      return this.#resultOfError(error, argv.file, { words, files });
    }
    const result = this.#resultOf(end);
    const text = report === 'line' ? lastLine.text : end.report;
    if (text !== undefined) return withReport(result, reportOf(text));
    return result.status === 'success' ? { status: 'error', reason: REPORT_TOO_LONG } : result;
  }

  /** What an error that kept a child from running, or its output from being kept, means for its item. Throws what ends the loop. */
  #resultOfError(
    error: unknown,
    file: string,
    { words, files }: { readonly words: readonly string[]; readonly files: ResultFiles | undefined },
  ): ItemResult {
    if (isErrorWithCode(error) && !isLoopStateError(error) && 'syscall' in error) {
      const isGlitch = SHORTAGES.includes(error.code);
      if (String(error.syscall).startsWith('spawn')) {
        if (isGlitch) return { status: 'glitch', reason: `It could not be started: ${error.message}` };
        const fault = this.#faultOf(words, file, error);
        if (fault !== undefined) return { status: 'error', reason: fault };
        this.failure ??= unusableCommand(file, error);
      } else if (files !== undefined && error !== this.#stdout.failure) {
        if (isGlitch) return { status: 'glitch', reason: `Its output could not be kept: ${error.message}` };
        this.failure ??= resultsFailed(error);
      }
    }
    if (this.failure === undefined) throw error;
    this.#stop.abort();
    throw this.failure;
  }

  /** Why a child could not be started, if that is the item's fault, and others may be run. */
  #faultOf(words: readonly string[], file: string, error: ErrorWithCode): string | undefined {
    const bytes = Math.max(...words.map((word) => Buffer.byteLength(word)));
    if (error.code === 'E2BIG' && bytes > LONG_WORD_BYTES)
      return `Of this item a command would be given ${bytes} bytes at once, which is too much: put what is long into a file, and name the file.`;
    return this.#options.command.variesProgram ? whyUnusable(file, error) : undefined;
  }

  #resultOf(end: ChildEnd): ItemResult {
    const { exitCode, signal, stopped, lastErrorLine } = end;
    const { glitchCodes, timeoutMs } = this.#options;
    if (exitCode === 0 && stopped === undefined) return { status: 'success' };
    const how =
      stopped === 'timeout' ? `timeout after ${(timeoutMs ?? 0) / 1_000} s` : signal === null ? `exit ${exitCode}` : `signal ${signal}`;
    const reason = lastErrorLine === '' ? how : `${how}: ${lastErrorLine}`;
    const isNoFaultOfIts = (exitCode !== null && glitchCodes.includes(exitCode)) || (this.#isInterrupted && isOfSignal(end));
    const isGlitch = isNoFaultOfIts && stopped === undefined;
    return { status: isGlitch ? 'glitch' : 'error', reason };
  }

  async #passErrors(item: string, lines: Buffer): Promise<void> {
    if (this.#options.reporter.childErrors !== undefined) this.#options.reporter.childErrors(item, lines);
    else await this.#stderr.write(lines).catch(() => undefined);
  }

  #outputFailed(error: Error): void {
    // Whoever closes the pipe (`| head`) has what he wants, and needs no message.
    if (!isErrorWithCode(error) || error.code !== 'EPIPE')
      process.stderr.write(`loopstate: The output can not be written: ${error.message}\n`);
    this.#stop.abort();
  }
}

/** Whether a child ended by one of the signals that stop the loop, as shells tell it too. */
function isOfSignal({ signal, exitCode }: ChildEnd): boolean {
  return Object.entries(SIGNAL_EXIT_CODES).some(([name, code]) => signal === name || exitCode === code);
}

/** Where this process may report is of no use to a child, which has that descriptor no more. */
function withoutReport({ LOOPSTATE_RESULT_FD: _own, ...others }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return others;
}

type ErrorWithCode = Error & { readonly code: string };

function isErrorWithCode(error: unknown): error is ErrorWithCode {
  return isError(error) && 'code' in error && typeof error.code === 'string';
}

function whyUnusable(file: string, error: ErrorWithCode): string {
  return `The command "${visible(file)}" can not be run: ${UNUSABLE[error.code] ?? error.message}.`;
}

function unusableCommand(file: string, error: ErrorWithCode): LoopStateError {
  const hint = /\s/.test(file) ? ' With --shell it is read as a shell does.' : '';
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${whyUnusable(file, error)}${hint}`, { cause: error });
}

function resultsFailed(error: Error): LoopStateError {
  return new LoopStateError('LOOPSTATE_UNAVAILABLE', `The output of an item can not be kept: ${error.message}. The item runs again.`, {
    cause: error,
  });
}
