/**
 * What the files of a store amount to: a pure function from their bytes to the state, with a report of all that was wrong.
 *
 * **Invariants:**
 * - Every sound line of every file of the store counts, unless a complete snapshot makes it old, or the journal after it says
 *   that it was never acknowledged. Of two versions of a key the one with the larger revision stands.
 * - Of the complete snapshots of the store, the one with the highest revision counts, whatever its name.
 * - Whenever something acknowledged may be missing, a finding says so.
 * - Recovering what was recovered gives the same again: records are absolute, and revisions are never given twice.
 */
import { type Json, LoopStateError, type Put, type RecoveryFinding } from '@loopstate/core';
import { type FindingCode, HOW_TO_RESET } from './findings.js';
import { type FileRole, type FoundStore, readStore, type StoreFiles, type WholeSnapshot } from './found-store.js';
import { followJournals, type JournalChain } from './journal-chain.js';
import { type OldFile, parseOldFile } from './old-file.js';
import type { RecordBlock } from './record-block.js';
import type { LogEntry } from './record-log.js';
import type { FoundSnapshot } from './snapshot.js';

/** More revisions than one journal can hold: what is skipped where some may have been given that are not known. */
const REVISIONS_SKIPPED = 1_000_000_000;

/** Makes records of a state file of an older format. */
export type ImportOldFormat = (document: { readonly [name: string]: Json }, store: string) => readonly Put[];

/** What recovery needs besides the bytes. */
export interface RecoveryOptions {
  /** The path of a file, for reports. */
  readonly pathOf: (role: FileRole) => string;
  /** The records that a document of an older format stands for, in the store of that identity. */
  readonly importOldFormat: ImportOldFormat;
  /** The identity that the store gets if it has none. */
  readonly newStore: string;
  /** The time that imported records get, in ms since the epoch. */
  readonly at: number;
}

/** A finding, and the file that it asks to put aside. */
export interface FileFinding extends RecoveryFinding {
  readonly code: FindingCode;
  readonly aside?: FileRole;
}

/** The state that the files amount to. */
export interface Recovered {
  /** The identity of the store. */
  readonly store: string;
  /** The lines of the whole snapshot that it begins with, if there is one. */
  readonly blocks: readonly RecordBlock[];
  /** The records and the deletions that come after those, in the order of revisions. */
  readonly entries: readonly LogEntry[];
  /** No revision up to this one may be given again. */
  readonly revision: number;
  /** The newest revision among what was recovered. */
  readonly applied: number;
  /** The largest revision of a deletion that is no longer known. */
  readonly forgotten: number;
  /** The one before the next: the largest that any file names, or one that never existed. */
  readonly generation: number;
  /** The journal that the next one comes after: the newest in which commits may stand, or one that never existed; 0: none. */
  readonly lineage: number;
  readonly findings: readonly FileFinding[];
  /** The newest journal, and where its next line goes. */
  readonly newest?: { readonly generation: number; readonly endBytes: number };
  /** Set if the store was closed and all is well: its journal can be used as it is. */
  readonly resume?: { readonly generation: number; readonly endBytes: number; readonly sizeBytes: number };
  /** The generation of the state file if it is sound, and so may become the previous one; 0: it is not. */
  readonly stateGeneration: number;
  /** The files were not as this store leaves them: two snapshots are to be made of what was recovered, so that the previous one shows it too. */
  readonly needsSecondCopy: boolean;
  /** The generation of the previous snapshot if it is sound; 0: none. */
  readonly previousGeneration: number;
}

/**
 * Recovers the state from the bytes; `undefined`: of a file of which the beginning was read, more is needed.
 *
 * Errors: `LOOPSTATE_NEWER_FORMAT`, `LOOPSTATE_FOREIGN`; both mean that nothing may be touched.
 */
export function recoverStore(files: StoreFiles, options: RecoveryOptions): Recovered | undefined {
  const found = readStore(files);
  if (found === undefined) return undefined;
  const [newer] = found.newer;
  if (newer !== undefined) {
    const path = options.pathOf(newer);
    throw new LoopStateError('LOOPSTATE_NEWER_FORMAT', `${path} was written by a newer loopstate: update this one. Nothing was touched.`);
  }
  return recoverAlone(files, found, options) ?? recoverTogether(files, found, options);
}

/** The state file by itself; `undefined` if it is to be seen together with others. */
function recoverAlone(files: StoreFiles, found: FoundStore, options: RecoveryOptions): Recovered | undefined {
  const { state } = found;
  if (files.previous !== undefined || found.strangers.length + found.misnamed.length > 0) return undefined;
  const journals = [...found.journals.values()];
  if (journals.some(({ commits, gaps, header }) => commits + gaps.length > 0 || header === undefined)) return undefined;
  // They were begun by a store in which there was something.
  if (state?.isBlank && journals.some(({ header }) => header !== undefined && header.since + header.after > 0)) return undefined;
  if (files.state === undefined || state === undefined) return files.journals.size === 0 ? emptyState(found, [], options) : undefined;
  if (state.isBlank) {
    const what = 'was empty, with nothing beside it: the store starts empty.';
    return emptyState(found, [finding(options, 'snapshot-empty', 'warning', 'state', what, 'state')], options);
  }
  if (state.isOurs) return state.isComplete || files.journals.size > 0 ? undefined : salvage(found, state, options);
  const old = parseOldFile(files.state);
  if (old !== undefined) return takeOver(found, old, options);
  const path = options.pathOf('state');
  throw new LoopStateError(
    'LOOPSTATE_FOREIGN',
    `${path} holds something that loopstate did not write: name another file. Nothing was touched.`,
  );
}

function emptyState(found: FoundStore, findings: readonly FileFinding[], { newStore }: RecoveryOptions): Recovered {
  return {
    store: found.store ?? newStore,
    blocks: [],
    entries: [],
    revision: 0,
    applied: 0,
    forgotten: 0,
    generation: found.generation,
    lineage: 0,
    findings,
    stateGeneration: 0,
    needsSecondCopy: false,
    previousGeneration: 0,
  };
}

function salvage(found: FoundStore, state: FoundSnapshot, options: RecoveryOptions): Recovered {
  const entries = newestPerKey(state.entries);
  const missing =
    state.header === undefined ? 'its beginning and perhaps more' : `${Math.max(0, state.header.records - entries.length)} records`;
  const what = `is damaged and stands alone: ${entries.length} records were salvaged; ${missing} are lost.`;
  const revision = found.highestRevision + 2 * REVISIONS_SKIPPED;
  return {
    ...emptyState(found, [finding(options, 'snapshot-damaged', 'loss', 'state', what, 'state')], options),
    entries,
    revision,
    applied: entries.at(-1)?.revision ?? 0,
    forgotten: revision,
    ...cutOff(found),
    needsSecondCopy: true,
  };
}

function takeOver(found: FoundStore, old: OldFile, options: RecoveryOptions): Recovered {
  const puts = options.importOldFormat(old.document, found.store ?? options.newStore);
  const report = old.isTorn
    ? finding(
        options,
        'old-format-salvaged',
        'loss',
        'state',
        `was torn, in an older format: ${puts.length} records were salvaged, and what is missing at its end is lost.`,
        'state',
      )
    : finding(options, 'old-format-imported', 'info', 'state', `had an older format: its ${puts.length} records were taken over.`, 'state');
  const entries = puts.map(({ key, value }, place) => ({ key, revision: place + 1, at: options.at, text: JSON.stringify(value) }));
  return {
    ...emptyState(found, [report], options),
    entries,
    revision: entries.length,
    applied: entries.length,
    ...cutOff(found),
    needsSecondCopy: true,
  };
}

type StateVerdict = 'absent' | 'sound' | 'damaged' | 'replaced';

function recoverTogether(files: StoreFiles, found: FoundStore, options: RecoveryOptions): Recovered {
  const verdict = judgeState(files, found);
  const base = found.wholes[0];
  const previous = judgePrevious(found, options);
  const chain = followJournals(found.journals, base?.header, expectedJournal(files, found));
  const isIncomplete = chain.findings.some(({ severity }) => severity === 'loss');
  const findings = [
    ...previous,
    ...found.strangers.map((role) => finding(options, 'other-store', 'warning', role, 'belongs to another store.', role)),
    ...found.misnamed.map((role) => finding(options, 'journal-damaged', 'warning', role, 'is a journal of another name.', role)),
    ...chain.findings.map((f) =>
      finding(options, f.code, f.severity, f.generation, f.what, f.isAside && files.journals.has(f.generation) ? f.generation : undefined),
    ),
    ...reportUntold(base, found, options),
    ...reportState(verdict, { isIncomplete, isUnused: isUnused(files, found) }, options),
  ];
  return assemble({
    files,
    found,
    base,
    chain,
    isIncomplete,
    findings,
    isStateSound: verdict === 'sound',
    isPreviousSound: previous.length === 0,
    newStore: options.newStore,
  });
}

function judgeState(files: StoreFiles, { state, store, previous, wholes }: FoundStore): StateVerdict {
  if (state === undefined) return 'absent';
  if (state.header !== undefined && state.header.store !== store) return 'replaced';
  if (!state.isOurs && !state.isBlank) return 'replaced';
  if (!state.isComplete || state.header === undefined) return 'damaged';
  if (files.isPreviousState) return 'sound';
  // An interrupted replacement leaves one file under two names; an equal copy is one that somebody put back.
  const isCopy =
    previous?.isComplete === true && previous.header?.store === store && previous.header?.generation === state.header.generation;
  return isCopy || wholes[0] !== state ? 'replaced' : 'sound';
}

function judgePrevious({ previous, store }: FoundStore, options: RecoveryOptions): FileFinding[] {
  if (previous === undefined) return [];
  if (previous.header !== undefined && previous.header.store !== store) {
    return [finding(options, 'other-store', 'warning', 'previous', 'belongs to another store.', 'previous')];
  }
  return previous.isComplete ? [] : [finding(options, 'previous-damaged', 'warning', 'previous', 'is damaged.', 'previous')];
}

/** The generation of a journal that must have existed: it is made before its snapshot, and that before the one it replaces is put by. */
function expectedJournal(files: StoreFiles, { state, previous, store }: FoundStore): number {
  const isAlone = files.previous === undefined && files.journals.size === 0;
  if (isAlone && state?.isComplete && state.header?.closed) return 0;
  const ofState = state?.header?.store === store ? (state?.header?.generation ?? 0) : 0;
  const ofPrevious = previous?.header?.store === store ? (previous?.header?.generation ?? 0) + 1 : 0;
  return Math.max(ofState, previous === undefined ? 0 : ofPrevious);
}

/** The first start of a store may end between its journal and its snapshot. */
function isUnused(files: StoreFiles, found: FoundStore): boolean {
  return files.previous === undefined && [...found.journals.values()].every(({ commits }) => commits === 0);
}

function reportState(verdict: StateVerdict, known: { isIncomplete: boolean; isUnused: boolean }, options: RecoveryOptions): FileFinding[] {
  const severity = known.isIncomplete ? 'loss' : 'warning';
  const outcome = known.isIncomplete
    ? 'What the files beside it hold was recovered, which is not all.'
    : 'All was recovered from the files beside it.';
  switch (verdict) {
    case 'sound':
      return [];
    case 'absent':
      if (known.isUnused && !known.isIncomplete) return [];
      return [finding(options, 'snapshot-missing', severity, 'state', `is gone. ${outcome} ${HOW_TO_RESET}`)];
    case 'damaged':
      return [finding(options, 'snapshot-damaged', severity, 'state', `is damaged. ${outcome}`, 'state')];
    case 'replaced':
      return [
        finding(options, 'snapshot-replaced', severity, 'state', `is not what this store wrote last. ${outcome} ${HOW_TO_RESET}`, 'state'),
      ];
  }
}

function reportUntold(base: WholeSnapshot | undefined, { state }: FoundStore, options: RecoveryOptions): FileFinding[] {
  // In the previous snapshot it stands for good, and what was written after it may say that it was told.
  const isTold = base !== state && state?.header !== undefined && state.header.store === base?.header.store && state.header.untold !== true;
  if (base?.header.untold !== true || isTold) return [];
  const what = 'was repaired by a start that found a loss, and may have ended before it told of it. Damaged files are kept beside it.';
  return [finding(options, 'repair-interrupted', 'loss', 'state', what)];
}

interface Assembly {
  readonly files: StoreFiles;
  readonly found: FoundStore;
  readonly base: WholeSnapshot | undefined;
  readonly chain: JournalChain;
  readonly isIncomplete: boolean;
  readonly findings: readonly FileFinding[];
  readonly isStateSound: boolean;
  readonly isPreviousSound: boolean;
  readonly newStore: string;
}

function assemble(parts: Assembly): Recovered {
  const { files, found, base, chain, isIncomplete, findings } = parts;
  const known = base?.header.revision ?? 0;
  const blocks = base?.blocks ?? [];
  const entries = newestPerKey(collect(parts, known));
  const resume = findings.length === 0 && parts.isStateSound ? findResume(files, found, chain) : undefined;
  const alarms = findings.filter(({ severity }) => severity !== 'info').length;
  // A state file that stands alone may be a copy, or all that is left of a store that went on from it.
  const revision = resume !== undefined ? known : found.highestRevision + (1 + alarms) * REVISIONS_SKIPPED;
  return {
    store: found.store ?? parts.newStore,
    blocks,
    entries,
    revision,
    applied: Math.max(known, entries.at(-1)?.revision ?? 0, ...chain.links.map(({ journal }) => journal?.header?.since ?? 0)),
    forgotten: isIncomplete ? revision : (base?.header.forgotten ?? 0),
    ...(isIncomplete
      ? cutOff(found)
      : { generation: found.generation, lineage: chain.links[0]?.generation ?? base?.header.generation ?? 0 }),
    findings,
    ...newestOf(chain),
    ...(resume === undefined ? {} : { resume }),
    stateGeneration: parts.isStateSound ? (found.state?.header?.generation ?? 0) : 0,
    needsSecondCopy: alarms > 0,
    previousGeneration: parts.isPreviousSound ? (found.previous?.header?.generation ?? 0) : 0,
  };
}

/** All that counts; from damaged snapshots and journals beside the chain too, for want of anything better, if the rest is not all. */
function collect({ found, base, chain, isIncomplete }: Assembly, known: number): LogEntry[] {
  // A snapshot whose lines are taken as they are comes first, and what is collected goes on top of it.
  const entries = base?.blocks === undefined ? [...(base?.entries ?? [])] : [];
  if (isIncomplete) {
    for (const snapshot of [found.previous, found.state]) {
      if (snapshot?.header !== undefined && snapshot.header.store !== found.store) continue;
      for (const entry of snapshot?.entries ?? []) if (entry.revision > known) entries.push(entry);
    }
    for (const [generation, journal] of found.journals) {
      if (chain.links.some((link) => link.generation === generation)) continue;
      for (const entry of journal.entries) if (entry.revision > known) entries.push(entry);
    }
  }
  for (const { journal, limit } of chain.links) {
    for (const entry of journal?.entries ?? []) {
      if (entry.revision > known && (limit === undefined || entry.revision <= limit)) entries.push(entry);
    }
  }
  return entries;
}

function findResume(files: StoreFiles, { wholes, previous }: FoundStore, { links }: JournalChain): Recovered['resume'] | undefined {
  const [base] = wholes;
  const [newest] = links;
  const journal = newest?.journal;
  if (base === undefined || newest === undefined || journal === undefined) return undefined;
  // Nothing but a previous snapshot of the generation before shows that the journal ever was.
  if ((previous?.header?.generation ?? -1) + 1 < newest.generation) return undefined;
  const isUntouched = journal.commits === 0 && journal.gaps.length === 0 && journal.hasSpace;
  if (!base.header.closed || newest.generation !== base.header.generation || !isUntouched) return undefined;
  return { generation: newest.generation, endBytes: journal.endBytes, sizeBytes: files.journals.get(newest.generation)?.length ?? 0 };
}

function newestOf({ links }: JournalChain): Pick<Recovered, 'newest'> {
  const [link] = links;
  return link?.journal === undefined ? {} : { newest: { generation: link.generation, endBytes: link.journal.endBytes } };
}

/** What was found does not lead to the next generation: the one that is named as its predecessor never existed. */
function cutOff({ generation }: FoundStore): Pick<Recovered, 'generation' | 'lineage'> {
  return { generation: generation + 1, lineage: generation + 1 };
}

/** Each key once, as of its largest revision, in the order of revisions. */
function newestPerKey(entries: readonly LogEntry[]): LogEntry[] {
  const newest = new Map<string, LogEntry>();
  for (const entry of entries) if ((newest.get(entry.key)?.revision ?? -1) <= entry.revision) newest.set(entry.key, entry);
  return [...newest.values()].sort((a, b) => a.revision - b.revision);
}

function finding(
  options: RecoveryOptions,
  code: FindingCode,
  severity: RecoveryFinding['severity'],
  role: FileRole,
  what: string,
  aside?: FileRole,
): FileFinding {
  const where = options.pathOf(role);
  return { code, severity, where, message: `${where} ${what}`, ...(aside === undefined ? {} : { aside }) };
}
