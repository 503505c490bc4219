/**
 * From what a user wrote to a store that takes no more room than it needs: which of them can be compacted, and by whom.
 */
import type { RecoveryFinding } from '@loopstate/core';
import { compactFile } from '@loopstate/file';
import { loadPackage, placeOf } from './backend-url.js';

/** What compacting a store did. */
export interface Compaction {
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** What was found wrong with the store, and repaired. */
  readonly recovery: readonly RecoveryFinding[];
}

/**
 * Compacts the store that `target` means; undefined for a kind of store in which there is nothing to compact.
 *
 * Errors: `LOOPSTATE_ABSENT` (nothing is made), `LOOPSTATE_LOCKED` (someone works on it), and as `openBackend`.
 */
export async function compactBackend(target: string): Promise<Compaction | undefined> {
  const place = placeOf(target);
  if (place.kind === 'file') return await compactFile(place.path);
  if (place.kind === 'memory' || place.scheme !== 'sqlite') return undefined;
  const { compactSqlite } = await loadPackage(place.scheme, place.packageName, 'compactSqlite');
  return await compactSqlite(place.url);
}
