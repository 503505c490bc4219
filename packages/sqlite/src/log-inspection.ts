/**
 * What a write-ahead log is, found out before SQLite sees it: SQLite uses a log up to the first frame that is wrong, says nothing of the
 * rest, and removes the file. The format is that of https://www.sqlite.org/walformat.html.
 */
import fs, { type FileHandle } from 'node:fs/promises';
import { hasCode } from './trouble.js';

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const PAGE_BYTES_MAX = 65_536;
const MAGIC = 0x377f0682;

/** Between two pieces others get their turn. */
const PIECE_BYTES = 4 * 1_024 * 1_024;

/**
 * What a log is:
 * - `absent`: there is none, or an empty one: SQLite makes that beside any database that is read;
 * - `whole`: every frame since it was begun anew is right;
 * - `torn`: what is wrong may be the rest of a transaction that never ended, which nobody was told of;
 * - `damaged`: what is wrong was followed by another transaction, so it had been acknowledged.
 */
export type LogKind = 'absent' | 'whole' | 'torn' | 'damaged';

/** Reads and judges the log at `path`. Its bytes are under none of the locks of SQLite. Errors: any system error. */
export async function inspectLog(path: string): Promise<LogKind> {
  return (await withLog(path, judgeLog)) ?? 'absent';
}

/**
 * True if the log at `path` holds at least `bytes` since it was last begun anew: it is written over from the front, and the file does not
 * shrink. Tells it by one frame, since all before that one are of the same log. Errors: any system error.
 */
export async function isLogAtLeast(path: string, bytes: number): Promise<boolean> {
  const isAtLeast = async (read: ReadLog): Promise<boolean> => {
    const log = readHeader(await read(0, HEADER_BYTES));
    if (log === undefined) return false;
    const place = Math.ceil(Math.max(1, bytes - HEADER_BYTES) / log.frameBytes) - 1;
    const from = HEADER_BYTES + place * log.frameBytes;
    return isOfLog(log, await read(from, from + FRAME_HEADER_BYTES));
  };
  return (await withLog(path, isAtLeast)) ?? false;
}

/** Resolves to the bytes of a log from one place up to before another, or to its end; they may be written over by the next call. */
export type ReadLog = (from: number, to: number) => Promise<Buffer>;

/** What the log is whose bytes `read` gives: piece by piece, since there is no limit to how long it gets. */
export async function judgeLog(read: ReadLog): Promise<LogKind> {
  const beginning = await read(0, HEADER_BYTES + FRAME_HEADER_BYTES + 1);
  if (beginning.length === 0) return 'absent';
  const log = readHeader(beginning);
  if (log === undefined) return beginning.length > HEADER_BYTES + FRAME_HEADER_BYTES ? 'damaged' : 'torn';
  const { frameBytes } = log;
  const pieceBytes = Math.max(1, Math.floor(PIECE_BYTES / frameBytes)) * frameBytes;
  const judge = new FrameJudge(log);
  for (let from = HEADER_BYTES; ; from += pieceBytes) {
    const piece = await read(from, from + pieceBytes);
    for (let at = 0; at + frameBytes <= piece.length; at += frameBytes) {
      if (judge.take(piece.subarray(at, at + frameBytes)) === 'damaged') return 'damaged';
    }
    if (piece.length < pieceBytes) return judge.end({ isCut: piece.length % frameBytes > 0 });
  }
}

/** Two running sums of 32 bits. */
type Sum = readonly [number, number];

interface Log {
  readonly salts: Buffer;
  /** Of a page with its header. */
  readonly frameBytes: number;
  readonly isBigEndian: boolean;
  /** Over the header. */
  readonly sum: Sum;
}

/** Takes the frames of a log one after another. */
class FrameJudge {
  readonly #log: Log;
  #sum: Sum;
  /** What the log is by the first frame that is wrong, and whether any of ours follow, if that is all. */
  #rest: 'torn' | 'whole' | undefined;
  /** After that: the sum of the frame before, if it ended a transaction. */
  #end: Sum | undefined;

  constructor(log: Log) {
    this.#log = log;
    this.#sum = log.sum;
  }

  /** `damaged`: no further frame changes that. */
  take(frame: Buffer): 'damaged' | undefined {
    const isOurs = isOfLog(this.#log, frame);
    if (this.#rest === undefined) {
      const isRight = isNext(this.#log, frame, this.#sum);
      if (isOurs && isRight) {
        this.#sum = storedSum(frame);
        return undefined;
      }
      // What was left by the log before this one has other salts and other sums, and is none of ours.
      this.#rest = isOurs || isRight ? 'torn' : 'whole';
    }
    // A log is written from the front, so what stands before a frame of ours was one as well: a lost block.
    if (isOurs) this.#rest = 'torn';
    // A transaction that goes on from where another ended: whoever wrote it had seen that one acknowledged.
    if (isOurs && this.#end !== undefined && isNext(this.#log, frame, this.#end)) return 'damaged';
    this.#end = isOurs && frame.readUInt32BE(4) !== 0 ? storedSum(frame) : undefined;
    return undefined;
  }

  end({ isCut }: { isCut: boolean }): 'torn' | 'whole' {
    return this.#rest ?? (isCut ? 'torn' : 'whole');
  }
}

/** Resolves to `undefined` if there is no log at `path`. */
async function withLog<T>(path: string, run: (read: ReadLog) => Promise<T>): Promise<T | undefined> {
  let file: FileHandle;
  try {
    file = await fs.open(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  let buffer = Buffer.alloc(0);
  try {
    return await run(async (from, to) => {
      if (buffer.length < to - from) buffer = Buffer.alloc(to - from);
      let length = 0;
      for (let isEnd = false; !isEnd && length < to - from; ) {
        const { bytesRead } = await file.read(buffer, length, to - from - length, from + length);
        length += bytesRead;
        isEnd = bytesRead === 0;
      }
      return buffer.subarray(0, length);
    });
  } finally {
    await file.close();
  }
}

function readHeader(bytes: Buffer): Log | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const magic = bytes.readUInt32BE(0);
  const isBigEndian = magic === MAGIC + 1;
  const sum = addTo([0, 0], bytes.subarray(0, HEADER_BYTES - 8), isBigEndian);
  const isRight = (magic === MAGIC || isBigEndian) && isSame(sum, [bytes.readUInt32BE(24), bytes.readUInt32BE(28)]);
  const pageBytes = bytes.readUInt32BE(8);
  if (!isRight || pageBytes < 512 || pageBytes > PAGE_BYTES_MAX) return undefined;
  return { salts: Buffer.from(bytes.subarray(16, 24)), frameBytes: FRAME_HEADER_BYTES + pageBytes, isBigEndian, sum };
}

/** The salts of the log stand in the header of each frame. */
function isOfLog({ salts }: Log, frame: Buffer): boolean {
  return frame.length >= FRAME_HEADER_BYTES && salts.compare(frame, 8, 16) === 0;
}

/** The frame was summed up from `before` on, and is as it was then. */
function isNext({ isBigEndian }: Log, frame: Buffer, before: Sum): boolean {
  const header = addTo(before, frame.subarray(0, 8), isBigEndian);
  return isSame(addTo(header, frame.subarray(FRAME_HEADER_BYTES), isBigEndian), storedSum(frame));
}

function storedSum(frame: Buffer): Sum {
  return [frame.readUInt32BE(16), frame.readUInt32BE(20)];
}

function addTo([first, second]: Sum, bytes: Buffer, isBigEndian: boolean): Sum {
  let [a, b] = [first, second];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 8 <= bytes.length; at += 8) {
    a = (a + view.getUint32(at, !isBigEndian) + b) >>> 0;
    b = (b + view.getUint32(at + 4, !isBigEndian) + a) >>> 0;
  }
  return [a, b];
}

function isSame(one: Sum, other: Sum): boolean {
  return one[0] === other[0] && one[1] === other[1];
}
