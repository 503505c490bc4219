/**
 * Items from lines: one item per line, pulled as needed, never collected.
 */
import { ID_BYTES, LoopStateError } from '@loopstate/core';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = '\ufeff';
const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A line of text, with its number from 1. */
export interface TextLine {
  readonly text: string;
  readonly number: number;
}

/**
 * The items in a stream of bytes: one per line, empty lines skipped. `source` names the stream in messages.
 *
 * Errors: as {@link textLines}.
 */
export async function* itemLines(chunks: AsyncIterable<Buffer>, source: string): AsyncGenerator<string> {
  for await (const { text } of textLines(chunks, source, ID_BYTES)) if (text !== '') yield text;
}

/**
 * The lines in a stream of bytes, a trailing CR dropped and a byte order mark skipped.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the line that is too long or no text, or because the stream can't be read.
 */
export async function* textLines(chunks: AsyncIterable<Buffer>, source: string, maxBytes: number): AsyncGenerator<TextLine> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let number = 0;
  for await (const chunk of chunksOf(chunks, source)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      number += 1;
      const rest = chunk.subarray(start, end);
      yield { text: textOfLine(pendingBytes === 0 ? rest : Buffer.concat([...pending, rest]), { number, source, maxBytes }), number };
      pending = [];
      pendingBytes = 0;
      start = end + 1;
    }
    if (start < chunk.length) pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    // Refused as soon as it is too long: what has no newline at all must not fill the memory.
    if (pendingBytes > maxBytes + BYTE_ORDER_MARK.length * 3 + 1) throw badLine(number + 1, source, whyTooLong(pendingBytes, maxBytes));
  }
  if (pendingBytes > 0) yield { text: textOfLine(Buffer.concat(pending), { number: number + 1, source, maxBytes }), number: number + 1 };
}

/** What the stream brings. Errors: `LOOPSTATE_BAD_OPTION` when it can't be read. */
export async function* chunksOf(chunks: AsyncIterable<Buffer>, source: string): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', `The items can not be read from ${source}: ${reason}.`, { cause });
  }
}

function textOfLine(
  line: Buffer,
  { number, source, maxBytes }: { readonly number: number; readonly source: string; readonly maxBytes: number },
): string {
  const bytes = line.at(-1) === RETURN ? line.subarray(0, -1) : line;
  let text: string;
  try {
    text = UTF_8.decode(bytes);
  } catch {
    throw badLine(number, source, 'it is not UTF-8, and an item must be text');
  }
  if (number === 1 && text.startsWith(BYTE_ORDER_MARK)) text = text.slice(1);
  const length = Buffer.byteLength(text);
  if (length > maxBytes) throw badLine(number, source, whyTooLong(length, maxBytes));
  return text;
}

function whyTooLong(bytes: number, maxBytes: number): string {
  return `it has ${bytes} bytes or more, and an item may have ${maxBytes}`;
}

function badLine(number: number, source: string, reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `Line ${number} of ${source} can not be an item: ${reason}.`);
}
