/**
 * A loop whose store loses commits and replies, in a process that has nothing else to wait for: only the loop itself can keep it running
 * until all is done. Prints how the loop ended.
 */
import { LoopState, openMemoryBackend, runLoop } from '@loopstate/core';
import { unreliable } from '../support/unreliable.js';

const backend = unreliable(openMemoryBackend());
const state = await LoopState.open(backend);
backend.faults.push('reply-lost', 'lost', 'away', 'away', 'lost', 'reply-lost');
const { status } = await runLoop({ state, items: ['a', 'b', 'c'], work: () => 1 });
await state.close();
console.log(status, backend.faults.length);
