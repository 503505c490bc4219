/**
 * Items from rows: JSON Lines, or CSV with a header. Pulled as needed, never collected.
 */
import { pipeline, Readable } from 'node:stream';
import { ID_BYTES, LoopStateError } from '@loopstate/core';
import type { InputItem } from './item-input.js';
import { textChunks, textLines } from './item-lines.js';
import { changedNumber } from './json-numbers.js';
import { visibleStart } from './visible-text.js';

/** The most bytes that one row may have. */
const ROW_BYTES_MAX = 1_024 * 1_024;

/** What ends a record outside of quotes. Told to find it out, the parser knows only that of the header. */
const RECORD_ENDS = ['\r\n', '\n', '\r'];

/** Where rows come from, and which of their fields is the id. */
export interface RowOptions {
  /** Names the stream in messages. */
  readonly source: string;
  readonly idField: string;
}

/**
 * The items in JSON Lines: an object per line; blank lines are skipped. Its id is the text of a string, a number or a boolean. `names` are
 * the fields that are looked at besides: no number in them, or in the id, may be one that is changed by reading it, since two ids could
 * become one.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the line, or because the stream can't be read.
 */
export async function* jsonRows(
  chunks: AsyncIterable<Buffer>,
  { source, idField, names }: RowOptions & { readonly names: readonly string[] },
): AsyncGenerator<InputItem> {
  const lookedAt = new Set([idField, ...names]);
  let n = 0;
  for await (const { text, number } of textLines(chunks, source, ROW_BYTES_MAX)) {
    if (text.trim() === '') continue;
    n += 1;
    const row = parseRow(text, { source, number });
    const changed = changedNumber(text, lookedAt);
    if (changed !== undefined) {
      throw badRow(
        `Line ${number} of ${source}`,
        `the number ${visibleStart(changed.written, 40)} in its field ${JSON.stringify(changed.field)} changes when it is read; write it as a string`,
      );
    }
    const id = Object.hasOwn(row, idField) ? row[idField] : undefined;
    if (typeof id !== 'string' && typeof id !== 'number' && typeof id !== 'boolean') {
      throw badRow(`Line ${number} of ${source}`, `its field ${JSON.stringify(idField)} is ${id === undefined ? 'missing' : 'no text'}`);
    }
    const fields = Object.fromEntries(Object.entries(row).map(([name, value]) => [name, textOf(value)]));
    yield { id: checkedId(String(id), idField, `Line ${number} of ${source}`), text, n, row: text, fields };
  }
}

/**
 * The items in CSV (RFC 4180, comma-separated, a byte order mark skipped, each record ended by CR LF, LF or CR), whose first record names
 * the fields.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` with the number of the record, or of the line that is no text, or when the header has the id or a
 * field of `fields` not once, or because the stream can't be read.
 */
export async function* csvRows(
  chunks: AsyncIterable<Buffer>,
  { source, idField, fields }: RowOptions & { readonly fields: readonly string[] },
): AsyncGenerator<InputItem> {
  const { CsvError, parse } = await import('csv-parse');
  const onHeader = (header: readonly string[]): string[] => {
    for (const field of [idField, ...fields]) {
      if (!header.includes(field))
        throw badRow(
          `The header of ${source}`,
          `it has no field ${JSON.stringify(field)}; it has ${header.map((name) => JSON.stringify(name)).join(', ')}`,
        );
      if (header.indexOf(field) !== header.lastIndexOf(field))
        throw badRow(`The header of ${source}`, `it has the field ${JSON.stringify(field)} more than once`);
    }
    return [...header];
  };
  const parser = parse({
    columns: onHeader,
    bom: true,
    skip_empty_lines: true,
    max_record_size: ROW_BYTES_MAX,
    record_delimiter: RECORD_ENDS,
  });
  // What fails in the stream is raised again by the parser, below.
  pipeline(Readable.from(textChunks(chunks, source), { objectMode: false }), parser, () => undefined);
  let n = 0;
  try {
    for await (const record of parser) {
      n += 1;
      const row = record as Readonly<Record<string, string>>;
      const id = checkedId(row[idField] ?? '', idField, `Record ${n} of ${source}`);
      yield { id, text: id, n, row: JSON.stringify(row), fields: row };
    }
  } catch (cause) {
    // The parser is ahead of those that were taken from it.
    if (cause instanceof CsvError) throw badRow(`Record ${Number(cause.records) + 1} of ${source}`, cause.message, cause);
    throw cause;
  }
}

/** Seen here, a row whose id can be none is known before anything runs, like all else that is wrong with rows. */
function checkedId(id: string, idField: string, where: string): string {
  const isTooLong = Buffer.byteLength(id) > ID_BYTES;
  const why = id === '' ? 'is empty' : isTooLong ? `has more than ${ID_BYTES} bytes` : id.isWellFormed() ? undefined : 'is no whole text';
  if (why !== undefined) throw badRow(where, `its field ${JSON.stringify(idField)} ${why}`);
  return id;
}

function parseRow(
  text: string,
  { source, number }: { readonly source: string; readonly number: number },
): Readonly<Record<string, unknown>> {
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch (cause) {
    throw badRow(`Line ${number} of ${source}`, 'it is not JSON', cause);
  }
  if (typeof row === 'object' && row !== null && !Array.isArray(row)) return row as Readonly<Record<string, unknown>>;
  throw badRow(`Line ${number} of ${source}`, 'it is no JSON object');
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === null ? '' : JSON.stringify(value);
}

function badRow(where: string, reason: string, cause?: unknown): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${where} can not be an item: ${reason}.`, { cause });
}
