/** A canary as a module, since only a process can show it: a timer of its own outlives the close of its handles. */
import { openMemoryBackend, type StateBackend } from '@loopstate/core';

export async function openPlace(): Promise<StateBackend> {
  setInterval(() => {}, 1_000);
  return openMemoryBackend();
}
