/**
 * The text of a journal: lines as in `lines.ts`. The first is a header, each other one a commit:
 *
 * ```
 * ["<crc>",{"journal":1,"format":1,"store":"<uuid>","generation":3,"since":120,"after":2}]
 * ["<crc>",121,1790000000000,[["item/c",{"status":"done"}]],["run/x"]]
 * ```
 *
 * One that was left while its commits were in no snapshot yet ends with the header of the next, so that the loss of that is noticed.
 * Zeros at the end are space for lines to come; a journal that was not cut always ends with some.
 */
import type { EncodedPut } from '@loopstate/core';
import { endOfContent, quoted, readLines, sealLine } from './lines.js';
import type { LogEntry } from './record-log.js';
import { FORMAT } from './snapshot.js';

/** What the first line of a journal says. */
export interface JournalHeader {
  readonly store: string;
  readonly generation: number;
  /** The newest revision before this journal. What the journal before it holds beyond that was never acknowledged. */
  readonly since: number;
  /** The generation of the journal before this one in which commits were made; 0: this is the first one of the store. */
  readonly after: number;
}

/** Bytes that are no sound line and no space, with the revisions of the sound lines around them. */
export interface JournalGap {
  /** 0 when no commit stands before. */
  readonly after: number;
  /** Absent at the end: a torn tail. */
  readonly before?: number;
}

/** A journal as it was found. */
export interface FoundJournal {
  /** Present if the checksum of the first line held. */
  readonly header?: JournalHeader;
  /** The generation in which commits went on, if it says so. */
  readonly next?: number;
  readonly isNewer: boolean;
  /** The puts and deletes of every sound line, in the order of the lines. */
  readonly entries: readonly LogEntry[];
  /** How many commits are sound. */
  readonly commits: number;
  readonly gaps: readonly JournalGap[];
  /** After the last sound line, where the next one goes. */
  readonly endBytes: number;
  /** It ends with space, as it was left; otherwise it was cut. */
  readonly hasSpace: boolean;
}

/** The first line of a journal, newline included. */
export function encodeJournalHeader(header: JournalHeader): string {
  return `${sealLine(`${JSON.stringify({ journal: 1, format: FORMAT, ...header })}]`)}\n`;
}

/** The line of one commit, newline included. */
export function encodeCommit(revision: number, at: number, puts: readonly EncodedPut[], deletes: readonly string[]): string {
  let written = '';
  for (const { key, text } of puts) written += `${written === '' ? '' : ','}[${quoted(key)},${text}]`;
  return `${sealLine(`${revision},${at},[${written}],[${deletes.map(quoted).join(',')}]]`)}\n`;
}

/** Reads the first line of what may be a journal, and takes it at its word for the rest. */
export function parseJournalHeader(bytes: Buffer): FoundJournal {
  const newline = bytes.indexOf(0x0a);
  return parseJournal(newline === -1 ? bytes : Buffer.concat([bytes.subarray(0, newline + 1), Buffer.alloc(1)]));
}

/** Reads what may be a journal, as far as it is sound. */
export function parseJournal(bytes: Buffer): FoundJournal {
  const content = endOfContent(bytes);
  const entries: LogEntry[] = [];
  const gaps: JournalGap[] = [];
  let header: JournalHeader | undefined;
  let next: number | undefined;
  let commits = 0;
  let isNewer = false;
  let endBytes = 0;
  let last = 0;
  let isInGap = false;
  for (const { start, end, members } of readLines(bytes, 0, content)) {
    const [first] = members ?? [];
    if (members !== undefined && isCommit(members)) {
      const [revision] = members;
      if (isInGap) gaps.push({ after: last, before: revision });
      for (const entry of toEntries(members)) entries.push(entry);
      commits++;
      last = revision;
    } else if (isHeader(first)) {
      const { format, store, generation, since, after } = first;
      if (start > 0) next = generation;
      else {
        isNewer = format > FORMAT;
        header = { store, generation, since, after };
      }
    } else {
      isInGap = true;
      continue;
    }
    isInGap = false;
    endBytes = Math.min(end + 1, bytes.length);
  }
  if (isInGap) gaps.push({ after: last });
  return {
    ...(header === undefined ? {} : { header }),
    ...(next === undefined ? {} : { next }),
    isNewer,
    entries,
    commits,
    gaps,
    endBytes,
    hasSpace: content < bytes.length,
  };
}

type CommitMembers = readonly [revision: number, at: number, puts: readonly (readonly [string, unknown])[], deletes: readonly string[]];

function isCommit(members: readonly unknown[]): members is CommitMembers {
  const [revision, at, puts, deletes] = members;
  return Number.isSafeInteger(revision) && typeof at === 'number' && Array.isArray(puts) && Array.isArray(deletes);
}

function isHeader(value: unknown): value is JournalHeader & { readonly format: number } {
  return typeof value === 'object' && value !== null && 'journal' in value && 'format' in value && typeof value.format === 'number';
}

function toEntries([revision, at, puts, deletes]: CommitMembers): LogEntry[] {
  return [
    ...puts.map(([key, value]) => ({ key, revision, at, text: JSON.stringify(value) })),
    ...deletes.map((key) => ({ key, revision, at, text: undefined })),
  ];
}
