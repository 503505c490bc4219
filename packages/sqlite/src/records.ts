/**
 * How records stand in SQL. One table holds the records of all jobs:
 *
 * | column   | holds                                                                                       |
 * |----------|---------------------------------------------------------------------------------------------|
 * | job      | the job; '' for what concerns the whole file                                                |
 * | key      | the key, escaped; '' for the header of the job (no key of a user is empty)                  |
 * | value    | the value as JSON; nothing: the key was deleted (a tombstone)                               |
 * | revision | of the commit that put or deleted it; of a header: a floor under all revisions of the job   |
 * | at       | ms since the epoch                                                                          |
 * | sum      | the CRC-32 of job, key and value: SQLite itself does not notice a flipped byte              |
 *
 * The last revision of a job is the largest in the table: the newest tombstones are kept, so it never falls.
 */
import { crc32 } from 'node:zlib';
import { decodeValue, type StateChange, type StateRecord } from '@loopstate/core';
import { numberOf, type SqlRow, textOf } from './connection.js';
import { DamagedError } from './trouble.js';

/** The format that this release writes. */
export const FORMAT = 1;

/** The table, in the database that is attached as `store`. */
export const TABLE = 'store.loopstate_records';

/** Makes the table and its index where they are missing; `schema` is that of the attached database. */
export function creation(schema: string): readonly string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${schema}.loopstate_records (job TEXT NOT NULL, key TEXT NOT NULL, value TEXT,
       revision INTEGER NOT NULL, at INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (job, key)) WITHOUT ROWID`,
    `CREATE INDEX IF NOT EXISTS ${schema}.loopstate_changes ON loopstate_records (job, revision)`,
  ];
}

/** What the header of a file says. */
export interface FileHeader {
  readonly format: number;
  /** Someone has the file open, or had it open when the machine or the process stopped. */
  readonly isOpen: boolean;
}

/** What the header of a job says. */
export interface JobHeader {
  /** Tells this store from every other. */
  readonly store: string;
  /** The largest revision of a deletion that is no longer known. */
  readonly forgotten: number;
}

/** A row of the table, as it stands there. */
export interface StoredRow {
  readonly job: string;
  readonly key: string;
  readonly value: string | null;
  readonly revision: number;
  readonly at: number;
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
  const stored = { job: textOf(row, 'job'), key: textOf(row, 'key'), value, revision: numberOf(row, 'revision'), at: numberOf(row, 'at') };
  if (sumOf(stored.job, stored.key, value) === row.sum) return stored;
  throw new DamagedError(`the record ${JSON.stringify(unescapeKey(stored.key))} is not as it was written`);
}

/** A record as the contract has it; `undefined` for a tombstone. */
export function toRecord({ key, value, revision, at }: StoredRow): StateRecord | undefined {
  return value === null ? undefined : { key: unescapeKey(key), value: decodeValue(value), revision, at };
}

/** A change as the contract has it. */
export function toChange(row: StoredRow): StateChange {
  const record = toRecord(row);
  return { key: unescapeKey(row.key), revision: row.revision, ...(record === undefined ? {} : { record }) };
}

/** What the header of a file says. Errors: {@link DamagedError}. */
export function parseFileHeader(text: string): FileHeader {
  const { format, isOpen } = parseObject(text);
  if (typeof format !== 'number' || typeof isOpen !== 'boolean') throw new DamagedError('the header of the file is unreadable');
  return { format, isOpen };
}

/** What the header of a job says. Errors: {@link DamagedError}. */
export function parseJobHeader(text: string): JobHeader {
  const { store, forgotten } = parseObject(text);
  if (typeof store !== 'string' || typeof forgotten !== 'number') throw new DamagedError('the header of a job is unreadable');
  return { store, forgotten };
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
