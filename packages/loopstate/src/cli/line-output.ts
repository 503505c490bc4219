/**
 * Many lines to standard output, as fast as they are read and no faster; it notices when nobody reads them any more.
 */
import type { Writable } from 'node:stream';
import type { ExitCode } from './exit-codes.js';
import { SharedOutput } from './shared-output.js';

/** So much is written at once. */
const CHUNK_LENGTH = 32 * 1_024;

/** Nobody reads the output any more, or it can't be written. */
export class OutputFailure extends Error {}

/** Writes texts to a stream. **Invariant:** what was given to `write` is in `#pending`, or on its way. */
export class LineOutput {
  readonly #output: SharedOutput;
  #pending = '';

  private constructor(stream: Writable) {
    this.#output = new SharedOutput(stream, { beforeWrite: () => undefined, onFailure: sayUnlessUnread });
  }

  /** Runs with the output, and writes all of it. Resolves to 130 if it could not be written. Errors: those of `run`. */
  static async with(stream: Writable, run: (output: LineOutput) => Promise<ExitCode>): Promise<ExitCode> {
    const output = new LineOutput(stream);
    try {
      const code = await run(output);
      await output.flush();
      return code;
    } catch (error) {
      if (error instanceof OutputFailure) return 130;
      // What was found before it went wrong is shown all the same.
      await output.flush().catch(() => undefined);
      throw error;
    }
  }

  /** Whoever awaits it can't run far ahead of the reader. */
  async write(lines: string): Promise<void> {
    this.#pending += lines;
    if (this.#pending.length >= CHUNK_LENGTH) await this.flush();
  }

  /** Resolves when all that was given is on its way. */
  async flush(): Promise<void> {
    const lines = this.#pending;
    this.#pending = '';
    try {
      await this.#output.write(Buffer.from(lines));
    } catch (cause) {
      throw new OutputFailure('The output can not be written.', { cause });
    }
  }
}

/** Whoever closes the pipe (`| head`) has what he wants, and needs no message. */
function sayUnlessUnread(error: Error): void {
  if ('code' in error && error.code === 'EPIPE') return;
  process.stderr.write(`loopstate: The output can not be written: ${error.message}\n`);
}
