/**
 * What can be imported, found out from a file: an export of loopstate, one of the two older formats, or a job log of GNU parallel. All of it is
 * read once before anything is imported, so what is refused has changed nothing.
 */
import { constants, isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import {
  isError,
  isOldFormat,
  itemsFromOldFormat,
  type Json,
  LoopStateError,
  type MovableEntry,
  refuseUnknownOptions,
  whyNotMovable,
} from '@loopstate/core';
import { type OldFile, parseOldFile } from '@loopstate/file';
import { byteLines } from './byte-lines.js';
import { ExportReader } from './export-reader.js';
import { endsBySeq, JOB_LOG_START, jobsByCommand, jobsByLine } from './job-log.js';

/** The formats that can be imported: our own, the two older ones, and the job log of GNU parallel. */
export const IMPORT_FORMATS = ['jsonl', 'v1', 'v2', 'joblog'] as const;

/** One of {@link IMPORT_FORMATS}. */
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

/** Options of {@link openImport}. */
export interface ImportOptions {
  /** Default: what the beginning of the file says. */
  readonly format?: ImportFormat | undefined;
  /** The file from which GNU parallel took its arguments, one per line. */
  readonly itemsPath?: string | undefined;
  /** Leaves out what can not be read, where else the whole is refused. */
  readonly isPartial?: boolean | undefined;
  /** Names the file in messages. Default: its path. */
  readonly source?: string | undefined;
  /** The same for the file of the arguments. */
  readonly itemsSource?: string | undefined;
}

/** A file that can be imported. */
export interface ImportSource {
  readonly format: ImportFormat;
  /** What was spent on no item, in US dollars. */
  readonly carriedUsd: number;
  /** How many lines, or entries of an older format, were left out because they can not be read, or can be no item. */
  readonly leftOut: number;
  /** Nothing is missing, as far as the format can tell. */
  readonly isWhole: boolean;
  /** The items, from the beginning each time; of an id that comes twice, its last entry. Errors: as {@link openImport}. */
  items(): AsyncIterable<MovableEntry>;
}

/** The most bytes that are looked at to tell the format. */
const START_BYTES = 4_096;

/**
 * Finds out what the file at `path` is, and reads it through once.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` (it can't be read; options that don't fit), `LOOPSTATE_FOREIGN` (it is none of these; it is damaged or cut,
 * unless `isPartial`), `LOOPSTATE_NEWER_FORMAT`.
 */
export async function openImport(path: string, options: ImportOptions = {}): Promise<ImportSource> {
  refuseUnknownOptions(options, ['format', 'itemsPath', 'isPartial', 'source', 'itemsSource']);
  const { itemsPath, isPartial = false, source = path, itemsSource = itemsPath } = options;
  if (options.format !== undefined && !IMPORT_FORMATS.includes(options.format))
    throw badOption(`There is no format ${JSON.stringify(options.format)}; there are ${IMPORT_FORMATS.join(', ')}.`);
  try {
    const format = options.format ?? (await formatOf(path));
    if (itemsPath !== undefined && format !== 'joblog') throw badOption('--items is for the job log of GNU parallel: this is none.');
    if (format === 'jsonl') return await openExport(path, { source, isPartial });
    if (format === 'joblog') return await openJobLog(path, { source, isPartial, itemsPath, itemsSource });
    return await openOldFormat(path, { source, isPartial, format });
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    throw badOption(`${source} can not be read: ${cause.message}.`, cause);
  }
}

async function openExport(
  path: string,
  { source, isPartial }: { readonly source: string; readonly isPartial: boolean },
): Promise<ImportSource> {
  const first = new ExportReader({ source, isPartial });
  const last = await placesOfRepeated(first.read(chunksOf(path)));
  return {
    format: 'jsonl',
    carriedUsd: first.carriedUsd,
    leftOut: first.damagedLines,
    isWhole: first.isWhole,
    items: () => eachOnce(new ExportReader({ source, isPartial }).read(chunksOf(path)), last),
  };
}

async function openJobLog(
  path: string,
  { source, isPartial, itemsPath, itemsSource = '' }: ImportOptions & { readonly source: string; readonly isPartial: boolean },
): Promise<ImportSource> {
  let leftOut = 0;
  const options = { source, isPartial, onDamage: () => void leftOut++ };
  const ends = itemsPath === undefined ? undefined : await endsBySeq(chunksOf(path), options);
  const items = (onDamage: () => void): AsyncIterable<MovableEntry> =>
    ends === undefined || itemsPath === undefined
      ? jobsByCommand(chunksOf(path), { ...options, onDamage })
      : jobsByLine(ends, chunksOf(itemsPath), { source: itemsSource, isPartial, onDamage });
  const last = await placesOfRepeated(items(options.onDamage));
  return {
    format: 'joblog',
    carriedUsd: 0,
    leftOut,
    isWhole: leftOut === 0,
    items: () =>
      eachOnce(
        items(() => undefined),
        last,
      ),
  };
}

/** One JSON document: it can only be read as a whole. */
async function openOldFormat(
  path: string,
  { source, isPartial, format }: { readonly source: string; readonly isPartial: boolean; readonly format: 'v1' | 'v2' | undefined },
): Promise<ImportSource> {
  if ((await stat(path)).size > constants.MAX_STRING_LENGTH) throw foreign(source, 'it is too large for a state of an older format');
  const bytes = await readFile(path);
  const { document, isTorn } = oldDocumentOf(bytes, { source, isPartial });
  const found = 'version' in document ? 'v2' : 'v1';
  if (format !== undefined && format !== found) throw foreign(source, `it has the format ${found}, not ${format}`);
  const { items, carriedUsd, leftOut: noItems } = itemsFromOldFormat(document);
  const usable = items.filter(({ id, item }) => whyNotMovable(id, item) === undefined);
  const leftOut = noItems + items.length - usable.length;
  if (leftOut > 0 && !isPartial) throw foreign(source, `${leftOut} of its entries can be no items. With --partial they are left out`);
  return {
    format: found,
    carriedUsd,
    leftOut,
    isWhole: leftOut === 0 && !isTorn,
    items: async function* () {
      yield* usable;
    },
  };
}
/** A whole document, or with `isPartial` as much of one as stands. Errors: `LOOPSTATE_FOREIGN`. */
function oldDocumentOf(bytes: Buffer, { source, isPartial }: { readonly source: string; readonly isPartial: boolean }): OldFile {
  const text = isPartial ? withoutHalfCharacter(bytes) : bytes;
  // Two ids could become one.
  if (!isUtf8(text))
    throw foreign(source, isPartial ? 'it is not UTF-8' : 'it is not UTF-8, or was cut. With --partial what was cut can be read');
  const document = parsed(text.toString());
  if (isOldFormat(document)) return { document, isTorn: false };
  if (isOwnState(document)) throw foreign(source, 'it is a state itself: use loopstate copy');
  if (document !== undefined) throw foreign(source, 'it is nothing that loopstate knows');
  if (!isPartial) throw foreign(source, 'it is no JSON, or was cut. With --partial what can be read of a state that was cut is taken');
  const torn = parseOldFile(text);
  if (torn === undefined || Object.keys(torn.document).length === 0) throw foreign(source, 'it is no JSON, and no beginning of a state');
  return torn;
}

/** A file may have been cut within a character. */
function withoutHalfCharacter(bytes: Buffer): Buffer {
  const lengths = [0, 1, 2, 3].map((half) => bytes.length - half);
  return bytes.subarray(
    0,
    lengths.find((length) => isUtf8(bytes.subarray(0, length))),
  );
}

/** Opens the file when it is read: of items that nobody goes through, nothing stays open, and nothing fails. */
async function* chunksOf(path: string): AsyncGenerator<Buffer> {
  yield* createReadStream(path);
}

/** `undefined`: perhaps one of the older formats. */
async function formatOf(path: string): Promise<'jsonl' | 'joblog' | undefined> {
  for await (const { text } of byteLines(createReadStream(path, { end: START_BYTES }), START_BYTES)) {
    if (text?.startsWith(JOB_LOG_START) === true) return 'joblog';
    const header = parsed(text ?? '') as { readonly loopstate?: unknown } | null | undefined;
    return header?.loopstate === 'export' ? 'jsonl' : undefined;
  }
  return undefined;
}

function isOwnState(document: Json | undefined): boolean {
  return typeof document === 'object' && document !== null && 'loopstate' in document && 'chunks' in document;
}

function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text.replace(/^\ufeff/, '')) as Json;
  } catch {
    return undefined;
  }
}

/** For each id that comes more than once, the place of its last entry. All ids are in memory meanwhile, as they are in any open `LoopState`. */
async function placesOfRepeated(entries: AsyncIterable<MovableEntry>): Promise<ReadonlyMap<string, number>> {
  const seen = new Set<string>();
  const last = new Map<string, number>();
  let place = 0;
  for await (const { id } of entries) {
    place += 1;
    if (seen.has(id)) last.set(id, place);
    else seen.add(id);
  }
  return last;
}

async function* eachOnce(entries: AsyncIterable<MovableEntry>, last: ReadonlyMap<string, number>): AsyncGenerator<MovableEntry> {
  let place = 0;
  for await (const entry of entries) {
    place += 1;
    if ((last.get(entry.id) ?? place) === place) yield entry;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return isError(error) && 'syscall' in error;
}

function foreign(source: string, reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_FOREIGN', `${source} can not be imported: ${reason}. Nothing was imported.`);
}

function badOption(message: string, cause?: unknown): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${message} Nothing was imported.`, { cause });
}
