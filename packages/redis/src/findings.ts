/** The codes of the findings that a Redis store reports, each with what was found. */
export const FINDING_CODES = {
  'persistence-off': 'The server keeps no append-only file: what it acknowledged is gone, in part or in whole, when it stops.',
  'persistence-unverified': 'The server does not tell how it persists; no more is claimed than what could be seen.',
  'eviction-allowed': 'The server may evict the records when its memory is full, and the option unsafe=eviction says to go on.',
  'eviction-unverified': 'The server does not tell its maxmemory-policy, so it may evict the records when its memory is full.',
  'went-backwards': 'The store is older than what this handle has seen of it, or is another store: acknowledged commits are missing.',
  'record-damaged': 'A record is not what was written. It is left as it is, and whoever reads it is told.',
} as const;

/** The code of a finding; see {@link FINDING_CODES}. */
export type FindingCode = keyof typeof FINDING_CODES;
