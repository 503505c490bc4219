/**
 * Items from lines: one item per line, pulled as needed, never collected.
 */
import { isUtf8 } from 'node:buffer';
import { ID_BYTES, LoopStateError } from '@loopstate/core';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = '\ufeff';
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
  for await (const lines of linesOfChunks(chunks, source, ID_BYTES)) yield lines.map(({ text }) => text).filter((text) => text !== '');
}

/**
 * The lines in a stream of bytes, a trailing CR dropped and a byte order mark skipped.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the line that is too long or no text, or because the stream can't be read.
 */
export async function* textLines(chunks: AsyncIterable<Buffer>, source: string, maxBytes: number): AsyncGenerator<TextLine> {
  for await (const lines of linesOfChunks(chunks, source, maxBytes)) yield* lines;
}

/** The same, those that end in one chunk together. */
async function* linesOfChunks(chunks: AsyncIterable<Buffer>, source: string, maxBytes: number): AsyncGenerator<readonly TextLine[]> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let number = 0;
  for await (const chunk of chunksOf(chunks, source)) {
    const lines: TextLine[] = [];
    let start = 0;
    try {
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        number += 1;
        const rest = chunk.subarray(start, end);
        lines.push({
          text: textOfLine(pendingBytes === 0 ? rest : Buffer.concat([...pending, rest]), { number, source, maxBytes }),
          number,
        });
        pending = [];
        pendingBytes = 0;
        start = end + 1;
      }
    } finally {
      // Those before a bad one are good.
      yield lines;
    }
    if (start < chunk.length) pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    // Refused as soon as it is too long: what has no newline at all must not fill the memory.
    if (pendingBytes > maxBytes + BYTE_ORDER_MARK.length * 3 + 1) throw badLine(number + 1, source, whyTooLong(pendingBytes, maxBytes));
  }
  if (pendingBytes > 0) yield [{ text: textOfLine(Buffer.concat(pending), { number: number + 1, source, maxBytes }), number: number + 1 }];
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
  if (!isUtf8(bytes)) throw badLine(number, source, 'it is not UTF-8, and an item must be text');
  let text = bytes.toString();
  if (number === 1 && text.startsWith(BYTE_ORDER_MARK)) text = text.slice(1);
  if (bytes.length > maxBytes && Buffer.byteLength(text) > maxBytes) throw badLine(number, source, whyTooLong(bytes.length, maxBytes));
  return text;
}

function whyTooLong(bytes: number, maxBytes: number): string {
  return `it has ${bytes} bytes or more, and an item may have ${maxBytes}`;
}

function badLine(number: number, source: string, reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `Line ${number} of ${source} can not be an item: ${reason}.`);
}
