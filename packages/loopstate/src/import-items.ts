import { isFinal, isSameItem, type LoopState, type MayPut, type MovableEntry, movable, refuseUnknownOptions } from '@loopstate/core';
import { batchesOf } from './batches.js';

/** Options of {@link importItems}. */
export interface ImportItemsOptions {
  /** Puts items over what is there already, outcomes included. Default: false. */
  readonly replace?: boolean | undefined;
  /** What was spent on no item, in US dollars. Default: 0. */
  readonly carriedUsd?: number | undefined;
  /** Aborted: stop after what is in flight. */
  readonly signal?: AbortSignal | undefined;
}

/** What became of the items of an import. */
export interface ImportCounts {
  /** There was nothing of them, or no outcome. */
  readonly imported: number;
  /** What is there already stayed: it is equal, has an outcome, or is as much as the import knows. */
  readonly skipped: number;
  /** An outcome was there, and was replaced. */
  readonly replaced: number;
  /** Whether something else had been spent there before, which stayed. */
  readonly keptCarriedUsd: boolean;
}

/**
 * Puts items into a loop on which nobody is at work, never over an outcome that is there already, unless `replace` is given. What is there
 * without an outcome gives way only to an outcome. Interrupted at any moment, it can be called again.
 *
 * Errors: `LOOPSTATE_LOCKED`, `LOOPSTATE_BAD_OPTION`, what `LoopState.putItems` and the backend raise, and the reason of `signal`.
 */
export async function importItems(
  state: LoopState,
  entries: AsyncIterable<MovableEntry>,
  options: ImportItemsOptions = {},
): Promise<ImportCounts> {
  refuseUnknownOptions(options, ['replace', 'carriedUsd', 'signal']);
  const { replace = false, carriedUsd = 0, signal } = options;
  await state.assertUnused();
  const keptCarriedUsd = carriedUsd > 0 && state.carriedUsd > 0 && state.carriedUsd !== carriedUsd && !replace;
  if (carriedUsd > 0 && !keptCarriedUsd) await state.putCarriedUsd(carriedUsd);
  const mayPut: MayPut = ({ item }, standing) => {
    if (standing === undefined) return true;
    if (isSameItem(movable(standing), item)) return false;
    return replace || (isFinal(item.status) && !isFinal(standing.status));
  };
  const counts = { imported: 0, skipped: 0, replaced: 0 };
  for await (const batch of batchesOf(entries, ({ item }) => item)) {
    signal?.throwIfAborted();
    for (const { isPut, standing } of await state.putItems(batch, mayPut)) {
      if (!isPut) counts.skipped += 1;
      else if (standing !== undefined && isFinal(standing.status)) counts.replaced += 1;
      else counts.imported += 1;
    }
  }
  return { ...counts, keptCarriedUsd };
}
