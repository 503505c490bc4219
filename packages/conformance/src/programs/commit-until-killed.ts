/**
 * Makes numbered commits, says each before it is tried and after it was acknowledged, and goes on until it is killed, or, by its orders,
 * kills itself at a durable step of its backend.
 */
import type { StateBackend } from '@loopstate/core';
import type { Orders } from '../crash.js';
import { countSteps, type Moment } from '../failpoints.js';
import { numberedCommit } from '../numbered-commits.js';
import { awaitOrders, say, theOpener, theUrl } from './program.js';

say('ready');
const { from, inFlight, durability, steps } = JSON.parse(await awaitOrders()) as Orders;
const { step, counts } = countSteps(steps?.dieAt, die);
const store = await open();
for (const { severity, code } of store.recovery) if (severity === 'loss') say(`loss ${code}`);
let next = from;
await Promise.all(Array.from({ length: inFlight }, commitOn));
await store.close();
for (const [name, count] of counts) say(`step ${count} ${name}`);
process.exit(0);

async function open(): Promise<StateBackend> {
  if (steps === undefined) return await theOpener.openPlace(theUrl);
  if (theOpener.openWithFailpoints === undefined) throw new TypeError('faults.failpoints: the opener exports no openWithFailpoints.');
  return await theOpener.openWithFailpoints(theUrl, step);
}

async function commitOn(): Promise<void> {
  while (steps === undefined || next < from + steps.commits) {
    const number = next++;
    say(`tried ${number}`);
    const result = await store.commit({ ...numberedCommit(number), durability });
    if (!result.ok) throw new Error(`Commit ${number}, which has no checks, was refused.`);
    say(`acknowledged ${number} ${result.revision}`);
  }
}

function die(name: string, moment: Moment): never {
  say(`died ${moment} ${name}`);
  process.kill(process.pid, 'SIGKILL');
  // The signal has come by the time the call returns, or all but.
  for (;;);
}
