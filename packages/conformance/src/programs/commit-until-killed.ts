/** Makes numbered commits, says each before it is tried and after it was acknowledged, and goes on until it is killed. */
import type { Orders } from '../crash.js';
import { numberedCommit } from '../numbered-commits.js';
import { awaitOrders, say, theOpener, theUrl } from './program.js';

say('ready');
const { from, inFlight, durability } = JSON.parse(await awaitOrders()) as Orders;
const store = await theOpener.openPlace(theUrl);
let next = from;

async function commitOn(): Promise<never> {
  for (;;) {
    const number = next++;
    say(`tried ${number}`);
    const result = await store.commit({ ...numberedCommit(number), durability });
    if (!result.ok) throw new Error(`Commit ${number}, which has no checks, was refused.`);
    say(`acknowledged ${number} ${result.revision}`);
  }
}

await Promise.all(Array.from({ length: inFlight }, commitOn));
