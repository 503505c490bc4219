/**
 * A stream of this process that several children write to, whole lines at a time.
 *
 * **Invariants:** after the stream failed nothing is written to it any more, and every `write` rejects.
 */
import type { Writable } from 'node:stream';

/** Options of a {@link SharedOutput}. */
export interface SharedOutputOptions {
  /** Called before each write: a progress bar makes room. */
  readonly beforeWrite: () => void;
  /** Called once, when the stream failed: nobody reads it any more (`EPIPE`), or the disk behind it is full. */
  readonly onFailure: (error: Error) => void;
}

/** See the file's comment. */
export class SharedOutput {
  readonly #stream: Writable;
  readonly #options: SharedOutputOptions;
  #failure: Error | undefined;

  /** Why nothing is written any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  constructor(stream: Writable, options: SharedOutputOptions) {
    this.#stream = stream;
    this.#options = options;
    // Without a listener, the error of a pipe that nobody reads would end the process at once, and its items with it.
    stream.on('error', (error) => this.#fail(error));
  }

  /** Writes whole lines; resolves when the stream has taken them, so that whoever awaits it can't run ahead of the reader. */
  async write(lines: Buffer): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (lines.length === 0) return;
    this.#options.beforeWrite();
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(lines, (error) => {
        if (error === null || error === undefined) return resolve();
        reject(this.#fail(error));
      });
    });
  }

  #fail(error: Error): Error {
    if (this.#failure !== undefined) return this.#failure;
    this.#failure = error;
    this.#options.onFailure(error);
    return error;
  }
}
