/** The journals that lead from a snapshot to the newest commit, and what is wrong with them. */
import type { RecoveryFinding } from '@loopstate/core';
import type { FindingCode } from './findings.js';
import type { FoundJournal } from './journal.js';
import type { SnapshotHeader } from './snapshot.js';

/** One journal of a chain. */
export interface ChainLink {
  readonly generation: number;
  /** Absent: it is missing. */
  readonly journal?: FoundJournal;
  /** The newest revision in it that counts, by the header of the next journal; absent in the newest one. */
  readonly limit?: number;
}

/** What is wrong with one journal. */
export interface ChainFinding {
  readonly code: FindingCode;
  readonly severity: RecoveryFinding['severity'];
  readonly generation: number;
  readonly what: string;
  readonly isAside: boolean;
}

/** The chain, newest first. */
export interface JournalChain {
  readonly links: readonly ChainLink[];
  readonly findings: readonly ChainFinding[];
}

/**
 * Follows the journals back to `base` (to the first one of the store when there is none) and judges them. `newestExpected` is
 * the generation of a journal that is known to have existed. Something acknowledged may be missing if any finding is a loss.
 */
export function followJournals(
  journals: ReadonlyMap<number, FoundJournal>,
  base: SnapshotHeader | undefined,
  newestExpected: number,
): JournalChain {
  const links = walk(journals, base?.generation ?? 1);
  const findings = links.flatMap((link) => judge(link, base));
  const expected = Math.max(newestExpected, ...links.map(({ journal }) => journal?.next ?? 0));
  if ((links[0]?.generation ?? 0) < expected) findings.push(missing(expected));
  const oldest = links.at(-1);
  if (oldest !== undefined && !reachesBase(oldest, base)) findings.push(missing(Math.max(1, oldest.generation - 1)));
  return { links, findings };
}

function walk(journals: ReadonlyMap<number, FoundJournal>, floor: number): ChainLink[] {
  const links: ChainLink[] = [];
  let generation = newestBelow(journals, Number.POSITIVE_INFINITY);
  let limit: number | undefined;
  while (generation >= Math.max(1, floor)) {
    const journal = journals.get(generation);
    links.push({ generation, ...(journal === undefined ? {} : { journal }), ...(limit === undefined ? {} : { limit }) });
    limit = journal?.header?.since;
    // Without its header a journal does not say which came before: the one just before it is the best guess.
    const after = journal?.header?.after ?? newestBelow(journals, generation);
    generation = Math.min(after, generation - 1);
  }
  return links;
}

function newestBelow(journals: ReadonlyMap<number, FoundJournal>, generation: number): number {
  return Math.max(0, ...[...journals.keys()].filter((other) => other < generation));
}

function judge({ generation, journal, limit }: ChainLink, base: SnapshotHeader | undefined): ChainFinding[] {
  const known = base?.revision ?? 0;
  const isCovered = limit !== undefined && limit <= known;
  // A later one that never existed is named where something was lost, until a snapshot stands that was made after that.
  if (journal === undefined) return isCovered && generation === base?.generation ? [] : [missing(generation)];
  const counts = (revision: number) => limit === undefined || revision <= limit;
  const newest = journal.entries.reduce((last, { revision }) => (counts(revision) ? Math.max(last, revision) : last), 0);
  const isCut = limit !== undefined && Math.max(newest, known, journal.header?.since ?? 0) < limit;
  const hasGap = journal.header === undefined || journal.gaps.some(({ before }) => before !== undefined && counts(before));
  if (hasGap || isCut) {
    const severity = isCovered ? 'warning' : 'loss';
    const what = isCovered
      ? 'is damaged where the snapshot covers it.'
      : 'is damaged: every sound line was kept, and what stood in the others is lost.';
    return [{ code: 'journal-damaged', severity, generation, what, isAside: true }];
  }
  // In an older journal, what follows the last line that counts is a write that failed and was never acknowledged.
  if (limit !== undefined || (journal.gaps.length === 0 && journal.hasSpace)) return [];
  const what = 'ends in a write that was cut short and never acknowledged: it was dropped.';
  return [{ code: 'torn-tail', severity: 'info', generation, what, isAside: false }];
}

/** True if nothing can be missing between the base and this oldest journal of the chain. */
function reachesBase({ journal }: ChainLink, base: SnapshotHeader | undefined): boolean {
  if (journal?.header === undefined) return true; // Reported by itself, as damaged or missing.
  if (base === undefined) return journal.header.after === 0;
  return journal.header.since <= base.revision;
}

function missing(generation: number): ChainFinding {
  return { code: 'journal-missing', severity: 'loss', generation, what: 'is gone: what only it held is lost.', isAside: false };
}
