/**
 * The records of a store in memory: a table of keys, and a log in the order of revisions for `changes` and for snapshots. There may be
 * millions of records, so all but the newest lie in blocks of bytes (see `record-block.ts`) and not in objects.
 *
 * **Invariants:**
 * - Each key that is known has one standing entry: its place in the log is in `#places`. Every other entry is stale and is skipped.
 * - The log is sorted by revision; entries of one commit share theirs, and lie in one chunk.
 * - A chunk has no more than {@link CHUNK_ENTRIES} entries and {@link CHUNK_CHARS} of text, and one commit on top of that.
 * - No operation but opening costs more as the number of records grows: stale entries are swept a chunk at a time.
 * - A deletion stays as an entry without text until {@link DELETIONS_MAX} newer ones came; `forgotten` is the largest revision
 *   of one that is no longer known.
 */
import { Column, decodeValue, KeyTable, type StateChange, type StateRecord } from '@loopstate/core';
import { LogCut } from './log-cut.js';
import { BLOCK_ENTRIES_MAX, type ChosenRecords, type KeyVisitor, RecordBlock } from './record-block.js';

/** A chunk is closed when it has so many entries, at the end of a commit; a commit writes at most as many. */
const CHUNK_ENTRIES = 1_000;
/** Or so much text: what is packed, joined or decoded in one piece must neither stall its process nor outgrow what a string can hold. */
const CHUNK_CHARS = 2 * 1_024 * 1_024;
/** A place has so many bits for the index within a chunk. */
const PLACE_BITS = Math.log2(BLOCK_ENTRIES_MAX);
const DELETIONS_MAX = 10_000;
const SWEEPS_PER_CHUNK = 2;
/** A chunk that has become emptier than this is packed anew. */
const FULL_ENOUGH = 0.75;
/** So many of the newest chunks are likely to be asked for something, and are not deflated. */
const CHUNKS_INFLATED = 16;

/** The latest put of a key, or its deletion. */
export interface LogEntry {
  readonly key: string;
  readonly revision: number;
  /** When it was committed, in ms since the epoch; of a deletion it is not kept. */
  readonly at: number;
  /** The value as JSON; absent for a deletion. */
  readonly text: string | undefined;
}

/** Some of the log; the newest one grows, all others are packed. */
interface Chunk {
  readonly id: number;
  /** How many of its entries stand. */
  standing: number;
  block: RecordBlock;
}

/** A record as the contract has it, with a fresh copy of its value. */
export function toRecord({ key, revision, at, text }: LogEntry): StateRecord {
  return { key, value: decodeValue(text ?? 'null'), revision, at };
}

/** All that stands of a chunk. */
export interface StandingChunk {
  readonly records: ChosenRecords;
  /** The largest revision of the chunk. */
  readonly last: number;
}

/** Some of what stands of a chunk. */
export interface ChunkSlice {
  readonly entries: LogEntry[];
  /** The revision up to which that is all. */
  readonly last: number;
}

/** See the invariants above. */
export class RecordLog {
  readonly #keys = new KeyTable();
  /** Of each slot the place of its standing entry, plus 1: chunk id × {@link BLOCK_ENTRIES_MAX} + index. */
  readonly #places = new Column(Uint32Array);
  /** Of each slot whether its entry is a record. */
  readonly #isRecord = new Column(Uint8Array);
  readonly #chunks = new Map<number, Chunk>();
  /** All chunks but the growing one, oldest first. */
  readonly #packed: Chunk[] = [];
  #growing: LogEntry[] = [];
  #growingSlots: number[] = [];
  #growingChars = 0;
  #growingId = 0;
  /** The ids of chunks that are gone; no place names them. */
  readonly #freeIds: number[] = [];
  #ids = 1;
  #sweepAt = 0;
  #present = 0;
  #deletions: { readonly key: string; readonly revision: number }[] = [];
  #deletionsAt = 0;
  #forgotten: number;
  #lastDeletion: number;
  #cut: LogCut | undefined;
  #isDeflating = false;
  #isClosed = false;
  #recent: { readonly block: RecordBlock; readonly bytes: Buffer } | undefined;

  /** `entries` in the order of revisions, each key once. */
  constructor(entries: Iterable<LogEntry> = [], forgotten = 0) {
    this.#forgotten = forgotten;
    this.#lastDeletion = forgotten;
    for (const entry of entries) this.append(entry);
  }

  /** The records of the lines of a whole snapshot, to which later entries are appended. */
  static ofBlocks(blocks: readonly RecordBlock[], forgotten: number): RecordLog {
    const log = new RecordLog([], forgotten);
    const keys: KeyVisitor = {
      bytes: (bytes, start, end) => log.#keys.placeBytes(bytes, start, end),
      text: (key) => log.#keys.place(key),
    };
    log.#keys.reserve(blocks.reduce((sum, { count }) => sum + count, 0));
    for (const block of blocks) {
      block.placeKeys(keys);
      log.#addBlock(block);
    }
    return log;
  }

  /** How many records there are. */
  get present(): number {
    return this.#present;
  }

  /** How many entries it holds, the stale ones among them. */
  get entries(): number {
    return this.#packed.reduce((sum, { block }) => sum + block.count, this.#growing.length);
  }

  /** The largest revision of any entry. */
  get newest(): number {
    return this.#growing.at(-1)?.revision ?? this.#packed.at(-1)?.block.last ?? 0;
  }

  /** The largest revision of a deletion that is no longer known; 0 when all are. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** The largest revision of any deletion: what a snapshot, which holds none, forgets. */
  get lastDeletion(): number {
    return this.#lastDeletion;
  }

  /** The record of a key; `undefined` when it is absent or deleted. */
  get(key: string): LogEntry | undefined {
    const slot = this.#keys.find(key);
    return slot === -1 || this.#isRecord.at(slot) === 0 ? undefined : this.#entryOf(slot, key);
  }

  /** The revision of a key's record; 0 when it is absent or deleted. */
  revisionOf(key: string): number {
    const slot = this.#keys.find(key);
    return slot === -1 || this.#isRecord.at(slot) === 0 ? 0 : this.#revisionAt(slot);
  }

  /** Puts or deletes a key. `entry.revision` is not less than any before. */
  append(entry: LogEntry): void {
    const isFull = this.#growing.length >= CHUNK_ENTRIES || this.#growingChars >= CHUNK_CHARS;
    if (isFull && this.#growing.at(-1)?.revision !== entry.revision) this.#closeChunk();
    const slot = this.#keys.place(entry.key);
    this.#replace(slot, entry.key);
    this.#places.set(slot, placeOf(this.#growingId, this.#growing.length) + 1);
    this.#growing.push(entry);
    this.#growingSlots.push(slot);
    const isRecord = entry.text !== undefined;
    this.#isRecord.set(slot, isRecord ? 1 : 0);
    this.#growingChars += entry.key.length + (entry.text?.length ?? 0);
    if (isRecord) this.#present++;
    else this.#rememberDeletion(entry);
  }

  /** What stands after revision `after`, oldest first: at least `atLeast` entries, if there are so many; whole commits. */
  slice(after: number, atLeast: number): LogEntry[] {
    const found: LogEntry[] = [];
    for (let at = this.#firstChunkAfter(after); at < this.#packed.length; at++) {
      const chunk = this.#packed[at] as Chunk;
      if (this.#collect(chunk, { after, atLeast, found })) return found;
    }
    for (const [index, entry] of this.#growing.entries()) {
      if (entry.revision <= after || !this.#stands(this.#growingSlots[index] as number, this.#growingId, index)) continue;
      if (isEnough(found, atLeast, entry.revision)) return found;
      found.push(entry);
    }
    return found;
  }

  /** The same as changes, but whole chunks: many records are decoded far quicker together than one after another. */
  changes(after: number, atLeast: number): StateChange[] {
    const found: StateChange[] = [];
    for (let at = this.#firstChunkAfter(after); at < this.#packed.length; at++) {
      if (found.length >= atLeast) return found;
      const { id, block } = this.#packed[at] as Chunk;
      const records = block.decode(this.#bytesOf(block));
      for (let index = 0; index < block.count; index++) {
        const slot = block.slots[index] as number;
        const revision = block.revisionAt(index);
        if (revision <= after || !this.#stands(slot, id, index)) continue;
        const record = records[index];
        found.push(record === undefined ? { key: this.#keys.keyAt(slot), revision } : { key: record.key, revision, record });
      }
    }
    for (const [index, entry] of this.#growing.entries()) {
      if (entry.revision > after && this.#stands(this.#growingSlots[index] as number, this.#growingId, index)) found.push(toChange(entry));
    }
    return found;
  }

  /** Deflates the chunks that nobody is likely to ask for, one after another, on another thread. Never rejects. */
  async deflateOld(): Promise<void> {
    if (this.#isDeflating || this.#isClosed) return;
    this.#isDeflating = true;
    for (let at = 0; at < this.#packed.length - CHUNKS_INFLATED && !this.#isClosed; at++) {
      const { block } = this.#packed[at] as Chunk;
      if (!block.isDeflated) await block.deflate();
    }
    for (const { block } of this.#packed.slice(-CHUNKS_INFLATED)) block.detach();
    this.#recent = undefined;
    this.#isDeflating = false;
  }

  /** Nothing will be asked any more: nothing is deflated for it either. */
  close(): void {
    this.#isClosed = true;
  }

  /** The records exactly as they are now, to be taken out in slices while commits go on. Ends the cut before it, if any. */
  cut(revision: number): LogCut {
    const cut = new LogCut(this, revision, () => {
      if (this.#cut === cut) this.#cut = undefined;
    });
    this.#cut = cut;
    return cut;
  }

  /** For a cut: all that stands of the next chunk after a revision, if nothing of the chunk is newer than `upTo` and none of it lies before. */
  chunkAfter(after: number, upTo: number): StandingChunk | undefined {
    const chunk = this.#packed[this.#firstChunkAfter(after)];
    if (chunk === undefined || chunk.block.first <= after || chunk.block.last > upTo) return undefined;
    const { id, block } = chunk;
    return { records: block.choose((index) => this.#stands(block.slots[index] as number, id, index)), last: block.last };
  }

  /** For a cut: as {@link slice}, but of one chunk. */
  sliceOfChunk(after: number, atLeast: number): ChunkSlice {
    const chunk = this.#packed[this.#firstChunkAfter(after)];
    if (chunk !== undefined) {
      const entries: LogEntry[] = [];
      const isEnough = this.#collect(chunk, { after, atLeast, found: entries });
      return { entries, last: isEnough ? lastOf(entries) : chunk.block.last };
    }
    const entries = this.slice(after, atLeast);
    return { entries, last: entries.length > 0 ? lastOf(entries) : Number.POSITIVE_INFINITY };
  }

  /** Takes a block of records in, whose keys are not there yet and which come after all others. */
  #addBlock(block: RecordBlock): void {
    const id = this.#growingId;
    this.#growingId = this.#newId();
    for (let index = 0; index < block.count; index++) {
      const slot = block.slots[index] as number;
      this.#places.set(slot, placeOf(id, index) + 1);
      this.#isRecord.set(slot, 1);
    }
    this.#present += block.count;
    const chunk = { id, standing: block.count, block };
    this.#chunks.set(id, chunk);
    this.#packed.push(chunk);
  }

  #newId(): number {
    return this.#freeIds.pop() ?? this.#ids++;
  }

  /** The standing entry of a slot, if there is one, stands no longer. */
  #replace(slot: number, key: string): void {
    if (this.#places.at(slot) === 0) return;
    if (this.#isRecord.at(slot) === 1) {
      this.#present--;
      if (this.#cut?.wants(this.#revisionAt(slot)) === true) this.#cut.keep(this.#entryOf(slot, key));
    }
    const chunk = this.#chunkOf(slot);
    if (chunk !== undefined) chunk.standing--;
  }

  /** The packed chunk in which the entry of a slot is; none: it is in the growing one. */
  #chunkOf(slot: number): Chunk | undefined {
    return this.#chunks.get((this.#places.at(slot) - 1) >>> PLACE_BITS);
  }

  #indexOf(slot: number): number {
    return (this.#places.at(slot) - 1) & (BLOCK_ENTRIES_MAX - 1);
  }

  #revisionAt(slot: number): number {
    const chunk = this.#chunkOf(slot);
    const index = this.#indexOf(slot);
    return chunk === undefined ? (this.#growing[index] as LogEntry).revision : chunk.block.revisionAt(index);
  }

  #entryOf(slot: number, key: string): LogEntry {
    const chunk = this.#chunkOf(slot);
    const index = this.#indexOf(slot);
    return chunk === undefined ? (this.#growing[index] as LogEntry) : chunk.block.entryAt(index, key, this.#bytesOf(chunk.block));
  }

  /** The bytes of a block; whoever asks for one record of it often asks for the next. */
  #bytesOf(block: RecordBlock): Buffer {
    if (this.#recent?.block !== block) this.#recent = { block, bytes: block.bytes() };
    return this.#recent.bytes;
  }

  #stands(slot: number, id: number, index: number): boolean {
    return this.#places.at(slot) === placeOf(id, index) + 1;
  }

  /** Adds what stands in a packed chunk; true: that is enough. */
  #collect({ id, block }: Chunk, { after, atLeast, found }: { after: number; atLeast: number; found: LogEntry[] }): boolean {
    const bytes = this.#bytesOf(block);
    for (let index = 0; index < block.count; index++) {
      const slot = block.slots[index] as number;
      const revision = block.revisionAt(index);
      if (revision <= after || !this.#stands(slot, id, index)) continue;
      if (isEnough(found, atLeast, revision)) return true;
      found.push(block.entryAt(index, this.#keys.keyAt(slot), bytes));
    }
    return false;
  }

  #firstChunkAfter(revision: number): number {
    let low = 0;
    let high = this.#packed.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#packed[middle]?.block.last ?? 0) > revision) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Packs what stands of the growing chunk, and begins another. */
  #closeChunk(): void {
    const id = this.#growingId;
    const entries: LogEntry[] = [];
    const slots: number[] = [];
    for (const [index, slot] of this.#growingSlots.entries()) {
      if (!this.#stands(slot, id, index)) continue;
      entries.push(this.#growing[index] as LogEntry);
      slots.push(slot);
    }
    if (entries.length > 0) {
      this.#packed.push(this.#makeChunk(id, entries, slots));
      this.#growingId = this.#newId();
    }
    this.#growing = [];
    this.#growingSlots = [];
    this.#growingChars = 0;
    for (let sweeps = 0; sweeps < SWEEPS_PER_CHUNK; sweeps++) this.#sweep();
    void this.deflateOld();
  }

  #makeChunk(id: number, entries: readonly LogEntry[], slots: readonly number[]): Chunk {
    const chunk = { id, standing: entries.length, block: RecordBlock.pack(entries, slots) };
    for (const [index, slot] of slots.entries()) this.#places.set(slot, placeOf(id, index) + 1);
    this.#chunks.set(id, chunk);
    return chunk;
  }

  /** Packs one old chunk anew if much of it is stale, or if it and the one before fit in one. */
  #sweep(): void {
    if (this.#sweepAt >= this.#packed.length) this.#sweepAt = 0;
    const chunk = this.#packed[this.#sweepAt];
    if (chunk === undefined) return;
    const before = this.#sweepAt > 0 ? this.#packed[this.#sweepAt - 1] : undefined;
    const isJoined = before !== undefined && isOneChunk(before, chunk);
    if (!isJoined && chunk.standing >= FULL_ENOUGH * chunk.block.count) {
      this.#sweepAt++;
      return;
    }
    const old = isJoined ? [before, chunk] : [chunk];
    const entries: LogEntry[] = [];
    for (const each of old) this.#collect(each, { after: 0, atLeast: Number.POSITIVE_INFINITY, found: entries });
    for (const { id } of old) {
      this.#chunks.delete(id);
      this.#freeIds.push(id);
    }
    const slots = entries.map(({ key }) => this.#keys.find(key));
    const joined = entries.length === 0 ? [] : [this.#makeChunk(this.#newId(), entries, slots)];
    const from = this.#sweepAt - (old.length - 1);
    this.#packed.splice(from, old.length, ...joined);
    this.#sweepAt = from + joined.length;
  }

  #rememberDeletion({ key, revision }: LogEntry): void {
    this.#lastDeletion = revision;
    this.#deletions.push({ key, revision });
    if (this.#deletions.length - this.#deletionsAt <= DELETIONS_MAX) return;
    const oldest = this.#deletions[this.#deletionsAt++];
    if (oldest !== undefined) this.#forget(oldest);
    if (this.#deletionsAt < DELETIONS_MAX) return;
    this.#deletions = this.#deletions.slice(this.#deletionsAt);
    this.#deletionsAt = 0;
  }

  #forget({ key, revision }: { readonly key: string; readonly revision: number }): void {
    const slot = this.#keys.find(key);
    if (slot === -1 || this.#isRecord.at(slot) === 1 || this.#revisionAt(slot) !== revision) return;
    this.#replace(slot, key);
    this.#places.set(slot, 0);
    this.#keys.remove(key);
    this.#forgotten = Math.max(this.#forgotten, revision);
  }
}

function placeOf(id: number, index: number): number {
  return id * BLOCK_ENTRIES_MAX + index;
}

function isOneChunk(a: Chunk, b: Chunk): boolean {
  return a.standing + b.standing <= CHUNK_ENTRIES && a.block.sizeBytes + b.block.sizeBytes <= CHUNK_CHARS;
}

function toChange(entry: LogEntry): StateChange {
  const { key, revision, text } = entry;
  return text === undefined ? { key, revision } : { key, revision, record: toRecord(entry) };
}

function lastOf(entries: readonly LogEntry[]): number {
  return entries.at(-1)?.revision ?? 0;
}

function isEnough(found: readonly LogEntry[], atLeast: number, nextRevision: number): boolean {
  const last = found.at(-1);
  return last !== undefined && found.length >= atLeast && last.revision !== nextRevision;
}
