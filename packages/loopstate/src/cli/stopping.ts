/**
 * Whether a command is to stop, and with which exit code: asked for by a signal, a key, or a terminal that went away.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ExitCode, SIGNAL_EXIT_CODES } from './exit-codes.js';

/** See the file's comment. */
export class Stopping {
  readonly #stopped = new AbortController();
  readonly #onEnd: () => void;
  #code: ExitCode = 0;

  /** `onEnd` gives back what was set up to ask for it. */
  constructor(onEnd: () => void = () => undefined) {
    this.#onEnd = onEnd;
  }

  /** SIGINT, SIGTERM and SIGHUP ask for it, until `end`. */
  static onSignals(): Stopping {
    const listeners = Object.entries(SIGNAL_EXIT_CODES).map(([name, code]) => [name, () => stopping.ask(code)] as const);
    const stopping = new Stopping(() => {
      for (const [name, listener] of listeners) process.off(name, listener);
    });
    for (const [name, listener] of listeners) process.on(name, listener);
    return stopping;
  }

  /** Asks to stop with this exit code; who asked first is heard. */
  ask(code: ExitCode): void {
    if (this.#stopped.signal.aborted) return;
    this.#code = code;
    this.#stopped.abort();
  }

  /** Resolves when the work has ended, to undefined; or as soon as it is to stop, to the exit code. Errors: those of the work. */
  async during(work: Promise<void>): Promise<ExitCode | undefined> {
    const { signal } = this.#stopped;
    if (!signal.aborted) {
      let stop = (): void => undefined;
      const stopped = new Promise<void>((resolve) => {
        stop = resolve;
        signal.addEventListener('abort', stop);
      });
      try {
        await Promise.race([work, stopped]);
      } finally {
        signal.removeEventListener('abort', stop);
      }
    }
    if (!signal.aborted) return undefined;
    // Nobody waits for it any more: what it may still raise is of no interest.
    work.catch(() => undefined);
    return this.#code;
  }

  /** Resolves after so many ms, to undefined; or as soon as it is to stop, to the exit code. */
  async within(ms: number): Promise<ExitCode | undefined> {
    const { signal } = this.#stopped;
    await sleep(ms, undefined, { signal }).catch(() => undefined);
    return signal.aborted ? this.#code : undefined;
  }

  end(): void {
    this.#onEnd();
  }
}
