/**
 * A state is opened to look on, or to be changed by an operator; in both cases only one that is there.
 */
import { isLoopStateError, LoopReader, type StateBackend } from '@loopstate/core';
import { openBackend } from '../backend-url.js';
import { LoopState } from '../loop-state.js';
import { findingLine } from './reporters.js';

/** A loop that is looked at. */
export interface ReadLoop {
  readonly backend: StateBackend;
  readonly reader: LoopReader;
}

/** Runs with the loop at `target`, opened for reading. Errors: those of opening and of `run`. */
export async function withReadLoop<T>(target: string, run: (loop: ReadLoop) => Promise<T>): Promise<T> {
  const backend = await openBackend(target, { access: 'read' });
  try {
    return await run({ backend, reader: await LoopReader.open(backend) });
  } finally {
    await backend.close();
  }
}

/**
 * Runs with the state at `target`, opened for writing; what opening repaired is told on standard error.
 *
 * Errors: `LOOPSTATE_ABSENT`, `LOOPSTATE_LOCKED` (a running loop holds it), what else opening raises, and those of `run`.
 */
export async function withOpenState<T>(target: string, run: (state: LoopState) => Promise<T>): Promise<T> {
  await assertPresent(target);
  const state = await LoopState.open(target);
  try {
    for (const finding of state.recovery) process.stderr.write(`${findingLine(finding)}\n`);
    return await run(state);
  } finally {
    await state.close();
  }
}

/** Opening for writing would make what isn't there, and repairs what can't be read. Errors: `LOOPSTATE_ABSENT`. */
async function assertPresent(target: string): Promise<void> {
  try {
    await (await openBackend(target, { access: 'read' })).close();
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_ABSENT')) throw error;
  }
}
