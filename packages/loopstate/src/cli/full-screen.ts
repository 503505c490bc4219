/**
 * A terminal that is drawn on as a whole, and is left as it was: what stood on it, the cursor, and how it takes keys.
 *
 * **Invariant:** from `open` to `close`, and not a moment longer, the other screen of the terminal is shown, without a cursor, and keys
 * come at once. `close` is called whatever happens; should the process end without, the terminal is put right all the same.
 */

/** The other screen, empty; no cursor; lines that are too long are cut. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l';
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** What a terminal is made of: `process.stdin` and `process.stdout`, or streams like them. */
export interface Terminal {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
}

/** What a {@link FullScreen} tells. */
export interface FullScreenOptions {
  /** Called with each key. */
  readonly onKey: (key: string) => void;
  /** Called when the terminal has another size. */
  readonly onResize: () => void;
  /** Called when the terminal can't be written to any more. */
  readonly onGone: () => void;
}

/** See the file's comment. */
export class FullScreen {
  readonly #terminal: Terminal;
  readonly #options: FullScreenOptions;
  readonly #takeKeys = (keys: Buffer | string): void => {
    for (const key of keys.toString()) this.#options.onKey(key);
  };
  readonly #close = (): void => this.close();
  #isOpen = false;

  constructor(terminal: Terminal, options: FullScreenOptions) {
    this.#terminal = terminal;
    this.#options = options;
  }

  get size(): { readonly columns: number; readonly rows: number } {
    const { columns, rows } = this.#terminal.output;
    // 0 where the terminal does not know it.
    return { columns: columns || 80, rows: rows || 24 };
  }

  open(): void {
    const { input, output } = this.#terminal;
    this.#isOpen = true;
    process.once('exit', this.#close);
    output.on('resize', this.#options.onResize);
    // It stays after `close` too: what is written last may fail later.
    output.on('error', this.#options.onGone);
    output.write(ENTER);
    if (!input.isTTY) return;
    input.setRawMode(true);
    input.on('data', this.#takeKeys);
    input.resume();
  }

  /** Shows these lines, each short enough, and nothing else. */
  draw(lines: readonly string[]): void {
    const { output } = this.#terminal;
    // A terminal that does not keep up misses a frame, and not more.
    if (!this.#isOpen || output.writableNeedDrain) return;
    output.write(`${HOME}${lines.map((line) => line + CLEAR_LINE).join('\r\n')}${CLEAR_BELOW}`);
  }

  /** Closing twice is allowed. */
  close(): void {
    if (!this.#isOpen) return;
    const { input, output } = this.#terminal;
    this.#isOpen = false;
    process.removeListener('exit', this.#close);
    output.removeListener('resize', this.#options.onResize);
    if (input.isTTY) {
      input.removeListener('data', this.#takeKeys);
      input.setRawMode(false);
      input.pause();
    }
    output.write(LEAVE);
  }
}
