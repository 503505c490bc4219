/** One of several processes that contend for one store; see `contention.ts` for what they do. */
import { contend } from '../contention.js';
import { createRandom } from '../seed.js';
import { awaitOrders, say, theOpener, theUrl } from './program.js';

const store = await theOpener.openPlace(theUrl);
say('ready');
const { name, seed } = JSON.parse(await awaitOrders()) as { name: string; seed: number };
const events = await contend([store], createRandom(seed), name);
await store.close();
say(`events ${JSON.stringify(events)}`);
process.exit(0);
