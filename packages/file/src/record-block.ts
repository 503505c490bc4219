/**
 * Records that are packed together, as bytes: `["key",revision,at,value]` after another with commas between, just as they stand in a line of a
 * snapshot. Once nothing is likely to be asked of them any more, they are deflated.
 *
 * **Invariants:**
 * - The records are in the order of revisions; their number and their bytes never change.
 * - A deletion has no bytes.
 * - The bytes are there in one of the two forms, as they are or deflated.
 */
import { promisify } from 'node:util';
import { deflateRaw, inflateRaw, inflateRawSync } from 'node:zlib';
import type { Json, StateRecord } from '@loopstate/core';
import { quoted } from './lines.js';
import type { LogEntry } from './record-log.js';

const QUOTE = 0x22;
const COMMA = 0x2c;
const ZERO = 0x30;
const NINE = 0x39;
const OPENING_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSING_BRACKET = 0x5d;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const ASCII_LAST = 0x7f;
const UINT32_MAX = 0xffff_ffff;

/** More than a line ever has. */
export const BLOCK_ENTRIES_MAX = 2_048;

/** What stands between two records. */
const BETWEEN = Buffer.from(',');

const inflate: (bytes: Buffer) => Promise<Buffer> = promisify(inflateRaw);

/** The fastest: records are much alike, so more effort gains little. */
const DEFLATE = { level: 1 } as const;

/** Gives a key a slot: by its bytes where they spell it, else as text. */
export interface KeyVisitor {
  bytes(bytes: Uint8Array, start: number, end: number): number;
  text(key: string): number;
}

/** Some records of a block, as they were when they were chosen. */
export interface ChosenRecords {
  readonly count: number;
  /** Their bytes with commas between, as they stand in a line; what is deflated is inflated on another thread. */
  bytes(): Promise<Buffer>;
}

/** See the file's comment. */
export class RecordBlock {
  readonly count: number;
  /** The smallest revision. */
  readonly first: number;
  /** By how much that of each record is larger. */
  readonly #beyondFirst: Uint32Array | Float64Array;
  /** Of each record the slot of its key. */
  readonly slots: Int32Array;
  /** Where each record ends. */
  readonly #ends: Uint32Array;
  /** Of each record where its key begins and ends, until the keys have slots; the end is negative where the bytes do not spell it. */
  #keyPlaces: Int32Array | undefined;
  #bytes: Buffer | undefined;
  #deflated: Buffer | undefined;

  private constructor(parts: { bytes: Buffer; ends: Uint32Array; revisions: Float64Array; slots: Int32Array }) {
    const { revisions } = parts;
    this.count = parts.ends.length;
    this.first = revisions[0] ?? 0;
    const isFar = (revisions.at(-1) ?? 0) - this.first > UINT32_MAX;
    this.#beyondFirst = isFar ? new Float64Array(this.count) : new Uint32Array(this.count);
    for (let index = 0; index < this.count; index++) this.#beyondFirst[index] = (revisions[index] as number) - this.first;
    this.slots = parts.slots;
    this.#ends = parts.ends;
    this.#bytes = parts.bytes;
  }

  /** Packs entries whose keys have these slots. */
  static pack(entries: readonly LogEntry[], slots: readonly number[]): RecordBlock {
    const ends = new Uint32Array(entries.length);
    const revisions = new Float64Array(entries.length);
    const texts: string[] = [];
    let end = 0;
    for (const [index, entry] of entries.entries()) {
      revisions[index] = entry.revision;
      if (entry.text !== undefined) {
        const text = encodeRecord(entry);
        end += (texts.length > 0 ? 1 : 0) + Buffer.byteLength(text);
        texts.push(text);
      }
      ends[index] = end;
    }
    return new RecordBlock({ bytes: Buffer.from(texts.join(',')), ends, revisions, slots: Int32Array.from(slots) });
  }

  /**
   * Takes the records between the brackets of a line, whose checksum held; their keys have no slots yet. `undefined`: they are not written as
   * this release does it, though they may be sound.
   */
  static ofLine(bytes: Buffer): RecordBlock | undefined {
    const count = findRecords(bytes);
    if (count === undefined) return undefined;
    const block = new RecordBlock({
      bytes,
      ends: FOUND.ends.slice(0, count),
      revisions: FOUND.revisions.subarray(0, count),
      slots: new Int32Array(count),
    });
    block.#keyPlaces = FOUND.keyPlaces.slice(0, 2 * count);
    return block;
  }

  /** Gives the keys of a line slots. */
  placeKeys(keys: KeyVisitor): void {
    const places = this.#keyPlaces;
    if (places === undefined) return;
    const bytes = this.bytes();
    for (let index = 0; index < this.count; index++) {
      const [start, end] = [places[2 * index] as number, places[2 * index + 1] as number];
      this.slots[index] = end > 0 ? keys.bytes(bytes, start, end) : keys.text(keyText(bytes, start, -end));
    }
    this.#keyPlaces = undefined;
  }

  /** The records of a line whose keys have no slots yet. */
  entries(): LogEntry[] {
    const places = this.#keyPlaces ?? new Int32Array();
    const bytes = this.bytes();
    return Array.from({ length: this.count }, (_, index) =>
      this.entryAt(index, keyText(bytes, places[2 * index] as number, Math.abs(places[2 * index + 1] as number)), bytes),
    );
  }

  /** The largest revision. */
  get last(): number {
    return this.count === 0 ? 0 : this.revisionAt(this.count - 1);
  }

  /** The revision of a record. */
  revisionAt(index: number): number {
    return this.first + (this.#beyondFirst[index] as number);
  }

  /** How many bytes its records have, inflated. */
  get sizeBytes(): number {
    return this.#ends[this.count - 1] ?? 0;
  }

  /** All bytes, of all records; not to be kept. */
  bytes(): Buffer {
    return this.#bytes ?? inflateRawSync(this.#deflated as Buffer);
  }

  /** Chooses records, none of them a deletion, without making values of them. */
  choose(isChosen: (index: number) => boolean): ChosenRecords {
    const stretches: { readonly start: number; end: number }[] = [];
    let count = 0;
    for (let index = 0; index < this.count; index++) {
      if (this.isDeletion(index) || !isChosen(index)) continue;
      count++;
      const [start, end] = [this.#startOf(index), this.#ends[index] as number];
      const before = stretches.at(-1);
      if (before !== undefined && before.end + 1 === start) before.end = end;
      else stretches.push({ start, end });
    }
    return { count, bytes: () => this.#bytesOf(stretches) };
  }

  /** Rejects if what is deflated can't be inflated, which would be a defect of memory. */
  async #bytesOf(stretches: readonly { readonly start: number; readonly end: number }[]): Promise<Buffer> {
    const bytes = this.#bytes ?? (await inflate(this.#deflated as Buffer));
    const [first, ...others] = stretches.map(({ start, end }) => bytes.subarray(start, end));
    if (first === undefined) return Buffer.alloc(0);
    return others.length === 0 ? first : Buffer.concat([first, ...others.flatMap((piece) => [BETWEEN, piece])]);
  }

  isDeletion(index: number): boolean {
    return this.#ends[index] === this.#endBefore(index);
  }

  /** One record, whose key is known; `bytes`: those of the block. */
  entryAt(index: number, key: string, bytes: Buffer): LogEntry {
    const revision = this.revisionAt(index);
    if (this.isDeletion(index)) return { key, revision, at: 0, text: undefined };
    const text = bytes.toString('utf8', this.#startOf(index), this.#ends[index]);
    const atStart = 3 + quoted(key).length + String(revision).length;
    const atEnd = text.indexOf(',', atStart);
    return { key, revision, at: Number(text.slice(atStart, atEnd)), text: text.slice(atEnd + 1, -1) };
  }

  /** All records, with fresh copies of their values; `undefined` in place of a deletion. `bytes`: those of the block. */
  decode(bytes: Buffer): (StateRecord | undefined)[] {
    const rows = JSON.parse(`[${bytes.toString()}]`) as [key: string, revision: number, at: number, value: Json][];
    let next = 0;
    return Array.from(this.#ends, (_, index) => {
      if (this.isDeletion(index)) return undefined;
      const [key, revision, at, value] = rows[next++] as (typeof rows)[number];
      return { key, value, revision, at };
    });
  }

  get isDeflated(): boolean {
    return this.#bytes === undefined;
  }

  /** Deflates the bytes, on another thread. Never rejects: they stay as they are then. */
  deflate(): Promise<void> {
    const bytes = this.#bytes;
    if (bytes === undefined) return Promise.resolve();
    return new Promise((resolve) => {
      deflateRaw(bytes, DEFLATE, (error, deflated) => {
        if (error === null) {
          // A copy: what comes back has room that is not used.
          this.#deflated = Buffer.from(deflated);
          this.#bytes = undefined;
        }
        resolve();
      });
    });
  }

  /** Keeps no more than the bytes of this block alive, and not all of the file that they were read from. */
  detach(): void {
    if (this.#bytes !== undefined && this.#bytes.buffer.byteLength > this.#bytes.length) this.#bytes = Buffer.from(this.#bytes);
  }

  #startOf(index: number): number {
    const before = this.#endBefore(index);
    return before === 0 ? 0 : before + 1;
  }

  #endBefore(index: number): number {
    return index === 0 ? 0 : (this.#ends[index - 1] as number);
  }
}

/** A record as it stands in a line. */
export function encodeRecord({ key, revision, at, text }: LogEntry): string {
  return `[${quoted(key)},${revision},${at},${text}]`;
}

function keyText(bytes: Buffer, start: number, end: number): string {
  return JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string;
}

/** Where the records of the line that was looked at last are; as in {@link RecordBlock}. */
const FOUND = {
  ends: new Uint32Array(BLOCK_ENTRIES_MAX),
  revisions: new Float64Array(BLOCK_ENTRIES_MAX),
  keyPlaces: new Int32Array(2 * BLOCK_ENTRIES_MAX),
} as const;

/** Finds the records in the bytes of a line, without making values of them; `undefined`: they are too many, or not written as expected. */
function findRecords(bytes: Uint8Array): number | undefined {
  const { ends, revisions, keyPlaces } = FOUND;
  const { length } = bytes;
  let at = 0;
  let count = 0;
  while (at < length) {
    if (count === BLOCK_ENTRIES_MAX) return undefined;
    if (at > 0 && bytes[at++] !== COMMA) return undefined;
    if (bytes[at++] !== OPENING_BRACKET || bytes[at++] !== QUOTE) return undefined;
    const start = at;
    let isPlain = true;
    for (; at < length && bytes[at] !== QUOTE; at++) {
      if ((bytes[at] as number) > ASCII_LAST) isPlain = false;
      if (bytes[at] !== BACKSLASH) continue;
      isPlain = false;
      at++;
    }
    keyPlaces[2 * count] = start;
    keyPlaces[2 * count + 1] = isPlain ? at : -at;
    if (bytes[at++] !== QUOTE || bytes[at++] !== COMMA) return undefined;
    let revision = 0;
    for (; isDigit(bytes[at]); at++) revision = revision * 10 + (bytes[at] as number) - ZERO;
    if (bytes[at++] !== COMMA) return undefined;
    while (isDigit(bytes[at])) at++;
    if (bytes[at++] !== COMMA) return undefined;
    at = endOfRecord(bytes, at);
    if (at === -1) return undefined;
    revisions[count] = revision;
    ends[count++] = at;
  }
  return count;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

/** Behind the bracket that ends the record whose value begins at `start`; -1: there is none. */
function endOfRecord(bytes: Uint8Array, start: number): number {
  const { length } = bytes;
  let depth = 0;
  for (let at = start; at < length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      for (at++; bytes[at] !== QUOTE; at++) {
        if (at >= length) return -1;
        if (bytes[at] === BACKSLASH) at++;
      }
    } else if (byte === OPENING_BRACKET || byte === OPENING_BRACE) depth++;
    else if (byte === CLOSING_BRACE) depth--;
    else if (byte === CLOSING_BRACKET && depth-- === 0) return at + 1;
  }
  return -1;
}
