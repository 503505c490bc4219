/**
 * Lines with a checksum: `["<crc32>",<rest>`, where the checksum is eight hexadecimal digits over every byte of `rest`, and
 * `["<crc32>",<rest>` is one JSON array. Each line can be judged alone, so damage costs what it touched and nothing more.
 */
import { crc32 } from 'node:zlib';
import { checksumText } from '@loopstate/core';

const NEWLINE = 0x0a;
const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const OPENING = /\["[0-9a-f]{8}",/g;
const OPENING_BYTES = 12;
/** A bad line is searched for this many lines that damage glued to it. */
const GLUED_LINES_MAX = 64;

/** Text whose JSON is itself between quotes. */
const PLAIN = /^[ !#-[\]-~]*$/;

/** Space is compared in such pieces. */
const ZEROS = Buffer.alloc(1_024);

/** A stretch of bytes: a line whose checksum held, with its members after the checksum; or one that is damaged. */
export interface Stretch {
  readonly start: number;
  /** After the line, its newline not counted. */
  readonly end: number;
  readonly members?: readonly unknown[];
}

/** A key as JSON. `JSON.stringify` takes several times as long, and almost every key needs nothing but quotes. */
export function quoted(key: string): string {
  return PLAIN.test(key) ? `"${key}"` : JSON.stringify(key);
}

/** A checksum as it stands in a file. */
export function checksum(bytes: string | Uint8Array): string {
  return checksumText(crc32(bytes));
}

/** A checksum over several pieces, one after another. */
export function checksumOf(...pieces: readonly Uint8Array[]): string {
  return checksumText(pieces.reduce((running, piece) => crc32(piece, running), 0));
}

/** The line, without its newline, whose array goes on with `rest` (which ends with the closing bracket). */
export function sealLine(rest: string): string {
  return `["${checksum(rest)}",${rest}`;
}

/** Where the trailing zeros of `bytes` begin. */
export function endOfContent(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end >= ZEROS.length && ZEROS.equals(bytes.subarray(end - ZEROS.length, end))) end -= ZEROS.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

/** Every line between `start` and `end`: valid ones as such, all other bytes (newlines and zeros before a line aside) as damaged. */
export function* readLines(bytes: Buffer, start: number, end: number): Generator<Stretch> {
  let at = start;
  while (at < end) {
    const newline = bytes.indexOf(NEWLINE, at);
    const lineEnd = newline === -1 || newline > end ? end : newline;
    if (lineEnd > at) yield* readLine(bytes, at, lineEnd);
    at = lineEnd + 1;
  }
}

function* readLine(bytes: Buffer, start: number, end: number): Generator<Stretch> {
  const members = openLine(bytes, start, end);
  if (members !== undefined) {
    yield { start, end, members };
    return;
  }
  // The newline before a sound line may be what was damaged: look for lines that are glued to this one.
  let pending = start;
  for (const opening of gluedOpenings(bytes, start, end)) {
    const glued = openLine(bytes, opening, end);
    if (glued === undefined) continue;
    yield* readGluedHead(bytes, pending, opening);
    yield { start: opening, end, members: glued };
    pending = end;
    break;
  }
  if (pending < end) yield* readGluedHead(bytes, pending, end);
}

/** What stands before a glued line, or alone: perhaps a sound line, and something else in place of its newline and of what followed. */
function* readGluedHead(bytes: Buffer, start: number, end: number): Generator<Stretch> {
  const starts = [start, ...gluedOpenings(bytes, start, end)];
  const ends = [endOfArray(bytes, start, end), ...starts.slice(1).map((next) => next - 1), end - 1, end];
  let at = start;
  for (const from of starts) {
    if (from < at) continue;
    const to = ends.find((candidate) => candidate > from && openLine(bytes, from, candidate) !== undefined);
    if (to === undefined) continue;
    if (from > at) yield { start: at, end: from };
    yield { start: from, end: to, members: openLine(bytes, from, to) ?? [] };
    at = to;
  }
  if (at < end) yield { start: at, end };
}

function gluedOpenings(bytes: Buffer, start: number, end: number): number[] {
  const text = bytes.toString('latin1', start, end);
  const found: number[] = [];
  for (const match of text.matchAll(OPENING)) {
    if (match.index > 0) found.push(start + match.index);
    if (found.length === GLUED_LINES_MAX) break;
  }
  return found;
}

/** Where the JSON array that begins at `start` ends; `end` if it does not. */
function endOfArray(bytes: Buffer, start: number, end: number): number {
  let depth = 0;
  let isInString = false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (isInString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) isInString = false;
    } else if (byte === QUOTE) isInString = true;
    else if (byte === OPENING_BRACKET) depth++;
    else if (byte === CLOSING_BRACKET && --depth === 0) return at + 1;
  }
  return end;
}

/** The members after the checksum, if the line from `start` to `end` is sound. A comma may follow it. */
function openLine(bytes: Buffer, start: number, end: number): unknown[] | undefined {
  const sealed = bytes[end - 1] === COMMA ? end - 1 : end;
  if (sealed - start < OPENING_BYTES || bytes[start] !== OPENING_BRACKET || bytes[start + 1] !== QUOTE) return undefined;
  const body = bytes.subarray(start + OPENING_BYTES, sealed);
  if (bytes.toString('latin1', start + 2, start + 10) !== checksum(body)) return undefined;
  try {
    return JSON.parse(`[${body.toString()}`) as unknown[];
  } catch {
    return undefined; // A checksum can hold by chance.
  }
}
