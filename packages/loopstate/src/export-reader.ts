import { createHash } from 'node:crypto';
import { ID_BYTES, LIMITS, LoopStateError, type MovableEntry, type MovableItem, RECORD_FORMAT, whyNotMovable } from '@loopstate/core';
import { type ByteLine, byteLines } from './byte-lines.js';
import { EXPORT_FORMAT } from './export-text.js';

/** An item and its id, whose every byte may be written as an escape of six. */
const LINE_BYTES_MAX = LIMITS.valueBytes + 6 * ID_BYTES + 1_024;

/** What a {@link ExportReader} needs to know. */
export interface ExportReaderOptions {
  /** Names the text in messages. */
  readonly source: string;
  /** Takes what can be read of a text that was cut or damaged. */
  readonly isPartial: boolean;
}

type Line = { readonly [name: string]: unknown };

/** Reads an export once; see `export-text.ts` for what it looks like. What it says as a whole is known when all was read. */
export class ExportReader {
  /** What was spent before, on no item, in US dollars. */
  carriedUsd = 0;
  /** How many lines could not be read, and were left out. */
  damagedLines = 0;
  /** Nothing was cut, damaged, doubled or moved. */
  isWhole = false;
  readonly #options: ExportReaderOptions;
  /** Of every line but the last one so far: that may be the one that names the checksum. */
  readonly #hash = createHash('sha256');
  #last = '';
  #items = 0;
  #hasHeader = false;

  constructor(options: ExportReaderOptions) {
    this.#options = options;
  }

  /**
   * The items in their order. Errors: `LOOPSTATE_NEWER_FORMAT`; `LOOPSTATE_FOREIGN` for what is no export, and, unless `isPartial`, for one
   * that is not whole; what the stream raises.
   */
  async *read(chunks: AsyncIterable<Buffer>): AsyncGenerator<MovableEntry> {
    let end: Line | undefined;
    let hasMore = false;
    for await (const line of byteLines(chunks, LINE_BYTES_MAX)) {
      hasMore = end !== undefined;
      if (hasMore) break;
      const parsed = this.#parse(line);
      if (line.number === 1) this.#hasHeader = this.#takesHeader(parsed);
      if (line.number === 1 && this.#hasHeader) continue;
      if (parsed?.loopstate === 'end') {
        end = parsed;
        continue;
      }
      const entry = this.#entryOf(parsed, line);
      if (entry !== undefined) yield entry;
    }
    this.isWhole = this.#hasHeader && !hasMore && this.damagedLines === 0 && end !== undefined && this.#isConfirmedBy(end);
    if (this.isWhole || this.#options.isPartial) return;
    throw this.#refused(end === undefined ? 'it was cut: its end is missing' : 'it is not as it was written');
  }

  #parse({ text, isEnded }: ByteLine): Line | undefined {
    this.#hash.update(this.#last);
    this.#last = isEnded ? `${text}\n` : `${text}`;
    if (text === undefined) return undefined;
    try {
      const value: unknown = JSON.parse(text);
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Line) : undefined;
    } catch {
      return undefined;
    }
  }

  #takesHeader(header: Line | undefined): boolean {
    const { source, isPartial } = this.#options;
    const { loopstate, format, records, carriedUsd = 0 } = header ?? {};
    const isHeader = loopstate === 'export' && typeof format === 'number' && typeof records === 'number';
    if (isHeader && (format > EXPORT_FORMAT || records > RECORD_FORMAT)) {
      throw new LoopStateError(
        'LOOPSTATE_NEWER_FORMAT',
        `${source} has format ${format}, records ${records}; this version of loopstate knows up to ${EXPORT_FORMAT}, records ${RECORD_FORMAT}: install a newer loopstate. Nothing was imported.`,
      );
    }
    if (isHeader && typeof carriedUsd === 'number' && Number.isFinite(carriedUsd) && carriedUsd >= 0) {
      this.carriedUsd = carriedUsd;
      return true;
    }
    if (!isPartial) throw this.#refused('its first line is not that of an export');
    return false;
  }

  #entryOf(line: Line | undefined, { number }: ByteLine): MovableEntry | undefined {
    const { id, ...item } = line ?? {};
    const reason = line === undefined ? 'it is no JSON object' : whyNotMovable(id, item);
    if (reason === undefined) {
      this.#items += 1;
      return { id: id as string, item: item as unknown as MovableItem };
    }
    if (!this.#options.isPartial) throw this.#refused(`line ${number} is no item: ${reason}`);
    this.damagedLines += 1;
    return undefined;
  }

  #isConfirmedBy({ items, sha256 }: Line): boolean {
    return items === this.#items && sha256 === this.#hash.digest('hex');
  }

  #refused(reason: string): LoopStateError {
    return new LoopStateError(
      'LOOPSTATE_FOREIGN',
      `${this.#options.source} can not be imported: ${reason}. With --partial what can be read of it is taken. Nothing was imported.`,
    );
  }
}
