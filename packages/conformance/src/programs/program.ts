/** What the programs share: two arguments, one line in, lines out. */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { OpenerModule } from '../fixture.js';

const [, , opener, url] = process.argv;
if (opener === undefined || url === undefined) throw new TypeError('Two arguments are needed: the opener and the URL of a place.');

/** The URL of the place to be opened. */
export const theUrl: string = url;

/** The module that opens it. */
export const theOpener = (await import(opener)) as OpenerModule;

/** Says one line at once: when this returns, the line outlives the process. */
export function say(line: string): void {
  writeSync(1, `${line}\n`);
}

/** Waits for the word of the parent; ends the process when the parent is gone, now or later. */
export async function awaitOrders(): Promise<string> {
  const reader = createInterface({ input: process.stdin });
  reader.on('close', () => process.exit(1));
  return new Promise((resolve) => reader.once('line', resolve));
}
