import { constants } from 'node:fs';
import { copyFile, open, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isError, UnavailableError } from '@loopstate/core';
import { placeOf } from '../backend-url.js';
import { withOpenState } from './open-loop.js';

/**
 * Keeps a copy of a file state that no process has open, and returns its path; undefined for a state that is no file.
 *
 * Errors: those of {@link withOpenState}, and `LOOPSTATE_UNAVAILABLE`.
 */
export async function keepCopy(target: string, at: Date): Promise<string | undefined> {
  const place = placeOf(target);
  if (place.kind !== 'file') return undefined;
  // A file that was closed holds everything by itself; of a run that was killed the latest stands in a journal.
  await withOpenState(target, async () => undefined);
  const path = await realpath(place.path);
  const copy = `${path}.reset-${at.toISOString().replaceAll(/[-:]/g, '')}`;
  try {
    await copyFile(path, copy, constants.COPYFILE_EXCL);
    await sync(copy);
    await sync(dirname(copy));
  } catch (cause) {
    const reason = isError(cause) ? cause.message : String(cause);
    throw new UnavailableError(`The copy of the state could not be made, so nothing was reset: ${reason}.`, { cause });
  }
  return copy;
}

/** The copy must be on the disk before the original changes. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
