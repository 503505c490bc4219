/**
 * A run as a bar on a terminal.
 */
import type { LoopEvent } from '@loopstate/core';
import { MultiBar, type Options, Presets, type SingleBar } from 'cli-progress';
import {
  failedSummaryLine,
  failureText,
  findingLine,
  noticeOf,
  QuietReporter,
  type RunBegin,
  type RunEnd,
  type RunFailure,
  summaryLine,
  tallyText,
} from './reporters.js';
import { Tally } from './tally.js';

/** A bar with rate and rest on a terminal; it gives way to other lines, and draws itself again below them. */
export class BarReporter extends QuietReporter {
  #tally = new Tally(undefined, () => performance.now());
  #beganMs = 0;
  readonly #bars = new MultiBar(
    {
      stream: process.stderr,
      format: (options, { maxWidth }) => barLine(this.#tally, (width) => barOf(this.#tally, width, options), maxWidth ?? 80),
      // What can't be undone after a SIGKILL is left alone: the cursor and the wrapping of lines.
      hideCursor: false,
      linewrap: true,
      clearOnComplete: true,
      forceRedraw: true,
      gracefulExit: false,
    },
    Presets.shades_classic,
  );
  #bar: SingleBar | undefined;

  override begin(begin: RunBegin): void {
    this.#beganMs = performance.now();
    this.#tally = new Tally(begin.total, () => performance.now());
    for (const finding of begin.recovery) this.writeLine(findingLine(finding));
    this.#bar = this.#bars.create(begin.total ?? 0, 0);
  }

  override event(event: LoopEvent): void {
    this.#tally.take(event);
    const notice = event.type === 'failed' ? `failed: ${failureText(event)}` : noticeOf(event);
    if (notice === undefined) return;
    this.makeRoom();
    this.writeLine(notice);
  }

  override makeRoom(): void {
    // Only while a bar is there. It comes back with the next tick, ten times a second.
    if (this.#bar !== undefined) process.stderr.write('\r\u001b[2K');
  }

  override end({ result }: RunEnd): void {
    this.stop();
    this.writeLine(summaryLine(result, performance.now() - this.#beganMs));
  }

  override fail({ progress }: RunFailure): void {
    this.stop();
    this.writeLine(failedSummaryLine(progress));
  }

  override stop(): void {
    if (this.#bar === undefined) return;
    this.#bars.stop();
    this.makeRoom();
    this.#bar = undefined;
  }
}

function barLine(tally: Tally, draw: (width: number) => string, maxWidth: number): string {
  const text = tallyText(tally);
  const width = tally.total === undefined ? 0 : Math.min(40, maxWidth - text.length - 3);
  return (width < 5 ? text : `${draw(width)} ${text}`).slice(0, maxWidth - 1);
}

function barOf({ settled, total = 0 }: Tally, width: number, chars: Options): string {
  const full = Math.round((total === 0 ? 1 : Math.min(1, settled / total)) * width);
  return (chars.barCompleteString ?? '').slice(0, full) + (chars.barIncompleteString ?? '').slice(0, width - full);
}
