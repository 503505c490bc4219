/**
 * How records stand in SQL. One table holds the records of all jobs:
 *
 * | column | holds                                                                                                  |
 * |--------|--------------------------------------------------------------------------------------------------------|
 * | seq    | 1,024 times the revision of the commit that put or deleted the key, and its place within that commit   |
 * | job    | the job; '' for what concerns the whole file                                                           |
 * | key    | the key, escaped; '' for the header of the job (no key of a user is empty)                             |
 * | value  | the value as JSON; nothing: the key was deleted (a tombstone)                                          |
 * | at     | ms since the epoch                                                                                     |
 * | sum    | the CRC-32 of job, key and value: SQLite itself does not notice a flipped byte                         |
 *
 * So the table stands in the order of changes, and `changes` reads a stretch of it. Revisions are shared by the jobs of a file. The
 * last one is that of the largest `seq`, which never falls: the newest tombstones are kept. The header of the file stands at
 * a floor under all revisions, those of the jobs below 0.
 */
import { crc32 } from 'node:zlib';
import { decodeValue, type RecoveryFinding, type StateChange, type StateRecord } from '@loopstate/core';
import { numberOf, type SqlRow, textOf } from './connection.js';
import { DamagedError } from './trouble.js';

/** The format that this release writes. */
export const FORMAT = 1;

/** The table, in the database that is attached as `store`. */
export const TABLE = 'store.loopstate_records';

/** The columns of the table. */
export const COLUMNS = 'seq, job, key, value, at, sum';

/** How many keys a commit may write, and more. */
export const SEQS_PER_REVISION = 1_024;

/** Makes the table where it is missing. */
export const CREATION = `CREATE TABLE IF NOT EXISTS ${TABLE} (seq INTEGER PRIMARY KEY, job TEXT NOT NULL, key TEXT NOT NULL, value TEXT,
  at INTEGER NOT NULL, sum INTEGER NOT NULL, UNIQUE (job, key))`;

/** What the header of a file says. */
export interface FileHeader {
  readonly format: number;
  /** Tells this file, and its copies, from every other. */
  readonly store: string;
  /** Someone has the file open, or had it open when the machine or the process stopped. */
  readonly isOpen: boolean;
  /** What was found by a repair whose process may have been killed before it could say so. */
  readonly untold: readonly RecoveryFinding[];
}

/** What the header of a job says. */
export interface JobHeader {
  /** The largest revision of a deletion that is no longer known. */
  readonly forgotten: number;
}

/** A row of the table, as it stands there. */
export interface StoredRow {
  readonly seq: number;
  readonly job: string;
  readonly key: string;
  readonly value: string | null;
  readonly at: number;
}

/** The revision of the commit that wrote a row. */
export function revisionOf(seq: number): number {
  return Math.floor(seq / SEQS_PER_REVISION);
}

/** A key as it is stored: SQLite and its tools cut text at a NUL. */
export function escapeKey(key: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about.
  return /[\u0000\u0001]/.test(key) ? key.replaceAll('\u0001', '\u00011').replaceAll('\0', '\u00010') : key;
}

/** The key that was stored. */
export function unescapeKey(stored: string): string {
  return stored.includes('\u0001') ? stored.replaceAll('\u00010', '\0').replaceAll('\u00011', '\u0001') : stored;
}

/** The check sum of a row, by its job and its key as stored. */
export function sumOf(job: string, key: string, value: string | null): number {
  // A tombstone differs from every value, since no JSON text is empty.
  return crc32(value ?? '', crc32(key, crc32(job)));
}

/** The row of an answer, found sound. Errors: {@link DamagedError}. */
export function toStoredRow(row: SqlRow): StoredRow {
  const { value } = row;
  if (value !== null && typeof value !== 'string') throw new DamagedError('a value is no text');
  const stored = { seq: numberOf(row, 'seq'), job: textOf(row, 'job'), key: textOf(row, 'key'), value, at: numberOf(row, 'at') };
  if (sumOf(stored.job, stored.key, value) === row.sum) return stored;
  throw new DamagedError(`the record ${JSON.stringify(unescapeKey(stored.key))} is not as it was written`);
}

/** A record as the contract has it; `undefined` for a tombstone. */
export function toRecord({ seq, key, value, at }: StoredRow): StateRecord | undefined {
  return value === null ? undefined : { key: unescapeKey(key), value: decodeValue(value), revision: revisionOf(seq), at };
}

/** A change as the contract has it. */
export function toChange(row: StoredRow): StateChange {
  const record = toRecord(row);
  return { key: unescapeKey(row.key), revision: revisionOf(row.seq), ...(record === undefined ? {} : { record }) };
}

/** What the header of a file says. Errors: {@link DamagedError}. */
export function parseFileHeader(text: string): FileHeader {
  const { format, store, isOpen, untold = [] } = parseObject(text);
  if (typeof format === 'number' && typeof store === 'string' && typeof isOpen === 'boolean' && Array.isArray(untold))
    return { format, store, isOpen, untold };
  throw new DamagedError('the header of the file is unreadable');
}

/** What the header of a job says. Errors: {@link DamagedError}. */
export function parseJobHeader(text: string): JobHeader {
  const { forgotten } = parseObject(text);
  if (typeof forgotten !== 'number') throw new DamagedError('the header of a job is unreadable');
  return { forgotten };
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null) return parsed as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new DamagedError('a header is unreadable');
}
