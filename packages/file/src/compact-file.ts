import type { RecoveryFinding } from '@loopstate/core';
import { nodeDisk } from './disk.js';
import { StoreNames } from './names.js';
import { openFileBackend } from './open-file-backend.js';
import { resolveStatePath } from './store-files.js';

/** What {@link compactFile} did. */
export interface FileCompaction {
  /** What the state file, the one before it and their journals take. */
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

async function sizeOf(names: StoreNames): Promise<number> {
  const journals = names.journalsAmong(await nodeDisk.list(names.directory)).map((generation) => names.journal(generation));
  const stamps = await Promise.all([names.state, names.previous, ...journals].map((file) => nodeDisk.stamp(file)));
  return stamps.reduce((sum, stamp) => sum + (stamp?.sizeBytes ?? 0), 0);
}
