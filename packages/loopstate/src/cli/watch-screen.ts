/**
 * `watch` on a terminal: reads, draws, and stops when it is told to; the terminal is as it was then, however it ended.
 */
import type { ExitCode } from './exit-codes.js';
import { FullScreen, type Terminal } from './full-screen.js';
import type { Stopping } from './stopping.js';
import type { Colors } from './terminal-colors.js';
import { watchFrame } from './watch-frame.js';
import type { WatchModel } from './watch-model.js';

/** What is watched. */
export interface Watched {
  /** Takes in what changed. */
  read(): Promise<void>;
  readonly model: WatchModel;
}

/** What it is shown on, and until when. */
export interface WatchScreenOptions {
  readonly terminal: Terminal;
  readonly stopping: Stopping;
  readonly intervalMs: number;
  readonly colors: Colors;
}

const INTERRUPT = '\u0003';

/** Resolves to the exit code. Errors: those of reading. */
export async function watchOnScreen(watched: Watched, { terminal, stopping, intervalMs, colors }: WatchScreenOptions): Promise<ExitCode> {
  const draw = (): void => screen.draw(watchFrame(watched.model, screen.size, colors));
  const screen = new FullScreen(terminal, {
    onKey: (key) => {
      if (key === 'q' || key === 'Q') stopping.ask(0);
      if (key === INTERRUPT) stopping.ask(130);
    },
    onResize: draw,
    onGone: () => stopping.ask(130),
  });
  screen.open();
  try {
    // A large state takes its time.
    screen.draw(['reading the state …']);
    for (;;) {
      const stopped = await stopping.during(watched.read());
      if (stopped !== undefined) return stopped;
      draw();
      const stoppedMeanwhile = await stopping.within(intervalMs);
      if (stoppedMeanwhile !== undefined) return stoppedMeanwhile;
    }
  } finally {
    screen.close();
  }
}
