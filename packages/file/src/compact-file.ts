import type { RecoveryFinding } from '@loopstate/core';
import { nodeDisk } from './disk.js';
import { StoreNames } from './names.js';
import { openFileBackend } from './open-file-backend.js';
import { FIRST_LINE_BYTES_MAX, parseSnapshotHeader } from './snapshot.js';
import { resolveStatePath } from './store-files.js';

/** What {@link compactFile} did. */
export interface FileCompaction {
  /** What has to be read to have all of the store. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** What was found wrong with the store, and repaired. */
  readonly recovery: readonly RecoveryFinding[];
}

/**
 * Leaves a state file that is all of the store by itself, whoever used it last and however that ended. What was closed well is left as it is.
 *
 * Errors: `LOOPSTATE_ABSENT` (nothing is made), and as `openFileBackend`.
 */
export async function compactFile(path: string): Promise<FileCompaction> {
  await (await openFileBackend(path, { access: 'read' })).close();
  const names = new StoreNames(await resolveStatePath(nodeDisk, path));
  const bytesBefore = await sizeOf(names);
  const backend = await openFileBackend(path);
  await backend.close();
  return { bytesBefore, bytesAfter: await sizeOf(names), recovery: backend.recovery };
}

/** The state file, and the journals with what it does not hold yet; not the copies of older states beside it. */
async function sizeOf(names: StoreNames): Promise<number> {
  const stamp = await nodeDisk.stamp(names.state);
  const { header } = parseSnapshotHeader(
    stamp === undefined ? Buffer.alloc(0) : await nodeDisk.readFile(names.state, { toByte: FIRST_LINE_BYTES_MAX }),
  );
  const isNeeded = (generation: number): boolean => header === undefined || (!header.closed && generation >= header.generation);
  const journals = names.journalsAmong(await nodeDisk.list(names.directory)).filter(isNeeded);
  const stamps = await Promise.all(journals.map((generation) => nodeDisk.stamp(names.journal(generation))));
  return [stamp, ...stamps].reduce((sum, found) => sum + (found?.sizeBytes ?? 0), 0);
}
