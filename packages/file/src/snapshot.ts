/**
 * The text of a snapshot: one JSON document in lines.
 *
 * ```
 * {"loopstate":"<crc>","format":1,"store":"<uuid>","generation":3,"revision":120,"forgotten":0,"closed":true,"records":2,"chunks":[
 * ["<crc>",1,[["item/a",119,1790000000000,{"status":"done"}],["item/b",120,1790000000001,{"status":"done"}]]]
 * ],"lines":1,"end":"<crc>"}
 * ```
 *
 * The checksum of the first line covers what follows it in that line, and stands at the same place in every future format, as
 * `format` does. A chunk line is as in `lines.ts`; its members are its number from 1 and its records `[key, revision, at, value]`,
 * in the order of revisions. The last checksum covers all the checksums above it: a line that is missing, doubled or of
 * another snapshot is noticed.
 */
import { checksum, checksumOf, endOfContent, readLines } from './lines.js';
import { encodeRecord, RecordBlock } from './record-block.js';
import type { LogEntry } from './record-log.js';

/** The format that this release writes, for snapshots and journals. */
export const FORMAT = 1;

/** More than the first line of a snapshot or of a journal has. */
export const FIRST_LINE_BYTES_MAX = 512;

const MAGIC = '{"loopstate":"';
const HEADER_REST = MAGIC.length + 10;
const NEWLINE = 0x0a;
const COMMA = 0x2c;
const OPENING_BRACKET = 0x5b;
/** `["01234567",` */
const LINE_OPENING = 12;
const HEADER_END = '"chunks":[';

/** What the first line of a snapshot says. */
export interface SnapshotHeader {
  /** The identity of the store, given once. */
  readonly store: string;
  readonly generation: number;
  /** The snapshot is the whole state at this revision; what is older anywhere else is of no account. */
  readonly revision: number;
  /** The largest revision of a deletion up to then: the snapshot shows none of them. */
  readonly forgotten: number;
  /** The store was closed: until someone opens it, the snapshot alone is the whole state. */
  readonly closed: boolean;
  /** How many records follow. */
  readonly records: number;
  /** The start that wrote it had found a loss, and may have ended before it told anybody. */
  readonly untold?: true | undefined;
}

/** A snapshot as it was found. */
export interface FoundSnapshot {
  /** Present if the checksum of the first line held. */
  readonly header?: SnapshotHeader;
  /** Every line is there and sound. */
  readonly isComplete: boolean;
  /** The first line is sound and of a format that this release does not know. */
  readonly isNewer: boolean;
  /** It was a snapshot once: its beginning, or any line, is one's. */
  readonly isOurs: boolean;
  /** Nothing but zeros and white space. */
  readonly isBlank: boolean;
  /** The records of every sound line; of a complete snapshot they are made when they are asked for. */
  readonly entries: readonly LogEntry[];
  /** Of a complete snapshot, its lines. */
  readonly blocks?: readonly RecordBlock[];
}

/** Makes the lines of a snapshot, in order. */
export class SnapshotText {
  #chain: string;
  #lines = 0;
  readonly #header: string;

  constructor(header: SnapshotHeader) {
    const rest = JSON.stringify({ format: FORMAT, ...header }).slice(1, -1);
    const sealed = `${rest},${HEADER_END}`;
    this.#chain = checksum(sealed);
    this.#header = `${MAGIC}${this.#chain}",${sealed}\n`;
  }

  /** The first line. */
  first(): string {
    return this.#header;
  }

  /** The next chunk line; `entries` are records, no deletions. */
  chunk(entries: readonly LogEntry[]): Buffer {
    return this.chunkOf(Buffer.from(entries.map(encodeRecord).join(',')));
  }

  /** The next chunk line, from the bytes of its records. */
  chunkOf(bytes: Buffer): Buffer {
    this.#lines++;
    const [before, after] = [Buffer.from(`${this.#lines},[`), Buffer.from(']]')];
    const sum = checksumOf(before, bytes, after);
    this.#chain = checksum(this.#chain + sum);
    return Buffer.concat([Buffer.from(`${this.#lines === 1 ? '' : ',\n'}["${sum}",`), before, bytes, after]);
  }

  /** The last line. */
  last(): string {
    return `${this.#lines === 0 ? '' : '\n'}],"lines":${this.#lines},"end":"${this.#chain}"}\n`;
  }
}

/** Reads the first line of what may be a snapshot, and takes it at its word for the rest. */
export function parseSnapshotHeader(bytes: Buffer): FoundSnapshot {
  const header = parseHeader(bytes, bytes.length);
  if (header === 'newer' || header === undefined) return parseSnapshot(bytes);
  return { header: header.header, isComplete: true, isNewer: false, isOurs: true, isBlank: false, entries: [] };
}

/** Reads what may be a snapshot, as far as it is sound; `scan`: what was made of it while its bytes came. */
export function parseSnapshot(bytes: Buffer, scan: SnapshotScan = new SnapshotScan()): FoundSnapshot {
  const whole = scan.end(bytes);
  if (whole !== undefined) return whole;
  const content = endOfContent(bytes);
  const header = parseHeader(bytes, content);
  const isNewer = header === 'newer';
  if (isNewer) return { isComplete: false, isNewer, isOurs: true, isBlank: false, entries: [] };
  const body = parseChunks(bytes, header?.end ?? 0, content);
  const looksOurs = content > 0 && MAGIC.startsWith(bytes.toString('latin1', 0, Math.min(content, MAGIC.length)));
  return {
    ...(header === undefined ? {} : { header: header.header }),
    isComplete: header !== undefined && header.header.records === body.entries.length && isEnd(body, header.checksum),
    isNewer,
    // A lone brace may as well be the beginning of another document.
    isOurs: header !== undefined || body.lines > 0 || (looksOurs && content > 2),
    isBlank: bytes.subarray(0, content).every((byte) => byte === 0 || byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)),
    entries: body.entries,
  };
}

/**
 * Reads a snapshot that is whole, without making values of its records, while its bytes still come. One that is not whole, or not written as
 * this release does it, is to be read with more patience.
 */
export class SnapshotScan {
  readonly #blocks: RecordBlock[] = [];
  #header: FoundHeader | undefined;
  #records = 0;
  #newest = 0;
  #chain = '';
  #at = 0;
  /** Up to here there is no newline after `#at`. */
  #searched = 0;
  #isGivenUp = false;

  /** Takes the lines that are there; `readTo`: where the bytes end that were read. */
  take(bytes: Buffer, readTo: number): void {
    const read = bytes.subarray(0, readTo);
    while (!this.#isGivenUp) {
      const newline = read.indexOf(NEWLINE, Math.max(this.#at, this.#searched));
      if (newline === -1) {
        this.#searched = readTo;
        return;
      }
      if (this.#header === undefined) this.#isGivenUp = !this.#takeHeader(read);
      else if (bytes[this.#at] === OPENING_BRACKET) this.#isGivenUp = !this.#takeLine(bytes, newline);
      else return;
    }
  }

  /** The snapshot, once all bytes were read; `undefined`: it is not whole, or not written as this release does it. */
  end(bytes: Buffer): FoundSnapshot | undefined {
    const content = endOfContent(bytes);
    this.take(bytes, content);
    if (this.#header === undefined || this.#isGivenUp) return undefined;
    const newline = bytes.indexOf(NEWLINE, this.#at);
    const end = newline === -1 ? content : newline;
    const isEnded = bytes.toString('latin1', this.#at, end) === `],"lines":${this.#blocks.length},"end":"${this.#chain}"}`;
    const { header } = this.#header;
    return isEnded && end + 1 >= content && this.#records === header.records ? wholeSnapshot(header, this.#blocks) : undefined;
  }

  #takeHeader(read: Buffer): boolean {
    const header = parseHeader(read, read.length);
    if (header === undefined || header === 'newer') return false;
    this.#header = header;
    this.#chain = header.checksum;
    this.#at = header.end;
    return true;
  }

  #takeLine(bytes: Buffer, lineEnd: number): boolean {
    const at = this.#at;
    const number = `${this.#blocks.length + 1},[`;
    const sealed = bytes[lineEnd - 1] === COMMA ? lineEnd - 1 : lineEnd;
    const start = at + LINE_OPENING + number.length;
    if (bytes.toString('latin1', at + LINE_OPENING, start) !== number || bytes.toString('latin1', sealed - 2, sealed) !== ']]')
      return false;
    const sum = checksum(bytes.subarray(at + LINE_OPENING, sealed));
    if (bytes.toString('latin1', at, at + LINE_OPENING) !== `["${sum}",`) return false;
    const block = RecordBlock.ofLine(bytes.subarray(start, sealed - 2));
    if (block === undefined || block.first <= this.#newest) return false;
    this.#blocks.push(block);
    this.#records += block.count;
    this.#newest = block.last;
    this.#chain = checksum(this.#chain + sum);
    this.#at = lineEnd + 1;
    return true;
  }
}

function wholeSnapshot(header: SnapshotHeader, blocks: readonly RecordBlock[]): FoundSnapshot {
  let entries: LogEntry[] | undefined;
  return {
    header,
    isComplete: true,
    isNewer: false,
    isOurs: true,
    isBlank: false,
    blocks,
    get entries() {
      entries ??= blocks.flatMap((block) => block.entries());
      return entries;
    },
  };
}

interface FoundHeader {
  readonly header: SnapshotHeader;
  readonly checksum: string;
  readonly end: number;
}

interface FoundChunks {
  readonly entries: LogEntry[];
  readonly lines: number;
  /** The checksums of the chunk lines; `undefined` if one was out of place. */
  readonly chain: readonly string[] | undefined;
  readonly lastLine: string | undefined;
}

function parseHeader(bytes: Buffer, content: number): FoundHeader | 'newer' | undefined {
  const newline = bytes.indexOf(NEWLINE);
  const end = newline === -1 ? content : newline;
  if (end < HEADER_REST || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined;
  const found = bytes.toString('latin1', MAGIC.length, MAGIC.length + 8);
  const rest = bytes.subarray(HEADER_REST, end);
  if (found !== checksum(rest)) return undefined;
  const text = rest.toString();
  const format = Number(/^"format":(\d+)[,}]/.exec(text)?.[1] ?? Number.NaN);
  if (format > FORMAT) return 'newer';
  if (format !== FORMAT || !text.endsWith(`,${HEADER_END}`)) return undefined;
  try {
    const header: unknown = JSON.parse(`{${text.slice(0, -HEADER_END.length - 1)}}`);
    return isHeader(header) ? { header, checksum: found, end: end + 1 } : undefined;
  } catch {
    return undefined; // A checksum can hold by chance.
  }
}

function parseChunks(bytes: Buffer, start: number, end: number): FoundChunks {
  const entries: LogEntry[] = [];
  const checksums: string[] = [];
  let lines = 0;
  let isInOrder = true;
  let lastLine: string | undefined;
  for (const line of readLines(bytes, start, end)) {
    const records = line.members === undefined ? undefined : toRecords(line.members);
    if (records === undefined) {
      if (lastLine !== undefined) isInOrder = false;
      lastLine = bytes.toString('latin1', line.start, line.end);
      continue;
    }
    lines++;
    if (line.members?.[0] !== lines || lastLine !== undefined) isInOrder = false;
    checksums.push(bytes.toString('latin1', line.start + 2, line.start + 10));
    for (const record of records) entries.push(record);
  }
  return { entries, lines, chain: isInOrder ? checksums : undefined, lastLine };
}

function isEnd(chunks: FoundChunks, headerChecksum: string): boolean {
  if (chunks.chain === undefined) return false;
  const chain = chunks.chain.reduce((running, line) => checksum(running + line), headerChecksum);
  return chunks.lastLine === `],"lines":${chunks.lines},"end":"${chain}"}`;
}

function isHeader(value: unknown): value is SnapshotHeader {
  const header = value as Partial<Record<keyof SnapshotHeader, unknown>>;
  const counts = [header.generation, header.revision, header.forgotten, header.records];
  return typeof header.store === 'string' && typeof header.closed === 'boolean' && counts.every((count) => Number.isSafeInteger(count));
}

function toRecords(members: readonly unknown[]): LogEntry[] | undefined {
  const [number, records] = members;
  if (typeof number !== 'number' || !Array.isArray(records)) return undefined;
  return records.map(([key, revision, at, value]) => ({ key, revision, at, text: JSON.stringify(value) }));
}
