/**
 * Keys as words of four bytes, by which they are hashed and compared several times as fast as by their units.
 */

/** The longest key that is spelled. */
export const SPELLED_BYTES_MAX = 0xfff;

/** A key as words: the last one is filled up with zeros. It stands until the next key is spelled. */
export interface Spelling {
  readonly words: Uint32Array;
  /** In bytes. */
  readonly length: number;
  readonly hash: number;
}

const words = new Uint32Array((SPELLED_BYTES_MAX + 1) / 4);
const bytes = new Uint8Array(words.buffer);
const encoder = new TextEncoder();
const spelling = { words, length: 0, hash: 0 };

/** What `spelling` spells: whoever works on a key asks for it several times. */
let spelled: string | undefined;

/** Spells a key; `undefined`: it has other units than ASCII, or is too long, or empty. */
export function spell(key: string): Spelling | undefined {
  if (key === spelled) return spelling;
  if (key.length === 0 || key.length > SPELLED_BYTES_MAX) return undefined;
  const { read, written } = encoder.encodeInto(key, bytes);
  spelled = undefined;
  // Any other unit takes more than a byte.
  if (read !== key.length || written !== key.length) return undefined;
  spelled = key;
  return finish(key.length);
}

/** As {@link spell}, of bytes of which none is above 127, and which are not too many. */
export function spellBytes(source: Uint8Array, start: number, end: number): Spelling {
  spelled = undefined;
  for (let at = start; at < end; at++) bytes[at - start] = source[at] as number;
  return finish(end - start);
}

function finish(length: number): Spelling {
  for (let at = length; (at & 3) !== 0; at++) bytes[at] = 0;
  spelling.length = length;
  spelling.hash = hashOfWords(length);
  return spelling;
}

/** How many words a key of so many bytes has. */
export function wordsFor(length: number): number {
  return (length + 3) >>> 2;
}

/** MurmurHash3 for 32 bits (Austin Appleby, in the public domain), but that the last word is mixed in as any other. */
function hashOfWords(length: number): number {
  let hash = 0;
  for (let at = 0; at < wordsFor(length); at++) {
    let word = Math.imul(words[at] as number, 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
