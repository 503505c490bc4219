/**
 * What an operator does to the items of a loop, outside of any claim: many items in few commits, each item judged as it stands then.
 */
import type { Check, StateRecord } from './backend.js';
import { retried } from './item-results.js';
import { checkId, type ItemRecord, isFinal, itemKey, nameOf } from './loop-records.js';
import type { Replacement, StoreLink } from './store-link.js';

/** How many items one commit changes at the most: well below the bounds of *commit/shape*. */
const BATCH_ITEMS = 500;

/** How often a batch is tried again because some of it had changed meanwhile. */
const BATCH_TRIES = 8;

/** What is to become of a record: a put, a deletion, or nothing. */
type Change = { readonly put: Replacement } | { readonly forget: Check } | undefined;

/** Puts items that have an outcome back, for another round; returns how many were. Errors: `LOOPSTATE_BAD_ID`, and what the backend raises. */
export async function retryItems(link: StoreLink, runId: string, ids: Iterable<string>): Promise<number> {
  return await inBatches(link, runId, ids, ({ key, revision, value }) => {
    const before = value as unknown as ItemRecord;
    return isFinal(before.status) ? { put: { key, value: retried(before), revision } } : undefined;
  });
}

/**
 * Forgets items, as if they had never been begun; returns how many were. One that a live run holds, by the local view, stays.
 * Errors: `LOOPSTATE_BAD_ID`, and what the backend raises.
 */
export async function forgetItems(link: StoreLink, runId: string, ids: Iterable<string>): Promise<number> {
  return await inBatches(link, runId, ids, ({ key, revision, value }) => {
    const { status, run } = value as unknown as ItemRecord;
    return status === 'claimed' && run !== undefined && link.view.runs.has(run) ? undefined : { forget: { key, revision } };
  });
}

/** Forgets every item; returns how many there were. What interrupts it leaves some. Errors: what the backend raises. */
export async function forgetAllItems(link: StoreLink, runId: string): Promise<number> {
  let count = 0;
  let batch: Check[] = [];
  const forget = async (): Promise<void> => {
    if (batch.length > 0) await link.send({ deletes: batch }, link.nextBy(runId));
    batch = [];
  };
  for await (const { key, revision } of link.backend.changes(0)) {
    if (nameOf(key).kind !== 'item') continue;
    batch.push({ key, revision });
    count += 1;
    if (batch.length === BATCH_ITEMS) await forget();
  }
  await forget();
  return count;
}

async function inBatches(link: StoreLink, runId: string, ids: Iterable<string>, change: (record: StateRecord) => Change): Promise<number> {
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

async function changeAll(
  link: StoreLink,
  runId: string,
  keys: readonly string[],
  change: (record: StateRecord) => Change,
): Promise<number> {
  for (let tries = 0; tries < BATCH_TRIES; tries++) {
    const puts: Replacement[] = [];
    const deletes: Check[] = [];
    for (const record of await link.backend.read([...new Set(keys)])) {
      const wanted = record && change(record);
      if (wanted === undefined) continue;
      if ('put' in wanted) puts.push(wanted.put);
      else deletes.push(wanted.forget);
    }
    if (puts.length + deletes.length === 0) return 0;
    if ((await link.send({ puts, deletes }, link.nextBy(runId))).ok) return puts.length + deletes.length;
  }
  return 0;
}
