/**
 * A table of very many keys, each with a slot: a small number under which others keep, in typed arrays, what belongs to the key. A million
 * keys in a `Map` cost a hundred bytes each, hold the garbage collector up, and stall the process when the map grows; here a key
 * costs its bytes and twenty more.
 *
 * **Invariants:**
 * - `find(keyAt(slot)) === slot` for each slot in use; a freed slot is given out again before a new one.
 * - A key of ASCII that is not very long lies in the pages, as words; any other key is in `#others`.
 * - A shard's table is a power of two, at most five eighths full of slots and marks of removal; probing is linear.
 */
import { Column } from './column.js';
import { SPELLED_BYTES_MAX, type Spelling, spell, spellBytes, wordsFor } from './spelling.js';

const SHARDS = 64;
const SHARD_BITS = 6;
const TABLE_LEAST = 64;
/** A page has so many words, which is 1 MiB. */
const PAGE_BITS = 18;
const PAGE_WORDS = 1 << PAGE_BITS;
/** How large the first page is at first: most stores are small. */
const PAGE_WORDS_LEAST = 1_024;
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
  readonly #pages: Uint32Array[] = [];
  /** How many words of the last page are taken. */
  #pageEnd = 0;
  /** The places of keys that were taken out, by their words: they are for the next keys as long. */
  readonly #vacant = new Map<number, number[]>();
  /** Two of each slot: the hash of its key, and its place, page and word. */
  readonly #rows = new Column(Uint32Array);
  /** How many bytes a key in the pages has; 0: it is one of the others, or the slot is free. */
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
    const spelling = spell(key);
    return spelling === undefined ? (this.#others.get(key) ?? -1) : this.#find(spelling);
  }

  /** The slot of a key, which is given one if it has none. */
  place(key: string): number {
    const spelling = spell(key);
    return spelling === undefined ? this.#placeOther(key) : this.#place(spelling);
  }

  /** As {@link place}, for the key that some bytes spell, none of which may be above 127. */
  placeBytes(bytes: Uint8Array, start: number, end: number): number {
    if (end - start <= SPELLED_BYTES_MAX) return this.#place(spellBytes(bytes, start, end));
    return this.#placeOther(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1'));
  }

  /** Takes a key out; returns the slot that it had, or -1. */
  remove(key: string): number {
    const spelling = spell(key);
    const slot = spelling === undefined ? (this.#others.get(key) ?? -1) : this.#find(spelling);
    if (slot === -1) return -1;
    this.#free.push(slot);
    if (spelling === undefined) {
      this.#others.delete(key);
      this.#otherAt.delete(slot);
      return slot;
    }
    const { table } = this.#shardOf(spelling.hash);
    const mask = table.length - 1;
    let at = (spelling.hash >>> SHARD_BITS) & mask;
    while (table[at] !== slot + 1) at = (at + 1) & mask;
    table[at] = REMOVED;
    this.#vacate(slot);
    if (this.size === 0) this.clear();
    return slot;
  }

  /** The key of a slot in use. */
  keyAt(slot: number): string {
    const length = this.#lengths.at(slot);
    if (length === 0) return this.#otherAt.get(slot) ?? '';
    const place = this.#rows.at(2 * slot + 1);
    return Buffer.from(this.#pageOf(place).buffer, 4 * offsetOf(place), length).toString('latin1');
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
    this.#rows.clear();
    this.#lengths.clear();
    this.#others.clear();
    this.#otherAt.clear();
    this.#free.length = 0;
    this.#slots = 0;
  }

  #find({ hash, length, words }: Spelling): number {
    const { table } = this.#shardOf(hash);
    const mask = table.length - 1;
    for (let at = (hash >>> SHARD_BITS) & mask; ; at = (at + 1) & mask) {
      const entry = table[at] as number;
      if (entry === EMPTY) return -1;
      if (entry !== REMOVED && this.#rows.at(2 * entry - 2) === hash && this.#isAt(entry - 1, words, length)) return entry - 1;
    }
  }

  #place(spelling: Spelling): number {
    const found = this.#find(spelling);
    if (found !== -1) return found;
    const { hash, length, words } = spelling;
    const slot = this.#newSlot();
    const place = this.#room(wordsFor(length));
    const page = this.#pageOf(place);
    const start = offsetOf(place);
    for (let at = 0; at < wordsFor(length); at++) page[start + at] = words[at] as number;
    this.#rows.set(2 * slot, hash);
    this.#rows.set(2 * slot + 1, place);
    this.#lengths.set(slot, length);
    this.#enter(this.#shardOf(hash), slot);
    return slot;
  }

  #placeOther(key: string): number {
    const found = this.#others.get(key);
    if (found !== undefined) return found;
    const slot = this.#newSlot();
    this.#others.set(key, slot);
    this.#otherAt.set(slot, key);
    return slot;
  }

  #newSlot(): number {
    return this.#free.pop() ?? this.#slots++;
  }

  #shardOf(hash: number): Shard {
    return this.#shards[hash & (SHARDS - 1)] as Shard;
  }

  #pageOf(place: number): Uint32Array {
    return this.#pages[place >>> PAGE_BITS] as Uint32Array;
  }

  #isAt(slot: number, words: Uint32Array, length: number): boolean {
    if (this.#lengths.at(slot) !== length) return false;
    const place = this.#rows.at(2 * slot + 1);
    const page = this.#pageOf(place);
    const start = offsetOf(place);
    for (let at = 0; at < wordsFor(length); at++) if (page[start + at] !== words[at]) return false;
    return true;
  }

  /** Leaves the place of a key to the next one as long: else a table that always holds a few would grow with all that it ever held. */
  #vacate(slot: number): void {
    const words = wordsFor(this.#lengths.at(slot));
    const places = this.#vacant.get(words) ?? [];
    this.#vacant.set(words, places);
    places.push(this.#rows.at(2 * slot + 1));
    this.#lengths.set(slot, 0);
  }

  /** A place for so many words: one that became free, or else in the last page. */
  #room(words: number): number {
    const vacant = this.#vacant.get(words)?.pop();
    if (vacant !== undefined) return vacant;
    if (this.#pageEnd + words > (this.#pages.at(-1)?.length ?? 0)) this.#growPages(this.#pageEnd + words);
    const start = this.#pageEnd;
    this.#pageEnd += words;
    return ((this.#pages.length - 1) << PAGE_BITS) | start;
  }

  /** Makes the only page larger, until it has the full size; then another. */
  #growPages(wanted: number): void {
    const [first] = this.#pages;
    if (this.#pages.length > 1 || wanted > PAGE_WORDS) {
      this.#pages.push(new Uint32Array(PAGE_WORDS));
      this.#pageEnd = 0;
      return;
    }
    let length = PAGE_WORDS_LEAST;
    while (length < wanted) length *= 2;
    const larger = new Uint32Array(length);
    larger.set(first ?? []);
    this.#pages[0] = larger;
  }

  #enter(shard: Shard, slot: number): void {
    if (8 * (shard.used + 1) > 5 * shard.table.length) this.#rehash(shard);
    const mask = shard.table.length - 1;
    let at = (this.#rows.at(2 * slot) >>> SHARD_BITS) & mask;
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
      let at = (this.#rows.at(2 * entry - 2) >>> SHARD_BITS) & mask;
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

function offsetOf(place: number): number {
  return place & (PAGE_WORDS - 1);
}
