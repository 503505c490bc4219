/**
 * Ends some items, unless they have an outcome, begins one more, says so, and waits to be stopped or killed. Arguments: the URL or path of the state, how many items to
 * end, and the lease in ms.
 */
import process, { argv } from 'node:process';
import { LoopState } from 'loopstate';

const [target = '', count = '0', leaseMs = '30000'] = argv.slice(2);

const state = await LoopState.open(target, { leaseMs: Number(leaseMs) });
for (let n = 0; n < Number(count); n++) {
  if (await state.begin(`item-${n}`)) await state.end(`item-${n}`, { status: 'success' });
}
await state.begin('held');
console.log('ready');
// Whoever started it may have been killed.
process.stdin.resume().once('end', () => process.exit(1));
