/**
 * A loop over numbered items that is made to be killed. Each execution of an item's work is appended to a log first, and each outcome is
 * printed once it was acknowledged; the parent compares both with what the state says.
 *
 * Arguments: the state file, the log, the number of items, the concurrency.
 */
import { appendFileSync, writeSync } from 'node:fs';
import { argv } from 'node:process';
import { LoopState, runLoop } from 'loopstate';

const [statePath = '', logPath = '', count = '0', concurrency = '1'] = argv.slice(2);

const state = await LoopState.create(statePath);
const result = await runLoop({
  state,
  items: numbered(Number(count)),
  concurrency: Number(concurrency),
  work: async (id) => {
    appendFileSync(logPath, `${id}\n`);
    await new Promise((resolve) => setTimeout(resolve, Number(id) % 3));
    return { square: Number(id) ** 2 };
  },
  onProgress: (event) => {
    // Synchronously: what the parent never saw can't have been acknowledged.
    if (event.type === 'completed') writeSync(1, `${event.id}\n`);
  },
});
await state.close();
writeSync(1, `${result.status}\n`);

function* numbered(length: number): Generator<string> {
  for (let n = 0; n < length; n++) yield `${n}`;
}
