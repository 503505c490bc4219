/**
 * Items from lines: one item per line, pulled as needed, never collected.
 */
import { ID_BYTES, LoopStateError } from '@loopstate/core';

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = '\ufeff';
const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The items in a stream of bytes: one per line, a trailing CR dropped, empty lines and a byte order mark skipped. `source` names the
 * stream in messages.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the line that can't be an item, and what the stream raises.
 */
export async function* itemLines(chunks: AsyncIterable<Buffer>, source: string): AsyncGenerator<string> {
  let pending: Buffer = Buffer.alloc(0);
  let number = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      number += 1;
      const rest = chunk.subarray(start, end);
      const item = itemOfLine(pending.length === 0 ? rest : Buffer.concat([pending, rest]), number, source);
      if (item !== '') yield item;
      pending = Buffer.alloc(0);
      start = end + 1;
    }
    pending = Buffer.concat([pending, chunk.subarray(start)]);
    // Refused as soon as it is too long: what has no newline at all must not fill the memory.
    if (pending.length > ID_BYTES + BYTE_ORDER_MARK.length * 3 + 1) throw badLine(number + 1, source, whyTooLong(pending.length));
  }
  const last = itemOfLine(pending, number + 1, source);
  if (last !== '') yield last;
}

/** An item, or an empty string for a line without one. */
function itemOfLine(line: Buffer, number: number, source: string): string {
  const bytes = line.at(-1) === RETURN ? line.subarray(0, -1) : line;
  let text: string;
  try {
    text = UTF_8.decode(bytes);
  } catch {
    throw badLine(number, source, 'it is not UTF-8, and an item must be text');
  }
  if (number === 1 && text.startsWith(BYTE_ORDER_MARK)) text = text.slice(1);
  const length = Buffer.byteLength(text);
  if (length > ID_BYTES) throw badLine(number, source, whyTooLong(length));
  return text;
}

function whyTooLong(bytes: number): string {
  return `it has ${bytes} bytes or more, and an item may have ${ID_BYTES}`;
}

function badLine(number: number, source: string, reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `Line ${number} of ${source} can not be an item: ${reason}.`);
}
