/**
 * A column of numbers, by slot, that may become millions long. It grows by segments: an array that is copied to one of twice the length
 * stalled a store of two million records for 0.2 s each time.
 */

const SEGMENT_BITS = 16;
const SEGMENT_LENGTH = 1 << SEGMENT_BITS;
/** How long the first segment is at first: most tables are small. */
const LEAST_LENGTH = 64;

/** What a column is made of. */
export type Numbers = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** See the file's comment. */
export class Column<T extends Numbers> {
  readonly #kind: new (
    length: number,
  ) => T;
  readonly #segments: T[] = [];

  /** `kind`: which numbers it can hold, such as `Uint8Array`. */
  constructor(kind: new (length: number) => T) {
    this.#kind = kind;
  }

  /** The number of a slot; 0 until it is set. */
  at(slot: number): number {
    return this.#segments[slot >>> SEGMENT_BITS]?.[slot & (SEGMENT_LENGTH - 1)] ?? 0;
  }

  /** Sets the number of a slot. */
  set(slot: number, value: number): void {
    const place = slot & (SEGMENT_LENGTH - 1);
    let segment = this.#segments[slot >>> SEGMENT_BITS];
    if (segment === undefined || place >= segment.length) segment = this.#grow(slot >>> SEGMENT_BITS, place);
    segment[place] = value;
  }

  /** Sets all numbers to 0, and gives their memory back. */
  clear(): void {
    this.#segments.length = 0;
  }

  /** Only the first segment comes in several lengths. */
  #grow(index: number, place: number): T {
    let length = index === 0 ? LEAST_LENGTH : SEGMENT_LENGTH;
    while (length <= place) length *= 2;
    const segment = new this.#kind(length);
    segment.set(this.#segments[index] ?? []);
    this.#segments[index] = segment;
    return segment;
  }
}
