/**
 * Ids that a command is to act on: named one by one, or read from standard input, never collected.
 */
import { ID_BYTES, LoopStateError } from '@loopstate/core';
import { standardInput } from './input-file.js';
import { chunksOf, textLines } from './item-lines.js';

/** So many are acted on in one go. */
const BATCH_IDS = 500;

const NUL = 0x00;

/** How ids are separated on standard input. */
export interface IdSourceOptions {
  readonly isNull: boolean;
}

/** The ids of a command line; `-` stands for those on standard input, one per line. Errors: `LOOPSTATE_BAD_OPTION`, what the stream raises. */
export async function* namedIds(words: readonly string[], options: IdSourceOptions): AsyncGenerator<string> {
  for (const word of words) {
    if (word === '-') yield* idsIn(standardInput(), 'standard input', options);
    else yield word;
  }
}

/** The ids in a stream of bytes; empty ones are skipped. Errors: as {@link namedIds}. */
export async function* idsIn(chunks: AsyncIterable<Buffer>, source: string, { isNull }: IdSourceOptions): AsyncGenerator<string> {
  if (!isNull) {
    for await (const { text } of textLines(chunks, source, ID_BYTES)) if (text !== '') yield text;
    return;
  }
  let pending: Buffer = Buffer.alloc(0);
  let number = 0;
  for await (const chunk of chunksOf(chunks, source)) {
    const bytes = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    let start = 0;
    for (let end = bytes.indexOf(NUL); end >= 0; end = bytes.indexOf(NUL, start)) {
      number += 1;
      if (end > start) yield idOf(bytes.subarray(start, end), number, source);
      start = end + 1;
    }
    pending = bytes.subarray(start);
    // What has no NUL at all must not fill the memory.
    if (pending.length > ID_BYTES) idOf(pending, number + 1, source);
  }
  if (pending.length > 0) yield idOf(pending, number + 1, source);
}

/** The same ids, some hundred at a time. */
export async function* inBatches(ids: AsyncIterable<string>): AsyncGenerator<ReadonlySet<string>> {
  let batch = new Set<string>();
  for await (const id of ids) {
    batch.add(id);
    if (batch.size < BATCH_IDS) continue;
    yield batch;
    batch = new Set();
  }
  if (batch.size > 0) yield batch;
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function idOf(bytes: Buffer, number: number, source: string): string {
  if (bytes.length > ID_BYTES) throw badId(number, source, `it has ${bytes.length} bytes or more, and an id may have ${ID_BYTES}`);
  try {
    return UTF_8.decode(bytes);
  } catch {
    throw badId(number, source, 'it is not UTF-8');
  }
}

function badId(number: number, source: string, reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `Id ${number} of ${source} can be none: ${reason}.`);
}
