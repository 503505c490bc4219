/**
 * A table of very many keys, each with a slot: a small number under which others keep, in typed arrays, what belongs to the key. A million
 * keys in a `Map` cost a hundred bytes each, hold the garbage collector up, and stall the process when the map grows; here a key
 * costs its bytes and twenty more.
 *
 * **Invariants:**
 * - `find(keyAt(slot)) === slot` for each slot in use; a freed slot is given out again before a new one.
 * - A key whose units are all below 128 lies in the pages, one byte each; any other key is in `#others`.
 * - A shard's table is a power of two, at most five eighths full of slots and marks of removal; probing is linear.
 */
import { Column } from './column.js';

const SHARDS = 64;
const SHARD_BITS = 6;
const TABLE_LEAST = 64;
const PAGE_BITS = 20;
const PAGE_BYTES = 1 << PAGE_BITS;
/** How large the first page is at first: most stores are small. */
const PAGE_BYTES_LEAST = 4_096;
const EMPTY = 0;
const REMOVED = -1;

/** The table of every shard that has had no key yet. */
const NO_ENTRIES = new Int32Array(1);

/** One part of the keys: it grows by itself, so that no call has to rehash all of them. */
class Shard {
  /** Slots plus one. */
  table = NO_ENTRIES;
  /** Entries that are not `EMPTY`. */
  used = 0;
}

/** See the file's comment. */
export class KeyTable {
  readonly #shards = Array.from({ length: SHARDS }, () => new Shard());
  readonly #pages: Uint8Array[] = [];
  /** How much of the last page is taken. */
  #pageEnd = 0;
  /** The places of keys that were taken out, by their length: they are for the next keys as long. */
  readonly #vacant = new Map<number, number[]>();
  readonly #hashes = new Column(Uint32Array);
  /** Page and offset of a key in the pages. */
  readonly #places = new Column(Uint32Array);
  /** How long a key in the pages is; 0: it is one of the others, or the slot is free. */
  readonly #lengths = new Column(Uint16Array);
  readonly #others = new Map<string, number>();
  readonly #otherAt = new Map<number, string>();
  readonly #free: number[] = [];
  #slots = 0;

  /** How many keys there are. */
  get size(): number {
    return this.#slots - this.#free.length;
  }

  /** One more than the largest slot that was ever given out. */
  get slots(): number {
    return this.#slots;
  }

  /** Makes room for so many keys at once, which would cost more in steps; not for few, which leave most shards empty. */
  reserve(keys: number): void {
    const length = tableFor(keys / SHARDS);
    if (length === TABLE_LEAST) return;
    for (const shard of this.#shards) if (shard.table.length < length) this.#resize(shard, length);
  }

  /** The slot of a key; -1: it is not there. */
  find(key: string): number {
    return this.#findHashed(hashOf(key), key);
  }

  /** The slot of a key, which is given one if it has none. */
  place(key: string): number {
    const hash = hashOf(key);
    const found = this.#findHashed(hash, key);
    if (found !== -1) return found;
    const slot = this.#free.pop() ?? this.#slots++;
    if (hash === -1) {
      this.#others.set(key, slot);
      this.#otherAt.set(slot, key);
      return slot;
    }
    const place = this.#room(key.length);
    const page = this.#pages[place >>> PAGE_BITS] as Uint8Array;
    for (let at = 0; at < key.length; at++) page[(place & (PAGE_BYTES - 1)) + at] = key.charCodeAt(at);
    this.#take(slot, { hash, place, length: key.length });
    return slot;
  }

  /** As {@link place}, for the key that some bytes spell, none of which may be above 127. */
  placeBytes(bytes: Uint8Array, start: number, end: number): number {
    const hash = hashOfBytes(bytes, start, end);
    const { table } = this.#shardOf(hash);
    const mask = table.length - 1;
    for (let at = (hash >>> SHARD_BITS) & mask; table[at] !== EMPTY; at = (at + 1) & mask) {
      const slot = (table[at] as number) - 1;
      if (slot >= 0 && this.#hashes.at(slot) === hash && this.#hasBytes(slot, bytes, start, end)) return slot;
    }
    const slot = this.#free.pop() ?? this.#slots++;
    const place = this.#room(end - start);
    (this.#pages[place >>> PAGE_BITS] as Uint8Array).set(bytes.subarray(start, end), place & (PAGE_BYTES - 1));
    this.#take(slot, { hash, place, length: end - start });
    return slot;
  }

  /** Takes a key out; returns the slot that it had, or -1. */
  remove(key: string): number {
    const slot = this.find(key);
    if (slot === -1) return -1;
    this.#free.push(slot);
    if (this.#lengths.at(slot) === 0) {
      this.#others.delete(key);
      this.#otherAt.delete(slot);
      return slot;
    }
    this.#vacate(slot);
    const { table } = this.#shardOf(this.#hashes.at(slot));
    const mask = table.length - 1;
    let at = (this.#hashes.at(slot) >>> SHARD_BITS) & mask;
    while (table[at] !== slot + 1) at = (at + 1) & mask;
    table[at] = REMOVED;
    if (this.size === 0) this.clear();
    return slot;
  }

  /** The key of a slot in use. */
  keyAt(slot: number): string {
    const length = this.#lengths.at(slot);
    if (length === 0) return this.#otherAt.get(slot) ?? '';
    const place = this.#places.at(slot);
    const page = this.#pages[place >>> PAGE_BITS] as Uint8Array;
    return Buffer.from(page.buffer, place & (PAGE_BYTES - 1), length).toString('latin1');
  }

  /** Whether a slot has a key. */
  isUsed(slot: number): boolean {
    return this.#lengths.at(slot) !== 0 || this.#otherAt.has(slot);
  }

  /** Takes all keys out, and gives their memory back. */
  clear(): void {
    for (const shard of this.#shards) {
      shard.table = NO_ENTRIES;
      shard.used = 0;
    }
    this.#pages.length = 0;
    this.#pageEnd = 0;
    this.#vacant.clear();
    for (const column of [this.#hashes, this.#places, this.#lengths]) column.clear();
    this.#others.clear();
    this.#otherAt.clear();
    this.#free.length = 0;
    this.#slots = 0;
  }

  #findHashed(hash: number, key: string): number {
    if (hash === -1) return this.#others.get(key) ?? -1;
    const { table } = this.#shardOf(hash);
    const mask = table.length - 1;
    for (let at = (hash >>> SHARD_BITS) & mask; ; at = (at + 1) & mask) {
      const entry = table[at] as number;
      if (entry === EMPTY) return -1;
      if (entry !== REMOVED && this.#hashes.at(entry - 1) === hash && this.#isAt(entry - 1, key)) return entry - 1;
    }
  }

  #shardOf(hash: number): Shard {
    return this.#shards[hash & (SHARDS - 1)] as Shard;
  }

  #isAt(slot: number, key: string): boolean {
    const length = this.#lengths.at(slot);
    if (length !== key.length) return false;
    const place = this.#places.at(slot);
    const page = this.#pages[place >>> PAGE_BITS] as Uint8Array;
    const start = place & (PAGE_BYTES - 1);
    for (let at = 0; at < length; at++) if (page[start + at] !== key.charCodeAt(at)) return false;
    return true;
  }

  #hasBytes(slot: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#lengths.at(slot) !== end - start) return false;
    const place = this.#places.at(slot);
    const page = this.#pages[place >>> PAGE_BITS] as Uint8Array;
    const shift = (place & (PAGE_BYTES - 1)) - start;
    for (let at = start; at < end; at++) if (page[shift + at] !== bytes[at]) return false;
    return true;
  }

  #take(slot: number, { hash, place, length }: { readonly hash: number; readonly place: number; readonly length: number }): void {
    this.#hashes.set(slot, hash);
    this.#lengths.set(slot, length);
    this.#places.set(slot, place);
    this.#enter(this.#shardOf(hash), slot);
  }

  /** Leaves the place of a key to the next one as long: else a table that always holds a few would grow with all that it ever held. */
  #vacate(slot: number): void {
    const length = this.#lengths.at(slot);
    const places = this.#vacant.get(length) ?? [];
    this.#vacant.set(length, places);
    places.push(this.#places.at(slot));
    this.#lengths.set(slot, 0);
  }

  /** A place for so many bytes: one that became free, or else in the last page. */
  #room(length: number): number {
    const vacant = this.#vacant.get(length)?.pop();
    if (vacant !== undefined) return vacant;
    if (this.#pageEnd + length > (this.#pages.at(-1)?.length ?? 0)) this.#growPages(this.#pageEnd + length);
    const start = this.#pageEnd;
    this.#pageEnd += length;
    return ((this.#pages.length - 1) << PAGE_BITS) | start;
  }

  /** Makes the only page larger, until it has the full size; then another. */
  #growPages(wanted: number): void {
    const [first] = this.#pages;
    if (this.#pages.length > 1 || wanted > PAGE_BYTES) {
      this.#pages.push(new Uint8Array(PAGE_BYTES));
      this.#pageEnd = 0;
      return;
    }
    let length = PAGE_BYTES_LEAST;
    while (length < wanted) length *= 2;
    const larger = new Uint8Array(length);
    larger.set(first ?? []);
    this.#pages[0] = larger;
  }

  #enter(shard: Shard, slot: number): void {
    if (8 * (shard.used + 1) > 5 * shard.table.length) this.#rehash(shard);
    const mask = shard.table.length - 1;
    let at = (this.#hashes.at(slot) >>> SHARD_BITS) & mask;
    while (shard.table[at] !== EMPTY) at = (at + 1) & mask;
    shard.table[at] = slot + 1;
    shard.used++;
  }

  #rehash(shard: Shard): void {
    let keys = 0;
    for (const entry of shard.table) if (entry > 0) keys++;
    // As large as it needs to be: it may have been full of marks of removal.
    this.#resize(shard, tableFor(keys));
  }

  #resize(shard: Shard, length: number): void {
    const old = shard.table;
    const mask = length - 1;
    shard.table = new Int32Array(length);
    shard.used = 0;
    for (const entry of old) {
      if (entry <= 0) continue;
      let at = (this.#hashes.at(entry - 1) >>> SHARD_BITS) & mask;
      while (shard.table[at] !== EMPTY) at = (at + 1) & mask;
      shard.table[at] = entry;
      shard.used++;
    }
  }
}

/** The length of a table that so many keys fill by half at most. */
function tableFor(keys: number): number {
  let length = TABLE_LEAST;
  while (2 * (keys + 1) > length) length *= 2;
  return length;
}

/** FNV-1a over the units of a key, mixed once more (the finalizer of MurmurHash3); -1: a unit is no byte below 128. Both are in the public domain. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) {
    const unit = key.charCodeAt(at);
    if (unit > 127) return -1;
    hash = Math.imul(hash ^ unit, 0x01000193);
  }
  return mixed(hash);
}

function hashOfBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
  return mixed(hash);
}

function mixed(hash: number): number {
  let left = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  left = Math.imul(left ^ (left >>> 13), 0xc2b2ae35);
  return (left ^ (left >>> 16)) >>> 0;
}
