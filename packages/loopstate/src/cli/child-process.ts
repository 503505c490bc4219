/**
 * One child process for one item, from its start until nothing of it is left.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Readable } from 'node:stream';
import type { Argv } from './child-command.js';
import { ReportText } from './result-report.js';
import { WholeLines } from './whole-lines.js';

/** How long after a child's end its pipes may stay silent: something that it left running holds them open. */
const LINGER_MS = 1_000;

const REASON_LENGTH_MAX = 500;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Takes whole lines; what it awaits, the child waits for. */
export type LineSink = (lines: Buffer) => Promise<void>;

/** What a child gets. */
export interface ChildOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly stdout: LineSink;
  readonly stderr: LineSink;
  /** Aborted: the child is to end. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number | undefined;
  /** How long a child that was asked to end (SIGTERM) has until it is killed. */
  readonly killAfterMs: number;
  /** Whether the child may report on file descriptor 3. */
  readonly hasReport: boolean;
}

/** How a child ended. */
export interface ChildEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it was made to end; undefined: it ended by itself. */
  readonly stopped: 'timeout' | 'abort' | undefined;
  /** The last line of its standard error that was not blank, cut; it may hold anything but line breaks. */
  readonly lastErrorLine: string;
  /** What it wrote on file descriptor 3; undefined: too much. */
  readonly report: string | undefined;
}

/**
 * Runs a child in a process group of its own, so that a Ctrl-C at the terminal doesn't reach it, with nothing on its standard input.
 * It resolves when the child has ended and its output was passed on; of a child that was stopped, the whole group is gone then.
 *
 * Errors: what `spawn` raises, before the child began; what a sink raises, after the child was stopped.
 */
export async function runChild({ file, args }: Argv, options: ChildOptions): Promise<ChildEnd> {
  const stdio: StdioOptions = options.hasReport ? ['ignore', 'pipe', 'pipe', 'pipe'] : ['ignore', 'pipe', 'pipe'];
  assertDescriptors();
  const child = spawn(file, args, { detached: true, stdio, env: options.env });
  child.once('error', noteShortage);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await once(child, 'spawn');
  // One that could not be started has none.
  const streams = child.stdio.slice(1) as Readable[];
  const [stdout, stderr, reporting] = streams as [Readable, Readable, Readable | undefined];
  const stopper = new GroupStopper(child, streams, options);
  try {
    const errorTail = new ErrorTail();
    const report = new ReportText();
    const passing = [
      passLines(stdout, exited, options.stdout),
      passLines(stderr, exited, (lines) => {
        errorTail.take(lines);
        return options.stderr(lines);
      }),
      ...(reporting === undefined ? [] : [passLines(reporting, exited, async (lines) => report.take(lines))]),
    ];
    // When a sink fails, the child is of no use any more.
    for (const pass of passing) pass.catch(() => stopper.stop('abort'));
    const passed = await Promise.allSettled(passing);
    await exited;
    stopper.finish();
    for (const outcome of passed) if (outcome.status === 'rejected') throw outcome.reason;
    return {
      exitCode: child.exitCode,
      signal: child.signalCode,
      stopped: stopper.reason,
      lastErrorLine: errorTail.line,
      report: report.isTooLong ? undefined : report.text,
    };
  } finally {
    stopper.disarm();
  }
}

/** A pair for each of three pipes, another for how the start went, and the end of standard input. */
const DESCRIPTORS_NEEDED = 9;

let wereTooFew = false;

function noteShortage(error: NodeJS.ErrnoException): void {
  if (error.code === 'EMFILE' || error.code === 'ENFILE') wereTooFew = true;
}

/**
 * Once there were too few file descriptors for a child, it is seen beforehand whether there are: Node 20 never closes those that it
 * had opened for a child that it could not start so, and in the end there would be none for any.
 */
function assertDescriptors(): void {
  if (!wereTooFew) return;
  const opened: number[] = [];
  try {
    while (opened.length < DESCRIPTORS_NEEDED) opened.push(openSync(devNull, 'r'));
  } catch (error) {
    throw Object.assign(error as Error, { syscall: 'spawn' });
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

/**
 * Ends a child's process group when it is time to: first by SIGTERM, later by SIGKILL. What left the group may hold the child's pipes open
 * even then: nobody reads them any longer.
 */
class GroupStopper {
  /** Why the child was made to end; undefined: it ended by itself, whatever became of what it had started. */
  reason: ChildEnd['stopped'];
  readonly #child: ChildProcess;
  readonly #streams: readonly Readable[];
  readonly #signal: AbortSignal;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #killAfterMs: number;
  #isStopping = false;
  readonly #onAbort = (): void => this.stop('abort');

  constructor(
    child: ChildProcess,
    streams: readonly Readable[],
    { signal, timeoutMs, killAfterMs }: Pick<ChildOptions, 'signal' | 'timeoutMs' | 'killAfterMs'>,
  ) {
    this.#child = child;
    this.#streams = streams;
    this.#killAfterMs = killAfterMs;
    this.#signal = signal;
    if (timeoutMs !== undefined) this.#timers.push(setTimeout(() => this.stop('timeout'), timeoutMs));
    signal.addEventListener('abort', this.#onAbort);
    if (signal.aborted) this.stop('abort');
  }

  /** Has the child end, and what it has started. One that has ended by itself stays as it ended. */
  stop(reason: NonNullable<ChildEnd['stopped']>): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.reason = reason;
    this.#kill('SIGTERM');
    this.#timers.push(
      setTimeout(() => this.#kill('SIGKILL'), this.#killAfterMs),
      setTimeout(() => this.#closePipes(), this.#killAfterMs + LINGER_MS),
    );
  }

  /** Once a stopped child is gone, ends what is left of its group. */
  finish(): void {
    if (this.#isStopping) this.#kill('SIGKILL');
  }

  disarm(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#signal.removeEventListener('abort', this.#onAbort);
  }

  #closePipes(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  #kill(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch (error) {
      // Nothing is left of the group; or nothing that is ours to stop, as macOS says of what has ended and still waits for its parent.
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ESRCH' && code !== 'EPERM') throw error;
    }
  }
}

/** Passes on what a stream holds, in whole lines, until it ends, or is silent for a while after the child has ended. */
async function passLines(stream: Readable, exited: Promise<void>, sink: LineSink): Promise<void> {
  const lines = new WholeLines();
  let waitingSinceMs: number | undefined = performance.now();
  let watch: NodeJS.Timeout | undefined;
  void exited.then(() => {
    if (stream.destroyed) return;
    if (waitingSinceMs !== undefined) waitingSinceMs = performance.now();
    watch = setInterval(() => {
      if (waitingSinceMs !== undefined && performance.now() - waitingSinceMs >= LINGER_MS) stream.destroy();
    }, LINGER_MS / 10);
  });
  try {
    for await (const chunk of stream) {
      waitingSinceMs = undefined;
      await sink(lines.take(chunk as Buffer));
      waitingSinceMs = performance.now();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  } finally {
    clearInterval(watch);
  }
  await sink(lines.end());
}

/** Keeps the beginning of the last line that says something. */
class ErrorTail {
  line = '';

  take(lines: Buffer): void {
    let end = lines.length;
    while (end > 0 && isBlank(lines[end - 1] as number)) end -= 1;
    const told = lines.subarray(0, end);
    const start = Math.max(told.lastIndexOf(LINE_FEED), told.lastIndexOf(CARRIAGE_RETURN)) + 1;
    // Four bytes for each character that is kept.
    const line = told
      .subarray(start, start + 4 * REASON_LENGTH_MAX)
      .toString()
      .trim();
    if (line !== '') this.line = line.slice(0, REASON_LENGTH_MAX).toWellFormed();
  }
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
