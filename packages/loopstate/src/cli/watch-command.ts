/**
 * `loopstate watch`: a loop, live, beside the loop and without disturbing it.
 */
import { realEnvironment } from '@loopstate/core';
import type { Command } from 'commander';
import type { ExitCode } from './exit-codes.js';
import { LineOutput } from './line-output.js';
import { LoopFollower } from './loop-follower.js';
import { type ReadLoop, withReadLoop } from './open-loop.js';
import { atLeastOne, secondsAsMs } from './option-values.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';
import { Stopping } from './stopping.js';
import { colorsFor } from './terminal-colors.js';
import { visible } from './visible-text.js';
import { jsonLine, plainLine } from './watch-lines.js';
import { isOver, type WatchModel, watchModel } from './watch-model.js';

const INTERVAL_MS = 1_000;

interface WatchOptions {
  readonly state: string;
  readonly interval?: number;
  readonly total?: number;
  readonly json?: true;
}

/** Adds `watch` to the program; `onExit` is told the exit code. */
export function addWatchCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('watch')
    .summary('watch a loop, live')
    .description(
      'Watch a loop, live: on a terminal until q is pressed; elsewhere one line per interval, until everything that is known, or as much as --total says, is done and nobody is at work.',
    )
    .addOption(stateOption('the state to watch'))
    .option('--interval <seconds>', 'how often to look (default: 1)', secondsAsMs)
    .option('--total <n>', 'how many items there are: a state only knows those that were begun', atLeastOne)
    .option('--json', 'as JSON lines, on a terminal too')
    .addHelpText('after', HELP)
    .action(async (options: WatchOptions) => onExit(await watch(options)));
}

const HELP = `
Exit codes: 0 when all is done or q was pressed, 1 when all is done and some items failed.

Examples:
  $ loopstate watch --state ./encode.json --total "$(sort -u files.txt | grep -c .)"
  $ loopstate watch --state ./encode.json --interval 60 >> progress.log
`;

async function watch(options: WatchOptions): Promise<ExitCode> {
  return await withReadLoop(options.state, async (loop) => {
    const watched = new WatchedLoop(loop, options);
    const stopping = Stopping.onSignals();
    try {
      const isOnScreen = options.json !== true && process.stdout.isTTY && process.env.TERM !== 'dumb';
      if (!isOnScreen) return await watchInLines(watched, stopping, options);
      const terminal = { input: process.stdin, output: process.stdout };
      const { watchOnScreen } = await import('./watch-screen.js');
      return await watchOnScreen(watched, {
        terminal,
        stopping,
        intervalMs: options.interval ?? INTERVAL_MS,
        colors: colorsFor(process.stdout),
      });
    } finally {
      stopping.end();
    }
  });
}

/** A loop that is read again and again. */
class WatchedLoop {
  readonly #loop: ReadLoop;
  readonly #options: WatchOptions;
  readonly #follower: LoopFollower;

  constructor(loop: ReadLoop, options: WatchOptions) {
    this.#loop = loop;
    this.#options = options;
    this.#follower = new LoopFollower(loop.reader, realEnvironment);
  }

  async read(): Promise<void> {
    await this.#follower.read();
  }

  get model(): WatchModel {
    const { traits, recovery } = this.#loop.backend;
    return watchModel(this.#follower.overview, {
      state: shownState(this.#options.state),
      traits,
      recovery,
      trouble: this.#follower.trouble,
      total: this.#options.total,
      nowMs: Date.now(),
      self: realEnvironment.self,
      probe: (identity) => realEnvironment.probe(identity),
    });
  }
}

async function watchInLines(watched: WatchedLoop, stopping: Stopping, { interval = INTERVAL_MS, json }: WatchOptions): Promise<ExitCode> {
  return await LineOutput.with(process.stdout, async (output) => {
    for (let told: string | undefined; ; ) {
      const stopped = await stopping.during(watched.read());
      if (stopped !== undefined) return stopped;
      const { model } = watched;
      await output.write(`${json === true ? jsonLine(model) : plainLine(model)}\n`);
      await output.flush();
      if (model.trouble !== undefined && model.trouble !== told) {
        process.stderr.write(`the state is out of reach: ${visible(model.trouble)} It is tried again.\n`);
      }
      told = model.trouble;
      if (isOver(model)) return model.progress.failed > 0 ? 1 : 0;
      const stoppedMeanwhile = await stopping.within(interval);
      if (stoppedMeanwhile !== undefined) return stoppedMeanwhile;
    }
  });
}
