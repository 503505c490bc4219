/**
 * What a write-ahead log is, found out before SQLite sees it: SQLite uses a log up to the first frame that is wrong, says nothing of the
 * rest, and removes the file. The format is that of https://www.sqlite.org/walformat.html.
 */
import fs, { type FileHandle } from 'node:fs/promises';
import { hasCode } from './trouble.js';

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;

/**
 * What a log is:
 * - `whole`: every frame since it was begun anew is right;
 * - `torn`: what is wrong may be the rest of a transaction that never ended, which nobody was told of;
 * - `damaged`: what is wrong was followed by another transaction, so it had been acknowledged.
 */
export type LogKind = 'absent' | 'whole' | 'torn' | 'damaged';

/** Reads and judges the log at `path`. Its bytes are under none of the locks of SQLite. Errors: any system error. */
export async function inspectLog(path: string): Promise<LogKind> {
  try {
    return judgeLog(await fs.readFile(path));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 'absent';
    throw error;
  }
}

/**
 * True if the log at `path` holds at least `bytes` since it was last begun anew: it is written over from the front, and the file does not
 * shrink. Tells it by one frame, since all before that one are of the same log. Errors: any system error.
 */
export async function isLogAtLeast(path: string, bytes: number): Promise<boolean> {
  let file: FileHandle;
  try {
    file = await fs.open(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    await file.read(header, 0, HEADER_BYTES, 0);
    const log = readHeader(header);
    if (log === undefined) return false;
    const frame = Buffer.alloc(FRAME_HEADER_BYTES);
    const place = Math.ceil(Math.max(1, bytes - HEADER_BYTES) / (log.pageBytes + FRAME_HEADER_BYTES)) - 1;
    await file.read(frame, 0, FRAME_HEADER_BYTES, offsetOf(log, place));
    return isHeaderOf(log, frame);
  } finally {
    await file.close();
  }
}

/** What the bytes of a log are. */
export function judgeLog(bytes: Buffer): Exclude<LogKind, 'absent'> {
  if (bytes.length === 0) return 'whole';
  const log = readHeader(bytes);
  if (log === undefined) return bytes.length > HEADER_BYTES + FRAME_HEADER_BYTES ? 'damaged' : 'torn';
  let sum = log.sum;
  let place = 0;
  for (; place < log.frames && isOfLog(log, place) && isNext(log, place, sum); place++) sum = storedSum(log, place);
  for (let later = place; later < log.frames; later++) {
    // A transaction that goes on from where another ended: whoever wrote it had seen that one acknowledged.
    const isEnd = isOfLog(log, later) && log.bytes.readUInt32BE(offsetOf(log, later) + 4) !== 0;
    if (isEnd && isContinued(log, later)) return 'damaged';
  }
  if (place === log.frames) return bytes.length > offsetOf(log, place) ? 'torn' : 'whole';
  // What was left by the log before this one has other salts and other sums, and is none of ours.
  return isOfLog(log, place) || isNext(log, place, sum) ? 'torn' : 'whole';
}

/** Two running sums of 32 bits. */
type Sum = readonly [number, number];

interface Log {
  readonly bytes: Buffer;
  readonly pageBytes: number;
  readonly frames: number;
  readonly isBigEndian: boolean;
  /** Over the header. */
  readonly sum: Sum;
}

function readHeader(bytes: Buffer): Log | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const magic = bytes.readUInt32BE(0);
  const isBigEndian = magic === MAGIC + 1;
  const sum = addTo([0, 0], bytes.subarray(0, HEADER_BYTES - 8), isBigEndian);
  const isRight = (magic === MAGIC || isBigEndian) && isSame(sum, [bytes.readUInt32BE(24), bytes.readUInt32BE(28)]);
  const pageBytes = bytes.readUInt32BE(8);
  if (!isRight || pageBytes < 512) return undefined;
  return { bytes, pageBytes, isBigEndian, sum, frames: Math.floor((bytes.length - HEADER_BYTES) / (pageBytes + FRAME_HEADER_BYTES)) };
}

/** The frame after `place` is of this log and was summed up from it on. */
function isContinued(log: Log, place: number): boolean {
  const next = place + 1;
  return next < log.frames && isOfLog(log, next) && isNext(log, next, storedSum(log, place));
}

/** The frame was summed up from `before` on, and is as it was then. */
function isNext(log: Log, place: number, before: Sum): boolean {
  return isSame(sumOfFrame(log, place, before), storedSum(log, place));
}

function isOfLog(log: Log, place: number): boolean {
  return isHeaderOf(log, log.bytes.subarray(offsetOf(log, place)));
}

/** The salts of the log stand in the header of each frame. */
function isHeaderOf({ bytes }: Log, frame: Buffer): boolean {
  return bytes.compare(frame, 8, 16, 16, 24) === 0;
}

function sumOfFrame(log: Log, place: number, before: Sum): Sum {
  const offset = offsetOf(log, place);
  const header = addTo(before, log.bytes.subarray(offset, offset + 8), log.isBigEndian);
  const page = offset + FRAME_HEADER_BYTES;
  return addTo(header, log.bytes.subarray(page, page + log.pageBytes), log.isBigEndian);
}

function storedSum(log: Log, place: number): Sum {
  const offset = offsetOf(log, place) + 16;
  return [log.bytes.readUInt32BE(offset), log.bytes.readUInt32BE(offset + 4)];
}

function offsetOf({ pageBytes }: Log, place: number): number {
  return HEADER_BYTES + place * (pageBytes + FRAME_HEADER_BYTES);
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
