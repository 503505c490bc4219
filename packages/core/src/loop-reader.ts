/**
 * A loop as whoever only looks on reads it: straight from the store, one record after another. Nothing is remembered here, so a store of
 * a million items costs no memory; a `LoopState` keeps a view of all of them.
 */
import type { StateBackend, StateChange, StateRecord } from './backend.js';
import {
  assertKnownFormat,
  checkId,
  type ItemRecord,
  itemKey,
  META_KEY,
  type MetaRecord,
  nameOf,
  type RunRecord,
  runKey,
} from './loop-records.js';
import { assertBackend } from './options.js';

/** An item with its record, and when that was put. */
export interface ItemSnapshot extends ItemRecord {
  readonly revision: number;
  /** When the record was put, in ms since the epoch by the store's clock. For display only. */
  readonly at: number;
}

/** The latest that happened to one record of a loop; without what it holds, it was deleted. */
export type LoopChange =
  | { readonly kind: 'item'; readonly id: string; readonly revision: number; readonly item?: ItemSnapshot }
  | { readonly kind: 'run'; readonly id: string; readonly revision: number; readonly run?: RunRecord }
  /** A heartbeat of a run; `at`: when it was put, in ms since the epoch by the store's clock. */
  | { readonly kind: 'beat'; readonly id: string; readonly revision: number; readonly at?: number }
  | { readonly kind: 'meta'; readonly revision: number; readonly meta?: MetaRecord }
  /** A record that this version does not know. */
  | { readonly kind: 'other'; readonly revision: number };

/** See the file's comment. Closing it is closing its backend. */
export class LoopReader {
  readonly #backend: StateBackend;

  private constructor(backend: StateBackend) {
    this.#backend = backend;
  }

  /** Looks at a store, which may be open for reading only. Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_NEWER_FORMAT`, and what the backend raises. */
  static async open(backend: StateBackend): Promise<LoopReader> {
    assertBackend(backend);
    assertKnownFormat(await metaOf(backend));
    return new LoopReader(backend);
  }

  /** Some items, in the order of their ids. Errors: `LOOPSTATE_BAD_ID`, and what the backend raises. */
  async read(ids: readonly string[]): Promise<(ItemSnapshot | undefined)[]> {
    const records = await this.#backend.read(ids.map((id) => itemKey(checkId(id))));
    return records.map((record) => record && toItem(record));
  }

  /** One item. Errors: as {@link read}. */
  async item(id: string): Promise<ItemSnapshot | undefined> {
    return (await this.read([id]))[0];
  }

  /** What was spent before this store began, on no item it knows, in US dollars. Errors: what the backend raises. */
  async carriedUsd(): Promise<number> {
    return (await metaOf(this.#backend))?.carriedUsd ?? 0;
  }

  /** One run, if it is registered. Errors: what the backend raises. */
  async run(runId: string): Promise<RunRecord | undefined> {
    const [record] = await this.#backend.read([runKey(runId)]);
    return record && decode<RunRecord>(record);
  }

  /**
   * What changed after revision `since`, oldest first; from 0, everything. The revision of the last one, once all were taken, is the
   * cursor for the next call. Law: *changes/no-gap*. Errors: as `StateBackend.changes`.
   */
  changes(since: number): AsyncGenerator<LoopChange> {
    return loopChanges(this.#backend, since);
  }

  /** Every item, oldest change first; one that changes meanwhile may come again. Errors: what the backend raises. */
  items(): AsyncGenerator<[id: string, item: ItemSnapshot]> {
    return loopItems(this.#backend);
  }
}

/** See {@link LoopReader.changes}. */
export async function* loopChanges(backend: StateBackend, since: number): AsyncGenerator<LoopChange> {
  for await (const change of backend.changes(since)) yield toLoopChange(change);
}

/** See {@link LoopReader.items}. */
export async function* loopItems(backend: StateBackend): AsyncGenerator<[id: string, item: ItemSnapshot]> {
  // Not through `loopChanges`: a million items would pay for each generator on their way.
  for await (const { key, record } of backend.changes(0)) {
    const name = nameOf(key);
    if (name.kind === 'item' && record !== undefined) yield [name.id, toItem(record)];
  }
}

function toLoopChange({ key, revision, record }: StateChange): LoopChange {
  const name = nameOf(key);
  switch (name.kind) {
    case 'item':
      return { kind: 'item', id: name.id, revision, ...(record && { item: toItem(record) }) };
    case 'run':
      return { kind: 'run', id: name.id, revision, ...(record && { run: decode<RunRecord>(record) }) };
    case 'beat':
      return { kind: 'beat', id: name.id, revision, ...(record && { at: record.at }) };
    case 'meta':
      return { kind: 'meta', revision, ...(record && { meta: decode<MetaRecord>(record) }) };
    case 'other':
      return { kind: 'other', revision };
  }
}

async function metaOf(backend: StateBackend): Promise<MetaRecord | undefined> {
  const [record] = await backend.read([META_KEY]);
  return record && decode<MetaRecord>(record);
}

/** An item as its record says, whose value is the reader's own: by the law *value/exact* nobody else sees what becomes of it. */
export function toItem(record: StateRecord): ItemSnapshot {
  return Object.assign(decode<ItemRecord>(record), { revision: record.revision, at: record.at });
}

/** Records are read as they were written by this format; a store's own checks guard their bytes. */
function decode<T>({ value }: StateRecord): T {
  return value as unknown as T;
}
