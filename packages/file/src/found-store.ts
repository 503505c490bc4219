/**
 * The files of a store, read and sorted by what they hold: a snapshot or journal counts for what it is, whatever its name.
 */
import { type FoundJournal, type JournalHeader, parseJournal, parseJournalHeader } from './journal.js';
import { type FoundSnapshot, parseSnapshot, parseSnapshotHeader, type SnapshotHeader, type SnapshotScan } from './snapshot.js';

/** A file of a store: the state file, the previous snapshot, or the journal of a generation. */
export type FileRole = 'state' | 'previous' | number;

/** The bytes that were found. */
export interface StoreFiles {
  readonly state?: Buffer;
  /** What was made of the state file while it was read. */
  readonly stateScan?: SnapshotScan;
  readonly previous?: Buffer;
  readonly journals: ReadonlyMap<number, Buffer>;
  /** Those of which no more than the beginning was read, which does only for what is known to be old. */
  readonly beginnings: ReadonlySet<FileRole>;
  /** The state file and the previous one are one file under two names: a replacement that was interrupted. */
  readonly isPreviousState: boolean;
}

/** A snapshot every line of which is there. */
export interface WholeSnapshot extends FoundSnapshot {
  readonly header: SnapshotHeader;
}

/** See {@link readStore}. */
export interface FoundStore {
  /** The identity that most of the files have, those beside the state file first. */
  readonly store: string | undefined;
  readonly state?: FoundSnapshot;
  readonly previous?: FoundSnapshot;
  /** Files of a newer format. */
  readonly newer: readonly FileRole[];
  /** By generation: what the header says or, without one, the name. Those of other stores are left out. */
  readonly journals: ReadonlyMap<number, FoundJournal>;
  /** Complete snapshots of the store, the one with the highest revision first. */
  readonly wholes: readonly WholeSnapshot[];
  /** Journals that belong to another store. */
  readonly strangers: readonly FileRole[];
  /** Files that stand under a name which is not theirs. */
  readonly misnamed: readonly FileRole[];
  /** The largest generation that any file names. */
  readonly generation: number;
  /** The largest revision that any file of the store shows, whether it counts or not. */
  readonly highestRevision: number;
}

/** Reads all files as what they may be; `undefined`: of a file of which the beginning was read, more is needed. */
export function readStore(files: StoreFiles): FoundStore | undefined {
  const parsed = parseSnapshots(files);
  const { state, previous, isOvertaken, oldest } = parsed;
  // The beginning of a file does only where it says that the file is old.
  const isPreviousUnknown = files.beginnings.has('previous') && previous?.header === undefined;
  if (isPreviousUnknown || (oldest === 0 && files.beginnings.size > 0)) return undefined;
  const named = new Map<number, FoundJournal>();
  for (const [generation, bytes] of files.journals) {
    const taken = generation < oldest ? parseJournalHeader(bytes) : undefined;
    // A state file of another store, put in the place of this one's, makes none of its journals old.
    const isOld = taken?.header?.generation === generation && taken.header.store === state?.header?.store;
    if (!isOld && files.beginnings.has(generation)) return undefined;
    named.set(generation, isOld ? taken : parseJournal(bytes));
  }
  const store = electStore(state, [previous?.header?.store, ...[...named.values()].map((journal) => journal.header?.store)]);
  const { journals, misnamed, strangers } = sortJournals(files, { named, parsed, store });
  const snapshots = [state, previous, ...misnamedSnapshots(files, named)].filter((snapshot) => snapshot !== undefined);
  const ofStore = snapshots.filter(({ header }) => header === undefined || header.store === store);
  const isWhole = (snapshot: FoundSnapshot): snapshot is WholeSnapshot => snapshot.isComplete && snapshot.header !== undefined;
  const wholes = ofStore.filter(isWhole).filter((snapshot) => snapshot !== state || !isOvertaken);
  const newer: FileRole[] = [...named].filter(([, journal]) => journal.isNewer).map(([generation]) => generation);
  if (previous?.isNewer) newer.unshift('previous');
  if (state?.isNewer) newer.unshift('state');
  return {
    store,
    ...(state === undefined ? {} : { state }),
    ...(previous === undefined ? {} : { previous }),
    newer,
    journals,
    wholes: wholes.sort((a, b) => b.header.revision - a.header.revision || b.header.generation - a.header.generation),
    strangers,
    misnamed,
    generation: Math.max(0, ...named.keys(), ...journals.keys(), ...ofStore.map(({ header }) => header?.generation ?? 0)),
    highestRevision: highestRevision(ofStore, [...journals.values()]),
  };
}

interface ParsedSnapshots {
  readonly state?: FoundSnapshot;
  readonly previous?: FoundSnapshot;
  /** The state file is not the one that its journal was begun with, but an older one, or one of a copy that was worked on elsewhere. */
  readonly isOvertaken: boolean;
  /** Of what is older than this generation only the first lines are needed; 0: all is. */
  readonly oldest: number;
}

interface ParsedFiles {
  readonly named: ReadonlyMap<number, FoundJournal>;
  readonly parsed: ParsedSnapshots;
  readonly store: string | undefined;
}

function parseSnapshots(files: StoreFiles): ParsedSnapshots {
  const state = files.state === undefined ? undefined : parseSnapshot(files.state, files.stateScan);
  const own = ownJournal(files, state);
  const taken = files.previous === undefined ? undefined : parseSnapshotHeader(files.previous);
  const isOvertaken = own !== undefined && own.since > (state?.header?.revision ?? 0);
  const oldest = own !== undefined && !isOvertaken && isEnough(state, taken) ? own.generation : 0;
  // What a complete state file makes old is not needed, and would make opening as slow as there are files.
  const previous = files.previous === undefined || oldest > 0 ? taken : parseSnapshot(files.previous);
  return { ...(state === undefined ? {} : { state }), ...(previous === undefined ? {} : { previous }), isOvertaken, oldest };
}

/** True if the state file is complete, and in all newer than the previous one says of itself. */
function isEnough(state: FoundSnapshot | undefined, previous: FoundSnapshot | undefined): boolean {
  if (!state?.isComplete || state.header === undefined) return false;
  if (previous?.header === undefined) return true;
  const { store, generation, revision } = state.header;
  // A copy that was worked on elsewhere, and put back, may have more generations, and fewer revisions, than what it replaces.
  return previous.header.store === store && previous.header.generation < generation && previous.header.revision <= revision;
}

/** What the journal says that was begun with the state file; `undefined`: it is not there. */
function ownJournal(files: StoreFiles, state: FoundSnapshot | undefined): JournalHeader | undefined {
  const bytes = files.journals.get(state?.header?.generation ?? 0);
  const header = bytes && parseJournalHeader(bytes).header;
  return header?.store === state?.header?.store && header?.generation === state?.header?.generation ? header : undefined;
}

function electStore(state: FoundSnapshot | undefined, siblings: readonly (string | undefined)[]): string | undefined {
  const votes = new Map<string, number>();
  for (const store of siblings) if (store !== undefined) votes.set(store, (votes.get(store) ?? 0) + 1);
  // The state file is the one that people copy about: it only breaks a tie.
  const own = state?.header?.store;
  if (own !== undefined) votes.set(own, (votes.get(own) ?? 0) + 0.5);
  return [...votes].sort(([, a], [, b]) => b - a)[0]?.[0];
}

function sortJournals(files: StoreFiles, { named, parsed, store }: ParsedFiles) {
  const journals = new Map<number, FoundJournal>();
  const misnamed: FileRole[] = [];
  const strangers: FileRole[] = [];
  const found: [FileRole, FoundJournal][] = [...named];
  for (const role of ['previous', 'state'] as const) {
    const bytes = files[role];
    if (bytes === undefined || parsed[role]?.isOurs) continue;
    const journal = parseJournal(bytes);
    if (journal.header !== undefined) found.push([role, journal]);
  }
  for (const [role, journal] of found) {
    if (journal.header !== undefined && journal.header.store !== store) strangers.push(role);
    else if (typeof role === 'number' && (journal.header?.generation ?? role) === role) journals.set(role, journal);
    else misnamed.push(role);
  }
  for (const role of misnamed) {
    const journal = found.find(([other]) => other === role)?.[1];
    const generation = journal?.header?.generation;
    // One without a header stands there for want of anything better.
    if (generation !== undefined && journals.get(generation)?.header === undefined && journal !== undefined)
      journals.set(generation, journal);
  }
  return { journals, misnamed, strangers };
}

function misnamedSnapshots(files: StoreFiles, named: ReadonlyMap<number, FoundJournal>): FoundSnapshot[] {
  const headless = [...named].filter(([, journal]) => journal.header === undefined);
  return headless
    .map(([generation]) => parseSnapshot(files.journals.get(generation) ?? Buffer.alloc(0)))
    .filter(({ isComplete }) => isComplete);
}

function highestRevision(snapshots: readonly FoundSnapshot[], journals: readonly FoundJournal[]): number {
  let highest = 0;
  for (const { header } of snapshots) highest = Math.max(highest, header?.revision ?? 0);
  for (const { header } of journals) highest = Math.max(highest, header?.since ?? 0);
  // A whole snapshot has nothing newer than its header says.
  for (const { entries } of [...snapshots.filter(({ isComplete }) => !isComplete), ...journals]) {
    for (const { revision } of entries) highest = Math.max(highest, revision);
  }
  return highest;
}
