/**
 * The terminal is left as it was, however watching ends. On streams in the place of a terminal, which know what one would.
 */
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import picocolors from 'picocolors';
import type { Terminal } from '../src/cli/full-screen.js';
import { Stopping } from '../src/cli/stopping.js';
import { watchOnScreen } from '../src/cli/watch-screen.js';
import { MODEL } from './watched-model.js';

const PLAIN = picocolors.createColors(false);

describe('watch, on a terminal', () => {
  const ENDS: Readonly<Record<string, (parts: { terminal: FakeTerminal; stopping: Stopping }) => void>> = {
    'q: 0': ({ terminal }) => terminal.input.write('q'),
    'Ctrl-C: 130': ({ terminal }) => terminal.input.write('\u0003'),
    'SIGINT: 130': () => process.emit('SIGINT'),
    'SIGTERM: 143': () => process.emit('SIGTERM'),
    'SIGHUP: 129': () => process.emit('SIGHUP'),
    'a terminal that is gone: 130': ({ terminal }) => terminal.output.emit('error', new Error('EIO')),
    'an error of the state: Error': ({ terminal }) => terminal.fail(),
  };
  for (const [name, end] of Object.entries(ENDS)) {
    const [how = '', expected = ''] = name.split(': ');
    it(`leaves the terminal as it was after ${how}`, async () => {
      const terminal = new FakeTerminal();
      const listeners = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM') + process.listenerCount('exit');
      const stopping = Stopping.onSignals();
      const ending = start(terminal, stopping);
      await terminal.shows('./encode.json');
      expect([terminal.isAlternate, terminal.hasCursor, terminal.isWrapping, terminal.isRaw]).to.deep.equal([true, false, false, true]);
      end({ terminal, stopping });
      expect(String(await ending)).to.equal(expected);
      stopping.end();
      expect([terminal.isAlternate, terminal.hasCursor, terminal.isWrapping, terminal.isRaw]).to.deep.equal([false, true, true, false]);
      expect(terminal.input.isPaused()).to.equal(true);
      expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM') + process.listenerCount('exit')).to.equal(listeners);
      const { length } = terminal.text;
      terminal.output.emit('resize');
      expect(terminal.text).to.have.lengthOf(length);
    });
  }

  it('draws anew for another size at once, and clears what stood there', async () => {
    const terminal = new FakeTerminal();
    const stopping = new Stopping();
    const ending = start(terminal, stopping);
    await terminal.shows('Failures by reason');
    terminal.output.columns = 30;
    terminal.output.rows = 6;
    const before = terminal.text.length;
    terminal.output.emit('resize');
    const frame = terminal.text.slice(before);
    expect(frame.startsWith('\u001b[H') && frame.endsWith('\u001b[J')).to.equal(true);
    expect(frame.split('\r\n')).to.have.lengthOf(6);
    expect(frame.split('\u001b[K')).to.have.lengthOf(7);
    stopping.ask(0);
    expect(await ending).to.equal(0);
  });

  it('ends at once while the state does not answer, or keys can not be read', async () => {
    const terminal = new FakeTerminal();
    const stopping = new Stopping();
    const hanging = watchOnScreen(
      { read: () => new Promise(() => undefined), model: MODEL },
      { terminal, stopping, intervalMs: 1, colors: PLAIN },
    );
    terminal.input.write('q');
    expect(await hanging).to.equal(0);
    const withoutKeys = new FakeTerminal();
    withoutKeys.input.isTTY = false as never;
    const again = new Stopping();
    const ending = start(withoutKeys, again);
    await withoutKeys.shows('./encode.json');
    again.ask(130);
    expect([await ending, withoutKeys.isRaw]).to.deep.equal([130, false]);
  });

  function start(terminal: FakeTerminal, stopping: Stopping): Promise<unknown> {
    const read = async (): Promise<void> => terminal.failure && Promise.reject(terminal.failure);
    return watchOnScreen({ read, model: MODEL }, { terminal, stopping, intervalMs: 1, colors: PLAIN }).catch((error: Error) => error.name);
  }
});

/** Streams in the place of a terminal, that know what a terminal would. */
class FakeTerminal implements Terminal {
  readonly input = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: false,
    setRawMode: (isRaw: boolean) => this.#setRaw(isRaw),
  }) as never as NodeJS.ReadStream;
  readonly output = Object.assign(new PassThrough(), { isTTY: true, columns: 80, rows: 24 }) as never as NodeJS.WriteStream;
  text = '';
  isRaw = false;
  failure: Error | undefined;

  constructor() {
    (this.output as never as PassThrough).on('data', (data: Buffer) => {
      this.text += data.toString();
    });
  }

  get isAlternate(): boolean {
    return this.#isSet('1049', false);
  }

  get hasCursor(): boolean {
    return this.#isSet('25', true);
  }

  get isWrapping(): boolean {
    return this.#isSet('7', true);
  }

  fail(): void {
    this.failure = new Error('foreign');
  }

  async shows(text: string): Promise<void> {
    while (!this.text.includes(text)) await turn();
  }

  #setRaw(isRaw: boolean): NodeJS.ReadStream {
    this.isRaw = isRaw;
    return this.input;
  }

  /** A mode of the terminal, by the last that was said of it. */
  #isSet(mode: string, before: boolean): boolean {
    const said = [...this.text.matchAll(new RegExp(`\\u001b\\[\\?${mode}([hl])`, 'g'))].at(-1);
    return said === undefined ? before : said[1] === 'h';
  }
}
