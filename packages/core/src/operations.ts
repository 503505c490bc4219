/**
 * What an operator does to the items of a loop, outside of any claim: many items in few commits, each item judged as it stands then.
 */
import type { Check, CommitResult, Json, StateRecord } from './backend.js';
import { LockedError, LoopStateError, UnavailableError } from './errors.js';
import { retried } from './item-results.js';
import { byOf, checkId, type ItemRecord, isFinal, itemKey, META_KEY, type MetaRecord, nameOf, RECORD_FORMAT } from './loop-records.js';
import { type MovableEntry, whyNoItem } from './movable-item.js';
import { badOption } from './options.js';
import type { Replacement, StoreLink } from './store-link.js';

/**
 * How many items one commit changes at the most: below the bounds of *commit/shape*, also where each of them hands on a reason that takes six
 * times its size as JSON, which is 25 KiB.
 */
const BATCH_ITEMS = 250;

/** How many records are read at once: as many of the largest as a server on a network has sent before the deadline of a call. */
const READ_KEYS = 25;

/** How often a batch is tried again because some of it had changed meanwhile. */
const BATCH_TRIES = 8;

/** What is to become of a record: a put, a deletion, or nothing. */
type Change = { readonly put: Replacement } | { readonly forget: Check } | undefined;

/** What became of an item that was to be put as it is. */
export interface Placed {
  readonly isPut: boolean;
  /** What stood in its place before. */
  readonly standing: ItemRecord | undefined;
  /** What stood there had been put by the same state. */
  readonly isOwn: boolean;
}

/** Whether `entry` may be put in the place of `standing` (`undefined`: of nothing). It may be asked again about the same item. */
export type MayPut = (entry: MovableEntry, standing: ItemRecord | undefined, options: { readonly isOwn: boolean }) => boolean;

/**
 * Puts items that have an outcome back, for another round; returns how many were. Errors: `LOOPSTATE_BAD_ID`, `LOOPSTATE_BAD_OPTION` (no list of ids),
 * `LOOPSTATE_UNAVAILABLE` when they change all the time, and what the backend raises.
 */
export async function retryItems(link: StoreLink, runId: string, ids: Iterable<string>): Promise<number> {
  return await inBatches(link, runId, ids, ({ key, revision, value }) => {
    const before = value as unknown as ItemRecord;
    return isFinal(before.status) ? { put: { key, value: retried(before), revision } } : undefined;
  });
}

/**
 * Forgets items, as if they had never been begun; returns how many were. One that a live run holds stays.
 * Errors: as {@link retryItems}.
 */
export async function forgetItems(link: StoreLink, runId: string, ids: Iterable<string>): Promise<number> {
  return await inBatches(link, runId, ids, ({ key, revision, value }) => {
    const { status, run } = value as unknown as ItemRecord;
    return status === 'claimed' && run !== undefined && link.view.runs.has(run) ? undefined : { forget: { key, revision } };
  });
}

/** Forgets every item; returns how many there were. What interrupts it leaves some. Errors: as {@link retryItems}. */
export async function forgetAllItems(link: StoreLink, runId: string): Promise<number> {
  let count = 0;
  // By key: one that changes meanwhile comes again.
  let batch = new Map<string, Check>();
  for await (const { key, revision, record } of link.backend.changes(0)) {
    // What is deleted while all is read, by this very call, may come as a deletion.
    if (record === undefined || nameOf(key).kind !== 'item') continue;
    batch.set(key, { key, revision });
    if (batch.size < BATCH_ITEMS) continue;
    count += await forgetBatch(link, runId, batch);
    batch = new Map();
  }
  return count + (await forgetBatch(link, runId, batch));
}

async function forgetBatch(link: StoreLink, runId: string, batch: ReadonlyMap<string, Check>): Promise<number> {
  const deletes = [...batch.values()];
  if (deletes.length === 0 || (await link.send({ deletes }, link.nextBy(runId))).ok) return deletes.length;
  // Some of it is not what it was when it was read.
  return await changeAll(link, runId, [...batch.keys()], ({ key, revision }) => ({ forget: { key, revision } }), deletes);
}

/**
 * Puts items as they are, in the place of what stands there if `mayPut` allows it; returns what became of each. One commit for each item,
 * many in flight, in their order: so a store yields them in this order again. Of an id that comes twice the later one is judged after the
 * earlier.
 *
 * Errors: `LOOPSTATE_LOCKED` when a live run holds one of them, `LOOPSTATE_UNAVAILABLE` when what stands there changes all the time,
 * `LOOPSTATE_BAD_ID`, `LOOPSTATE_VALUE_REFUSED`, and what the backend raises. Some may be put then; it can be called again.
 */
export async function putItems(link: StoreLink, runId: string, entries: readonly MovableEntry[], mayPut: MayPut): Promise<Placed[]> {
  for (const entry of entries) {
    const id = checkId(entry?.id);
    const why = whyNoItem(entry.item);
    if (why !== undefined)
      throw new LoopStateError('LOOPSTATE_VALUE_REFUSED', `${JSON.stringify(id)} can not be put: ${why}. Nothing was written.`);
  }
  const placed: Placed[] = [];
  let waiting = entries.map((_, index) => index);
  const keyOf = (index: number): string => itemKey(checkId(entries[index]?.id));
  let refusals = 0;
  while (waiting.length > 0) {
    if (refusals === BATCH_TRIES) throw new UnavailableError('The items change all the time: try again when nobody works on them.');
    // Of an id that comes again, the first entry that waits.
    const turn = new Map<string, number>();
    for (const index of waiting) if (!turn.has(keyOf(index))) turn.set(keyOf(index), index);
    const keys = [...turn.keys()];
    const found = await readAll(link, keys);
    await assertNoneHeld(link, found);
    const puts: [index: number, put: Replacement][] = [];
    for (const [place, [key, index]] of [...turn].entries()) {
      const entry = entries[index] as MovableEntry;
      const record = found[place];
      const value = record?.value as unknown as ItemRecord | undefined;
      const isOwn = byOf(record)?.startsWith(`${runId}.`) ?? false;
      const isPut = mayPut(entry, value, { isOwn });
      placed[index] = { isPut, standing: value, isOwn };
      if (isPut) puts.push([index, { key, value: entry.item, revision: record?.revision ?? 0 }]);
    }
    const results = await sendEach(
      link,
      runId,
      puts.map(([, put]) => put),
    );
    const refused = new Set(puts.flatMap(([index], at) => (results[at]?.ok === true ? [] : [index])));
    refusals = refused.size < turn.size ? 0 : refusals + 1;
    waiting = waiting.filter((index) => refused.has(index) || turn.get(keyOf(index)) !== index);
  }
  return placed;
}

/** Says what was spent before this store began. Errors: as {@link putItems}. */
export async function putCarriedUsd(link: StoreLink, runId: string, carriedUsd: number, newStoreId: () => string): Promise<void> {
  for (let tries = 0; tries < BATCH_TRIES; tries++) {
    const [record] = await link.backend.read([META_KEY]);
    const meta = record?.value as unknown as MetaRecord | undefined;
    if (meta !== undefined && (meta.carriedUsd ?? 0) === carriedUsd) return;
    const { carriedUsd: _carriedUsd, by: _by, ...rest } = meta ?? { format: RECORD_FORMAT, store: newStoreId(), by: '' };
    const value = { ...rest, ...(carriedUsd > 0 ? { carriedUsd } : {}) };
    if ((await link.send({ puts: [{ key: META_KEY, value, revision: record?.revision ?? 0 }] }, link.nextBy(runId))).ok) return;
  }
  throw new UnavailableError('What was spent before changes all the time: try again when nobody works on it.');
}

async function assertNoneHeld(link: StoreLink, records: readonly (StateRecord | undefined)[]): Promise<void> {
  const holder = (await learnHolders(link, records)).map((runId) => link.view.runs.get(runId)).find((run) => run !== undefined);
  if (holder === undefined) return;
  const { pid, host } = holder.record;
  throw new LockedError(`The process ${pid} on ${JSON.stringify(host)} is at work here: stop it first. Some items may have been put.`, {
    pid,
    host,
  });
}

/** Who holds these items. A claim of a run that is not registered is free; one that the view doesn't know may just have come. */
async function learnHolders(link: StoreLink, records: readonly (StateRecord | undefined)[]): Promise<readonly string[]> {
  const holders = records.flatMap((record) => (record?.value as { readonly run?: Json } | undefined)?.run ?? []) as string[];
  if (holders.some((runId) => !link.view.runs.has(runId))) await link.refresh();
  return holders;
}

/** The records of `keys`, a few at a time. What commits meanwhile is noticed by the checks of what follows. */
async function readAll(link: StoreLink, keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
  const found: (StateRecord | undefined)[] = [];
  for (let from = 0; from < keys.length; from += READ_KEYS) {
    for (const record of await link.backend.read(keys.slice(from, from + READ_KEYS))) found.push(record);
  }
  return found;
}

/** One commit for each put. The first goes alone: a store that has to get ready for it would let the others overtake one another. */
async function sendEach(link: StoreLink, runId: string, puts: readonly Replacement[]): Promise<CommitResult[]> {
  const send = (put: Replacement): Promise<CommitResult> => link.send({ puts: [put] }, link.nextBy(runId));
  const [first, ...others] = puts;
  if (first === undefined) return [];
  const results = [await send(first)];
  // None may be left behind, unanswered, by the trouble of another.
  for (const settled of await Promise.allSettled(others.map(send))) {
    if (settled.status === 'rejected') throw settled.reason;
    results.push(settled.value);
  }
  return results;
}

async function inBatches(link: StoreLink, runId: string, ids: Iterable<string>, change: (record: StateRecord) => Change): Promise<number> {
  // A string is a list of its characters, and some item may have such an id.
  if (typeof ids !== 'object' || ids === null || !(Symbol.iterator in ids)) throw badOption('The ids must be a list, such as ["a"].');
  let count = 0;
  let batch: string[] = [];
  for (const id of ids) {
    batch.push(itemKey(checkId(id)));
    if (batch.length < BATCH_ITEMS) continue;
    count += await changeAll(link, runId, batch, change);
    batch = [];
  }
  return count + (await changeAll(link, runId, batch, change));
}

/** `refused`: what a commit was to delete that was refused already. */
async function changeAll(
  link: StoreLink,
  runId: string,
  keys: readonly string[],
  change: (record: StateRecord) => Change,
  refused: readonly Check[] = [],
): Promise<number> {
  let deletes = [...refused];
  let count = 0;
  for (let tries = 0; tries < BATCH_TRIES; tries++) {
    const puts: Replacement[] = [];
    const found = await readAll(link, [...new Set(keys)]);
    await learnHolders(link, found);
    // What is gone since it was to be deleted was deleted by this very commit, the reply to which was lost.
    const isThere = new Set(found.map((record) => record?.key));
    count += deletes.filter(({ key }) => !isThere.has(key)).length;
    deletes = [];
    for (const record of found) {
      const wanted = record && change(record);
      if (wanted === undefined) continue;
      if ('put' in wanted) puts.push(wanted.put);
      else deletes.push(wanted.forget);
    }
    if (puts.length + deletes.length === 0) return count;
    if ((await link.send({ puts, deletes }, link.nextBy(runId))).ok) return count + puts.length + deletes.length;
  }
  throw new UnavailableError('The items change all the time: try again when nobody works on them.');
}
