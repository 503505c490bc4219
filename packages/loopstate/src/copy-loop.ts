/**
 * Moving a loop between two stores, and finding out whether two stores hold the same loop. Whatever the size of the loop, only a batch of it is
 * in memory at once, besides what the stores themselves keep there.
 */
import {
  type ItemRecord,
  isSameItem,
  type LoopReader,
  type LoopState,
  LoopStateError,
  type MayPut,
  type MovableEntry,
  movable,
  refuseUnknownOptions,
} from '@loopstate/core';
import { batchesOf } from './batches.js';

/** Options of {@link copyLoop} and {@link compareLoops}. */
export interface CopyOptions {
  /** Aborted: stop after what is in flight. */
  readonly signal?: AbortSignal | undefined;
}

/** What became of the items of a copy. */
export interface CopyCounts {
  readonly copied: number;
  /** They were there already, as after a copy that was interrupted. */
  readonly present: number;
  /** So many of all these were held by a run where they came from; they are outstanding where they went. */
  readonly inProgress: number;
}

/** How two loops differ; see {@link compareLoops}. */
export interface LoopDifference {
  /** How many items are equal. */
  readonly equal: number;
  /** How many items are only in the first. */
  readonly missing: number;
  /** How many items are in both, and not the same. */
  readonly different: number;
  /** How many items are only in the second. */
  readonly extra: number;
  /** Whether as much was spent on no item. */
  readonly isCarriedUsdEqual: boolean;
  /** A few of the items that are missing, different or extra. */
  readonly examples: readonly string[];
}

const EXAMPLES_MAX = 5;

/**
 * Copies a loop into another store, in its order, what was spent before included. The target may hold part of it already, so that a copy that
 * was interrupted at any moment can be made again; it may hold nothing else, and nobody may be at work on it. An item that a run holds is
 * outstanding in the copy.
 *
 * Errors: `LOOPSTATE_LOCKED` (a run is at work on the target), `LOOPSTATE_BAD_OPTION` (the target holds something else; an option that is
 * none), what the backends raise, and the reason of `signal`.
 */
export async function copyLoop(from: LoopReader, to: LoopState, options: CopyOptions = {}): Promise<CopyCounts> {
  refuseUnknownOptions(options, ['signal']);
  const { signal } = options;
  await to.assertUnused();
  await refuseOthers(from, to, signal);
  await to.putCarriedUsd(await from.carriedUsd());
  const mayPut: MayPut = ({ id, item }, standing, { isOwn }) => {
    // What was put by this very copy has changed where it comes from.
    if (standing === undefined || isOwn) return standing === undefined || !isSameItem(movable(standing), item);
    if (isSameItem(movable(standing), item)) return false;
    throw holdsOthers(id);
  };
  let [copied, present, inProgress] = [0, 0, 0];
  for await (const batch of batchesOf(from.items(), recordOf)) {
    signal?.throwIfAborted();
    for (const { isPut, isOwn } of await to.putItems(batch.map(toEntry), mayPut)) {
      if (isOwn) continue;
      if (isPut) copied += 1;
      else present += 1;
    }
    for (const [, { status }] of batch) if (status === 'claimed') inProgress += 1;
  }
  return { copied, present, inProgress };
}

/**
 * Compares two loops, item by item, apart from what belongs to a place or a moment. Errors: `LOOPSTATE_BAD_OPTION`, what the backends raise, and
 * the reason of `signal`.
 */
export async function compareLoops(first: LoopReader, second: LoopReader, options: CopyOptions = {}): Promise<LoopDifference> {
  refuseUnknownOptions(options, ['signal']);
  const { signal } = options;
  const examples: string[] = [];
  const show = (id: string): void => {
    if (examples.length < EXAMPLES_MAX) examples.push(id);
  };
  let [equal, missing, different, extra] = [0, 0, 0, 0];
  for await (const [id, own, other] of pairs(first, second, signal)) {
    const isEqual = other !== undefined && isSameItem(movable(own), movable(other));
    if (isEqual) equal += 1;
    else if (other === undefined) missing += 1;
    else different += 1;
    if (!isEqual) show(id);
  }
  for await (const [id, , other] of pairs(second, first, signal)) {
    if (other !== undefined) continue;
    extra += 1;
    show(id);
  }
  const isCarriedUsdEqual = (await first.carriedUsd()) === (await second.carriedUsd());
  return { equal, missing, different, extra, isCarriedUsdEqual, examples };
}

/** Whether there is no difference. */
export function isEqualLoop({ missing, different, extra, isCarriedUsdEqual }: LoopDifference): boolean {
  return missing + different + extra === 0 && isCarriedUsdEqual;
}

/** All of the target must be part of what is copied, before anything is written. */
async function refuseOthers(from: LoopReader, to: LoopState, signal: AbortSignal | undefined): Promise<void> {
  for await (const [id, own, other] of pairs(to, from, signal)) {
    if (other === undefined || !isSameItem(movable(own), movable(other))) throw holdsOthers(id);
  }
  const carriedUsd = await from.carriedUsd();
  if (to.carriedUsd > 0 && to.carriedUsd !== carriedUsd) {
    throw new LoopStateError(
      'LOOPSTATE_BAD_OPTION',
      `The target begins with costs of $${to.carriedUsd}, and what is copied with $${carriedUsd}: name an empty one, or reset it first. Nothing was copied.`,
    );
  }
}

/** Each item of `all` with its record in `others`, if it is there. */
async function* pairs(
  all: { items(): AsyncIterable<[id: string, record: ItemRecord]> },
  others: LoopReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<[id: string, own: ItemRecord, other: ItemRecord | undefined]> {
  for await (const batch of batchesOf(all.items(), recordOf)) {
    signal?.throwIfAborted();
    const found = await others.read(batch.map(([id]) => id));
    for (const [index, [id, own]] of batch.entries()) yield [id, own, found[index]];
  }
}

function recordOf([, record]: [id: string, record: ItemRecord]): ItemRecord {
  return record;
}

function toEntry([id, record]: [id: string, record: ItemRecord]): MovableEntry {
  return { id, item: movable(record) };
}

function holdsOthers(id: string): LoopStateError {
  return new LoopStateError(
    'LOOPSTATE_BAD_OPTION',
    `The target holds other items, ${JSON.stringify(id)} for one: name an empty one, or reset it first. They stay as they are.`,
  );
}
