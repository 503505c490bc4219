/**
 * The two formats that state files had before stores: what their documents say, as records.
 *
 * - the first: `{ completed: [id], failed: [{ id, reason }], inProgress?: id }`;
 * - the second: `{ version: 2, results: { [id]: { status: 'success' | 'error', reason?, cost? } }, claims, totalUsd }`.
 *
 * Claims and `inProgress` are not taken over: whoever held them is gone, and the items run again.
 */
import type { Json, Put } from './backend.js';
import { isLoopStateError } from './errors.js';
import type { Cost } from './item-results.js';
import { checkId, cutReason, itemKey, META_KEY, type MetaRecord, RECORD_FORMAT } from './loop-records.js';
import type { MovableEntry, MovableItem } from './movable-item.js';
import { isUsd } from './nano-usd.js';

type Document = { readonly [key: string]: Json };

/** `by` of every imported record. */
const BY = 'import.1';

/** Whether a document has one of the two older formats. Every member may be missing, but not all of them. */
export function isOldFormat(document: unknown): document is Document {
  if (!isObject(document)) return false;
  if ('version' in document) return document.version === 2 && isObject(document.results ?? {}) && isObject(document.claims ?? {});
  const { completed, failed, inProgress } = document;
  const isFirst =
    Array.isArray(completed ?? []) &&
    Array.isArray(failed ?? []) &&
    (inProgress === undefined || inProgress === null || typeof inProgress === 'string');
  return isFirst && (completed !== undefined || failed !== undefined || typeof inProgress === 'string');
}

/** What a document of an older format says. */
export interface OldLoop {
  readonly items: readonly MovableEntry[];
  /** What was spent on no item, in US dollars. */
  readonly carriedUsd: number;
  /** How many entries can be no item, and were left out. */
  readonly leftOut: number;
}

/**
 * The items that a document of an older format stands for. Entries that could not be items (an id that is no string, or too long; a status
 * that is none) are left out. One id that stands twice counts as its first entry says.
 */
export function itemsFromOldFormat(document: Document): OldLoop {
  const items = new Map<string, MovableItem>();
  let leftOut = 0;
  const add = (id: unknown, item: MovableItem | undefined): void => {
    if (!isId(id) || item === undefined) leftOut += 1;
    else if (!items.has(id)) items.set(id, item);
  };
  for (const id of list(document.completed)) add(id, { status: 'completed', attempt: 1 });
  for (const entry of list(document.failed)) {
    if (isObject(entry)) add(entry.id, failure(entry.reason));
    else leftOut += 1;
  }
  for (const [id, result] of Object.entries(isObject(document.results) ? document.results : {})) add(id, itemOf(result));
  const spentUsd = [...items.values()].reduce((sum, item) => sum + (item.costUsd ?? 0), 0);
  const totalUsd = usdOf(document.totalUsd);
  // Glitches cost something too, and no result tells of them.
  const carriedUsd = Math.round(Math.max(0, totalUsd - spentUsd) * 1e9) / 1e9;
  return { items: [...items].map(([id, item]) => ({ id, item })), carriedUsd, leftOut };
}

/** The records that a document of an older format stands for: see {@link itemsFromOldFormat}. `store` becomes the id of the store. */
export function recordsFromOldFormat(document: Document, store: string): Put[] {
  const { items, carriedUsd } = itemsFromOldFormat(document);
  const meta: MetaRecord = { format: RECORD_FORMAT, store, ...(carriedUsd > 0 ? { carriedUsd } : {}), by: BY };
  const puts: Put[] = [{ key: META_KEY, value: meta as unknown as Json }];
  for (const { id, item } of items) puts.push({ key: itemKey(id), value: Object.assign({}, item, { by: BY }) as unknown as Json });
  return puts;
}

/** What a result of the second format says of its item. */
function itemOf(result: Json): MovableItem | undefined {
  if (!isObject(result)) return undefined;
  if (result.status === 'success') return { status: 'completed', attempt: 1, ...costs(result.cost) };
  return result.status === 'error' ? { ...failure(result.reason), ...costs(result.cost) } : undefined;
}

function failure(reason: Json | undefined): MovableItem {
  return { status: 'failed', attempt: 1, reason: cutReason(typeof reason === 'string' ? reason : 'It failed without a reason.') };
}

function costs(cost: Json | undefined): Pick<MovableItem, 'cost' | 'costUsd'> {
  if (!isObject(cost)) return {};
  // The second format did not count what it could not know.
  const usd = (cost as Cost).costSource === 'unavailable' ? 0 : usdOf(cost.usd);
  return { cost, ...(usd > 0 ? { costUsd: usd } : {}) };
}

function usdOf(value: Json | undefined): number {
  return isUsd(value) ? value : 0;
}

function isId(id: unknown): id is string {
  try {
    checkId(id);
    return true;
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_BAD_ID')) return false;
    throw error;
  }
}

function list(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

function isObject(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
