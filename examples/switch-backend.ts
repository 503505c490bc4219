/**
 * One loop, three places for its state: only the URL changes. Each place is used twice, as by a program that is started again.
 *
 *     switch-backend.ts [url …]        (default: a file, and an SQLite database; a Redis URL if you have a server)
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoopState, runLoop } from 'loopstate';

const folder = mkdtempSync(join(tmpdir(), 'loopstate-switch-'));
const given = process.argv.slice(2);
const urls = given.length > 0 ? given : [`file:${join(folder, 'state.json')}`, `sqlite:${join(folder, 'state.db')}?job=squares`];
const items = Array.from({ length: 200 }, (_, n) => `${n}`);

for (const url of urls) {
  const scheme = url.slice(0, url.indexOf(':'));
  const first = await squares(url, 120);
  const second = await squares(url, items.length);
  console.log(
    `${scheme.padEnd(7)} first run: ${first.ran} items, then ${second.ran} more; ${second.completed} of ${items.length} recorded, sum ${second.sum}`,
  );
}

/** Squares numbers, at most `maxItems` of those that are not done yet. */
async function squares(url: string, maxItems: number): Promise<{ ran: number; completed: number; sum: number }> {
  const state = await LoopState.open(url);
  try {
    const { counts, progress } = await runLoop({
      state,
      items,
      maxItems,
      concurrency: 8,
      work: (item) => Number(item) ** 2, // What it returns is recorded; on whichever backend.
    });
    const { items: records } = await state.snapshot();
    const sum = [...records.values()].reduce((total, { output }) => total + Number(output ?? 0), 0);
    return { ran: counts.completed, completed: progress.completed, sum };
  } finally {
    await state.close();
  }
}
