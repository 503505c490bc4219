/** How large a store may grow: a file that was written has to be read again, all of it at once. */
import { LoopStateError } from '@loopstate/core';

/** A file with more is not read by Node. */
export const READABLE_BYTES_MAX = 2 ** 31 - 1;

/** A snapshot may be somewhat larger than what it is made of. */
const FULL = 0.9;

/** How many bytes a store may grow by, whose snapshot has so many; negative when it has too many. */
export function roomBytes(snapshotBytes: number, readableBytesMax: number): number {
  return FULL * readableBytesMax - snapshotBytes;
}

/** The commit had no effect. `retryable`: a compaction is under way, which may make room. */
export function storeIsFull(path: string, retryable: boolean): LoopStateError {
  const message = `${path} is about as large as can be read again: divide the work into several states, or use a sqlite: state.`;
  return new LoopStateError('LOOPSTATE_UNAVAILABLE', message, { retryable });
}
