import {
  createMemoryStore,
  type LoopResult,
  LoopState,
  type MemoryStore,
  openMemoryBackend,
  type RunLoopOptions,
  runLoop,
} from '@loopstate/core';
import { unreliable } from './unreliable.js';

/** How a run of a loop ended, and the ids whose work it began, in their order. */
interface TestRun {
  readonly result: LoopResult;
  readonly ran: string[];
}

/** A state over a store in memory, behind a connection that can fail, and what runs a loop over it. */
export async function loop(store: MemoryStore = createMemoryStore()) {
  const backend = unreliable(openMemoryBackend({ store }));
  const state = await LoopState.open(backend);
  const run = async (options: Partial<RunLoopOptions<string | { id: string }>>): Promise<TestRun> => {
    const ran: string[] = [];
    const { work = () => undefined } = options;
    const result = await runLoop({
      items: [],
      state,
      ...options,
      work: (item, context) => {
        ran.push(context.id);
        return work(item, context);
      },
    });
    return { result, ran };
  };
  return { store, backend, state, run };
}

/** So many ids. */
export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${n}`);
}

/** Resolves after a while of real time. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
