/**
 * Items from lines: one item per line, pulled as needed, never collected.
 */
import { isUtf8 } from 'node:buffer';
import { ID_BYTES, isError, LoopStateError } from '@loopstate/core';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = '\ufeff';
const CHARACTER_BYTES_MAX = 4;
const NO_TEXT = 'it is not UTF-8, and an item must be text';

/** A line of text, with its number from 1. */
export interface TextLine {
  readonly text: string;
  readonly number: number;
}

/**
 * The items in a stream of bytes: one per line, empty lines skipped; those of a chunk come together, since handing on a hundred thousand one
 * by one takes longer than reading them. `source` names the stream in messages.
 *
 * Errors: as {@link textLines}.
 */
export async function* itemLines(chunks: AsyncIterable<Buffer>, source: string): AsyncGenerator<readonly string[]> {
  for await (const { texts } of linesOfChunks(chunks, source, ID_BYTES)) yield texts.filter((text) => text !== '');
}

/**
 * The lines in a stream of bytes, a trailing CR dropped and a byte order mark skipped.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the line that is too long or no text, or because the stream can't be read.
 */
export async function* textLines(chunks: AsyncIterable<Buffer>, source: string, maxBytes: number): AsyncGenerator<TextLine> {
  for await (const { texts, first } of linesOfChunks(chunks, source, maxBytes)) {
    for (const [index, text] of texts.entries()) yield { text, number: first + index };
  }
}

/** Lines that came together. */
interface Lines {
  readonly texts: readonly string[];
  /** The number of the first, from 1. */
  readonly first: number;
}

/** The same, those that end in one chunk together. */
async function* linesOfChunks(chunks: AsyncIterable<Buffer>, source: string, maxBytes: number): AsyncGenerator<Lines> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let first = 1;
  const limits = { source, maxBytes };
  for await (const chunk of chunksOf(chunks, source)) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      const texts: string[] = [];
      try {
        readLines(pendingBytes === 0 ? chunk.subarray(0, end) : Buffer.concat([...pending, chunk.subarray(0, end)]), texts, first, limits);
      } finally {
        // Those before a bad one are good.
        yield { texts, first };
      }
      first += texts.length;
      pending = [];
      pendingBytes = 0;
    }
    if (end < chunk.length) pending.push(chunk.subarray(end));
    pendingBytes += chunk.length - end;
    // Refused as soon as it is too long: what has no newline at all must not fill the memory.
    if (pendingBytes > maxBytes + BYTE_ORDER_MARK.length * 3 + 1) throw badLine(first, source, whyTooLong(pendingBytes, maxBytes));
  }
  if (pendingBytes === 0) return;
  const texts: string[] = [];
  readLines(Buffer.concat([...pending, Buffer.of(NEWLINE)]), texts, first, limits);
  yield { texts, first };
}

/** What the stream brings. Errors: `LOOPSTATE_BAD_OPTION` when it can't be read. */
export async function* chunksOf(chunks: AsyncIterable<Buffer>, source: string): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (cause) {
    const reason = isError(cause) ? cause.message : String(cause);
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', `The items can not be read from ${source}: ${reason}.`, { cause });
  }
}

/**
 * What the stream brings, cut between characters; lines may end in LF, CR LF or CR.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the line that is no text, or because the stream can't be read.
 */
export async function* textChunks(chunks: AsyncIterable<Buffer>, source: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 1;
  let last = 0;
  const checked = (bytes: Buffer): Buffer => {
    const isText = isUtf8(bytes);
    let start = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === RETURN || byte === NEWLINE) {
        if (!isText && !isUtf8(bytes.subarray(start, at))) throw badLine(number, source, NO_TEXT);
        start = at + 1;
        if (byte === RETURN || last !== RETURN) number += 1;
      }
      last = byte;
    }
    if (!isText) throw badLine(number, source, NO_TEXT);
    return bytes;
  };
  for await (const chunk of chunksOf(chunks, source)) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const end = startOfLast(bytes);
    yield checked(bytes.subarray(0, end));
    rest = bytes.subarray(end);
  }
  yield checked(rest);
}

/** Where a character begins that the next bytes may go on with; the end, if there is none. */
function startOfLast(bytes: Buffer): number {
  let start = bytes.length - 1;
  while (start > 0 && bytes.length - start < CHARACTER_BYTES_MAX && ((bytes[start] ?? 0) & 0xc0) === 0x80) start -= 1;
  return (bytes[start] ?? 0) < 0x80 ? bytes.length : start;
}

/** Adds the lines of `bytes`, the last of which ends too, to `texts`; `first` is the number of the first. Throws at a bad one. */
function readLines(
  bytes: Buffer,
  texts: string[],
  first: number,
  { source, maxBytes }: { readonly source: string; readonly maxBytes: number },
): void {
  // A newline is never a part of another character: if all is text, each line is.
  const isText = isUtf8(bytes);
  for (let start = 0; start < bytes.length; ) {
    const number = first + texts.length;
    const newline = bytes.indexOf(NEWLINE, start);
    const end = newline > start && bytes[newline - 1] === RETURN ? newline - 1 : newline;
    if (!isText && !isUtf8(bytes.subarray(start, end))) throw badLine(number, source, NO_TEXT);
    let text = bytes.toString('utf8', start, end);
    if (number === 1 && text.startsWith(BYTE_ORDER_MARK)) text = text.slice(1);
    if (end - start > maxBytes && Buffer.byteLength(text) > maxBytes) throw badLine(number, source, whyTooLong(end - start, maxBytes));
    texts.push(text);
    start = newline + 1;
  }
}

function whyTooLong(bytes: number, maxBytes: number): string {
  return `it has ${bytes} bytes or more, and an item may have ${maxBytes}`;
}

function badLine(number: number, source: string, reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `Line ${number} of ${source} can not be an item: ${reason}.`);
}
