/**
 * An item as it moves from one place to another: its record without what belongs to a place (who holds it, who put it) or to a moment.
 */
import { isDeepStrictEqual } from 'node:util';
import { encodeValue } from './checked-commit.js';
import { isLoopStateError } from './errors.js';
import { released } from './item-results.js';
import { checkId, type ItemRecord, type ItemStatus, itemKey, REASON_BYTES } from './loop-records.js';
import { nanoUsdOf } from './nano-usd.js';
import { DIGEST_LENGTH_MAX } from './options.js';

/** See the file's comment. */
export type MovableItem = Omit<ItemRecord, 'status' | 'run' | 'alone' | 'by'> & { readonly status: Exclude<ItemStatus, 'claimed'> };

/** An item that moves, with its id. */
export interface MovableEntry {
  readonly id: string;
  readonly item: MovableItem;
}

/** Stands in for the `by` that an item gets where it arrives, which is shorter. */
const ANY_BY = 'x'.repeat(64);

type Test = (value: unknown) => boolean;

const isText: Test = (value) => typeof value === 'string' && value.isWellFormed();
const isAmount: Test = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0;
const isCount: Test = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isAny: Test = () => true;

/** What each field may be. */
const FIELDS: { readonly [Name in keyof MovableItem]-?: Test } = {
  status: (value) => value === 'outstanding' || value === 'completed' || value === 'failed',
  attempt: isCount,
  crashes: isCount,
  glitches: isCount,
  waitMs: isAmount,
  costUsd: (value) => isAmount(value) && Number.isFinite(nanoUsdOf(value as number)),
  cost: isAny,
  output: isAny,
  reason: (value) => isText(value) && Buffer.byteLength(value as string) <= REASON_BYTES,
  code: isText,
  lastError: isText,
  quarantined: (value) => value === true,
  round: isCount,
  recordedAgain: (value) => value === 'whole' || value === 'status',
  digest: (value) => isText(value) && (value as string).length <= DIGEST_LENGTH_MAX,
};

const REQUIRED: readonly (keyof MovableItem)[] = ['status', 'attempt'];

/** What moves of an item. One that a run holds is given back: it is outstanding, and its attempt is not counted. */
export function movable(record: ItemRecord & { readonly revision?: number; readonly at?: number }): MovableItem {
  if (record.status === 'claimed') return released(record) as MovableItem;
  const { run: _run, alone: _alone, by: _by, revision: _revision, at: _at, ...item } = record;
  return item as MovableItem;
}

/** Whether two items are equal, whatever the order of the names in what they hold. */
export function isSameItem(a: MovableItem, b: MovableItem): boolean {
  // Almost always this suffices; and it goes as deep as any value that a store takes.
  if (JSON.stringify(a) === JSON.stringify(b)) return true;
  try {
    return isDeepStrictEqual(a, b);
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** Why `item` can be none, by the fields that are known here: a newer release may have others; `undefined`: it can. */
export function whyNoItem(item: unknown): string | undefined {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return 'it is no object';
  const missing = REQUIRED.find((name) => !Object.hasOwn(item, name));
  if (missing !== undefined) return `its ${missing} is missing`;
  const wrong = Object.entries(item).find(([name, value]) => Object.hasOwn(FIELDS, name) && !FIELDS[name as keyof MovableItem](value));
  return wrong && `its ${wrong[0]} is not what it can be`;
}

/** Why `id` and `item`, which came from anywhere, can not be put as they are; `undefined`: they can. */
export function whyNotMovable(id: unknown, item: unknown): string | undefined {
  try {
    const key = itemKey(checkId(id));
    const why = whyNoItem(item);
    if (why !== undefined) return why;
    const unknown = Object.keys(item as object).find((name) => !Object.hasOwn(FIELDS, name));
    if (unknown !== undefined) return `it has a field ${JSON.stringify(unknown)}, which no item has`;
    encodeValue(Object.assign({}, item, { by: ANY_BY }), key);
    return undefined;
  } catch (error) {
    if (isLoopStateError(error)) return error.message.replace(/\.? Nothing was written\.$/, '');
    throw error;
  }
}
