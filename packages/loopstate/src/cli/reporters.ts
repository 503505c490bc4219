/**
 * How a run is told to whoever watches: as a bar, as plain lines, as JSON, or not at all. All of it goes to standard error, since
 * standard output belongs to the children.
 */
import type { LoopEvent, LoopResult, Progress, RecoveryFinding } from '@loopstate/core';
import { isError } from '@loopstate/core';
import type { ExitCode } from './exit-codes.js';
import { durationText, Tally } from './tally.js';
import { visible, visibleJson, visibleStart } from './visible-text.js';

/** What is known when a run begins. */
export interface RunBegin {
  /** The state as the user named it, without any password. */
  readonly state: string;
  readonly total: number | undefined;
  readonly progress: Progress;
  readonly recovery: readonly RecoveryFinding[];
}

/** What is known when it ended. */
export interface RunEnd {
  readonly result: LoopResult;
  readonly exitCode: ExitCode;
}

/** What is known when an error ended it. */
export interface RunFailure {
  readonly error: unknown;
  readonly exitCode: ExitCode;
  readonly progress: Progress;
}

/** Tells of one run. */
export interface Reporter {
  begin(begin: RunBegin): void;
  event(event: LoopEvent): void;
  /** Called before others write on the terminal. */
  makeRoom(): void;
  /** Whole lines of a child's standard error; undefined: they are passed through as they are. */
  readonly childErrors?: (id: string, lines: Buffer) => void;
  end(end: RunEnd): void;
  /** In place of `end`; what the error says follows, from whoever it is thrown to. */
  fail(failure: RunFailure): void;
  /** Leaves the terminal as it was; called last, whatever happened. */
  stop(): void;
}

/** How a run may be told of. */
export type ReportStyle = 'bar' | 'plain' | 'json' | 'quiet';

/** Writes one line to the terminal or wherever standard error goes. */
export type WriteLine = (line: string) => void;

/** The reporter of a style. */
export async function createReporter(style: ReportStyle, writeLine: WriteLine): Promise<Reporter> {
  switch (style) {
    case 'bar': {
      // Loaded only where it is drawn: every command loads this file.
      const { BarReporter } = await import('./bar-reporter.js');
      return new BarReporter(writeLine);
    }
    case 'plain':
      return new PlainReporter(writeLine);
    case 'json':
      return new JsonReporter(writeLine);
    case 'quiet':
      return new QuietReporter(writeLine);
  }
}

/** What recovery found, as one line that names each path once. */
export function findingLine({ code, severity, where, message, keptAs }: RecoveryFinding): string {
  const place = message.includes(where) ? '' : ` (${where})`;
  const kept = keptAs === undefined || message.includes(keptAs) ? '' : ` Kept as ${keptAs}.`;
  return visible(`recovery: ${severity}: ${code}${place}: ${message}${kept}`);
}

/** Says nothing but what went wrong with the state, or with what this run held. */
export class QuietReporter implements Reporter {
  protected readonly writeLine: WriteLine;

  constructor(writeLine: WriteLine) {
    this.writeLine = writeLine;
  }

  begin({ recovery }: RunBegin): void {
    for (const finding of recovery) if (finding.severity !== 'info') this.writeLine(findingLine(finding));
  }

  event(event: LoopEvent): void {
    if (event.type === 'unavailable' || event.type === 'lost') this.writeLine(noticeOf(event) ?? '');
  }

  makeRoom(): void {}

  end(_end: RunEnd): void {}

  fail(_failure: RunFailure): void {}

  stop(): void {}
}

/** One line at the beginning, at most one a second, and one at the end. */
class PlainReporter extends QuietReporter {
  #tally = new Tally(undefined, () => performance.now());
  #beganMs = 0;
  #toldMs = 0;

  override begin({ state, total, progress, recovery }: RunBegin): void {
    this.#beganMs = performance.now();
    this.#toldMs = this.#beganMs;
    this.#tally = new Tally(total, () => performance.now());
    for (const finding of recovery) this.writeLine(findingLine(finding));
    const before = progress.completed + progress.failed;
    const start = before === 0 ? 'starts' : `resumes after ${progress.completed} completed and ${progress.failed} failed`;
    this.writeLine(`${visible(state)}: ${start}${total === undefined ? '' : `, ${itemCount(total)} in the input`}`);
  }

  override event(event: LoopEvent): void {
    this.#tally.take(event);
    const notice = noticeOf(event);
    if (notice !== undefined) this.writeLine(notice);
    const nowMs = performance.now();
    if (nowMs - this.#toldMs < 1_000) return;
    this.#toldMs = nowMs;
    this.writeLine(tallyText(this.#tally));
  }

  override end({ result }: RunEnd): void {
    for (const line of failureLines(this.#tally)) this.writeLine(line);
    this.writeLine(summaryLine(result, performance.now() - this.#beganMs));
  }

  override fail({ progress }: RunFailure): void {
    for (const line of failureLines(this.#tally)) this.writeLine(line);
    this.writeLine(failedSummaryLine(progress));
  }
}

/** Everything as one JSON object per line: what `runLoop` tells, between a `begin` and an `end`. */
class JsonReporter implements Reporter {
  readonly #writeLine: WriteLine;

  constructor(writeLine: WriteLine) {
    this.#writeLine = writeLine;
  }

  begin(begin: RunBegin): void {
    this.#write({ type: 'begin', ...begin });
  }

  event(event: LoopEvent): void {
    this.#write(event.type === 'unavailable' ? { type: event.type, ...jsonOfError(event.error) } : event);
  }

  makeRoom(): void {}

  childErrors(id: string, lines: Buffer): void {
    const texts = lines.toString().split('\n');
    // A part of a line that is too long to wait for its end has none.
    if (texts.at(-1) === '') texts.pop();
    for (const line of texts) this.#write({ type: 'stderr', id, line });
  }

  end({ result, exitCode }: RunEnd): void {
    this.#write({ type: 'end', ...result, exitCode });
  }

  fail({ error, exitCode, progress }: RunFailure): void {
    this.#write({ type: 'end', status: 'stopped', reason: 'error', error: jsonOfError(error), progress, exitCode });
  }

  stop(): void {}

  #write(event: { readonly type: string; readonly [name: string]: unknown }): void {
    const { type, ...others } = event;
    this.#writeLine(visibleJson({ type, at: new Date().toISOString(), ...others }));
  }
}

function jsonOfError(error: unknown): { readonly code?: unknown; readonly message: string } {
  if (!isError(error)) return { message: String(error) };
  return { ...('code' in error ? { code: error.code } : {}), message: error.message };
}

/** What a watcher should be told at once. */
export function noticeOf(event: LoopEvent): string | undefined {
  switch (event.type) {
    case 'unavailable': {
      const reason = isError(event.error) ? event.error.message : String(event.error);
      return `the state is out of reach: ${visible(reason)} Nothing new begins; it is tried again.`;
    }
    case 'available':
      return 'the state is back';
    case 'waiting-for-others':
      return `waiting for ${itemCount(event.items)} that other runs hold`;
    case 'lost':
      return `lost: ${visibleStart(event.id, 200)} is no longer held by this run: what was done of it here is not recorded`;
    case 'changed':
      return `changed: ${visibleStart(event.id, 200)} has an outcome, and is no longer what it was then`;
    case 'stopping':
      if (event.reason === 'halted') return 'halted: too many items failed';
      if (event.reason === 'SIGHUP') return 'SIGHUP: what runs is finished first; SIGTERM stops it';
      return event.reason === 'SIGINT' || event.reason === 'SIGTERM'
        ? `${event.reason}: what runs is finished first; once more stops it`
        : undefined;
    default:
      return undefined;
  }
}

function failureLines(tally: Tally): string[] {
  const more = tally.failed - tally.failures.length;
  return [...tally.failures.map((failure) => `failed: ${failureText(failure)}`), ...(more > 0 ? [`and ${more} more failed`] : [])];
}

/** How a run ended, as one line. */
export function summaryLine({ status, reason, counts, progress }: LoopResult, elapsedMs: number): string {
  const heading = status === 'completed' ? 'done' : `${status} (${reason}), run it again to go on`;
  const unrecorded = counts.unrecorded === 0 ? '' : `, ${counts.unrecorded} not recorded`;
  const repeated = counts.duplicates === 0 ? '' : `, ${counts.duplicates} left out for an id that had come before`;
  const here = `${counts.completed} completed, ${counts.failed} failed, ${counts.glitches} glitched${unrecorded}${repeated} in ${durationText(elapsedMs)}`;
  return `${heading}: ${here}; ${progress.completed} completed and ${progress.failed} failed in all`;
}

/** How far a run came that an error ended, as one line. */
export function failedSummaryLine({ completed, failed }: Progress): string {
  return `stopped by an error: ${completed} completed and ${failed} failed in all`;
}

/** How far a run is, as one line. */
export function tallyText(tally: Tally): string {
  const { settled, total, failed, glitches, running, restMs } = tally;
  const parts = [total === undefined ? `${settled}` : `${settled}/${total}`, `${running} running`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (glitches > 0) parts.push(`${glitches} glitched`);
  parts.push(`${tally.perSecond.toFixed(1)}/s`);
  if (restMs !== undefined) parts.push(`${durationText(restMs)} left`);
  return parts.join(', ');
}

/** A failed item with its reason, in one line. */
export function failureText({ id, reason }: { readonly id: string; readonly reason: string }): string {
  return `${visibleStart(id, 200)}: ${visibleStart(reason, 300)}`;
}

function itemCount(items: number): string {
  return `${items} ${items === 1 ? 'item' : 'items'}`;
}
