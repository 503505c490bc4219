/**
 * What a store holds of a loop, read without taking part in it: one item after another, or by id. Nothing is kept in memory.
 */
import type { StateBackend, StateRecord } from './backend.js';
import { assertKnownFormat, checkId, type ItemRecord, itemKey, META_KEY, type MetaRecord, nameOf } from './loop-records.js';

/** See the file's comment. */
export class LoopContent {
  readonly #backend: StateBackend;

  private constructor(backend: StateBackend) {
    this.#backend = backend;
  }

  /** Looks into a store, which stays the caller's to close. Errors: `LOOPSTATE_NEWER_FORMAT`, and what the backend raises. */
  static async open(backend: StateBackend): Promise<LoopContent> {
    const content = new LoopContent(backend);
    assertKnownFormat(await content.#meta());
    return content;
  }

  /** What was spent before this store began, on no item it knows, in US dollars. Errors: what the backend raises. */
  async carriedUsd(): Promise<number> {
    return (await this.#meta())?.carriedUsd ?? 0;
  }

  /** Every item with its record, oldest change first; one that changes meanwhile may come again. Errors: what the backend raises. */
  async *items(): AsyncGenerator<[id: string, record: ItemRecord]> {
    for await (const { key, record } of this.#backend.changes(0)) {
      const name = nameOf(key);
      if (name.kind === 'item' && record !== undefined) yield [name.id, decode<ItemRecord>(record)];
    }
  }

  /** The records of some items, in their order. Errors: `LOOPSTATE_BAD_ID`, and what the backend raises. */
  async read(ids: readonly string[]): Promise<(ItemRecord | undefined)[]> {
    const records = await this.#backend.read(ids.map((id) => itemKey(checkId(id))));
    return records.map((record) => record && decode<ItemRecord>(record));
  }

  async #meta(): Promise<MetaRecord | undefined> {
    const [record] = await this.#backend.read([META_KEY]);
    return record && decode<MetaRecord>(record);
  }
}

/** Records are read as they were written by this format; a store's own checks guard their bytes. */
function decode<T>({ value }: StateRecord): T {
  return value as unknown as T;
}
