/** Ends `a` and `b`, begins `c`, says so, and waits to be killed. Argument: the state file. */
import { argv } from 'node:process';
import { LoopState } from 'loopstate';

const state = await LoopState.create(argv[2] ?? '');
for (const id of ['a', 'b']) {
  await state.begin(id);
  await state.end(id, { status: 'success' });
}
await state.begin('c');
console.log('ready');
setInterval(() => undefined, 1_000);
