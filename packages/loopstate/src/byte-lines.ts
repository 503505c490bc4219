/**
 * The lines in a stream of bytes, as they are found in a file that may be damaged: a line that can't be read doesn't end the reading.
 */
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const BYTE_ORDER_MARK = '\ufeff';
const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A line as it was found. */
export interface ByteLine {
  /** From 1. */
  readonly number: number;
  /** Without what ends it; `undefined`: it is no UTF-8, or too long. */
  readonly text: string | undefined;
  /** A newline ends it; without one it may have been longer. */
  readonly isEnded: boolean;
}

/** The lines in `chunks`, a trailing CR dropped and a byte order mark skipped. Errors: what the stream raises. */
export async function* byteLines(chunks: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<ByteLine> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let number = 0;
  const take = (rest: Buffer, isEnded: boolean): ByteLine => {
    number += 1;
    const isTooLong = pendingBytes + rest.length > maxBytes;
    const line = isTooLong ? undefined : pendingBytes === 0 ? rest : Buffer.concat([...pending, rest]);
    pending = [];
    pendingBytes = 0;
    return { number, text: line && textOf(line, number), isEnded };
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield take(chunk.subarray(start, end), true);
      start = end + 1;
    }
    // Of a line that is too long already, no more is kept.
    if (start < chunk.length && pendingBytes <= maxBytes) pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
  }
  if (pendingBytes > 0) yield take(Buffer.alloc(0), false);
}

function textOf(line: Buffer, number: number): string | undefined {
  try {
    const text = UTF_8.decode(line.at(-1) === RETURN ? line.subarray(0, -1) : line);
    return number === 1 && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
  } catch {
    return undefined;
  }
}
