/**
 * A store that is open: its records in memory, its journal and its snapshots on the disk.
 *
 * **Invariants:**
 * - Nothing is readable, and no commit resolves, before the write that carries it has succeeded: synced, unless all commits of
 *   the group asked for less.
 * - Commits are judged one after another, in the order they came; at most one write is in flight.
 * - `#revision` is the last revision given and only grows; `#applied` is the last one that took effect. What a failed write
 *   carried lies between the two for ever.
 * - After a failed write nothing is acknowledged until a new journal and a new snapshot, of what is in memory, stand on new inodes.
 * - Once a commit that was written could not be taken into memory, nothing more is answered or written: the files hold it all.
 * - Once another process has taken the store, whose lock was removed, nothing more is written either.
 * - At most one snapshot is being written; commits go on beside it in the journal that was begun before it.
 *
 * **States of the journal:** *good* (commits append); *failed* (none can: the next flush, or `close`, starts anew); *doubtful*
 * (a newer one may exist: the same as failed).
 */
import {
  type CheckedCommit,
  type CommitResult,
  type Conflict,
  isLoopStateError,
  LoopStateError,
  type RecoveryFinding,
  UnavailableError,
} from '@loopstate/core';
import { takeGroup, type Waiting } from './commit-group.js';
import type { Disk } from './disk.js';
import { type FindingCode, HOW_TO_RESET } from './findings.js';
import { encodeCommit } from './journal.js';
import { JournalFile, JournalInDoubtError } from './journal-file.js';
import type { StoreNames } from './names.js';
import { type LogEntry, type RecordLog, toRecord } from './record-log.js';
import type { SnapshotFile } from './snapshot-file.js';
import { roomBytes, storeIsFull } from './store-size.js';
import { outcomeUnknown, unavailable } from './trouble.js';

/** What a store is opened with. */
export interface StoreParts {
  readonly disk: Disk;
  readonly names: StoreNames;
  readonly store: string;
  readonly log: RecordLog;
  readonly snapshots: SnapshotFile;
  /** Errors: `LOOPSTATE_LOCKED` when another process has the store now; any other says that it can't be known. */
  readonly assertHeld: () => Promise<void>;
  readonly temporary: () => string;
  readonly now: () => number;
  /** Compaction starts when the journal has outgrown the snapshot, and this. */
  readonly compactAtBytes: number;
  /** The space that a journal is given at first. */
  readonly journalSpaceBytes: number;
  /** The size up to which a file can be read again. */
  readonly readableBytesMax: number;
  readonly revision: number;
  readonly applied: number;
  /** The largest generation in use. */
  readonly generation: number;
  /** The generation of the newest journal in which commits may stand. */
  readonly lineage: number;
  readonly findings: readonly RecoveryFinding[];
  /** The generation of the state file if it was verified; 0: it was not. */
  readonly stateGeneration: number;
  /** The journal of a store that was closed, to go on in. */
  readonly journal?: JournalFile;
}

/** So often it is seen to that the store is still nobody else's. */
const LOOK_EVERY_MS = 500;

/** A commit of a group, judged. */
interface Judged {
  readonly waiting: Waiting;
  readonly result: CommitResult;
}

/** See the invariants above. */
export class FileStore {
  readonly names: StoreNames;
  readonly #parts: StoreParts;
  readonly #log: RecordLog;
  readonly #findings: RecoveryFinding[];
  readonly #listeners = new Set<(finding: RecoveryFinding) => void>();
  #revision: number;
  #applied: number;
  #generation: number;
  #lineage: number;
  #journal: JournalFile | undefined;
  #isChanged: boolean;
  #queue: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #compacting: Promise<void> | undefined;
  /** What the journals before the current one hold that no snapshot does. */
  #olderJournalBytes = 0;
  #compactAtBytes = 0;
  #isCompactionFailing = false;
  /** A snapshot is not written, its journal perhaps not begun either, without which nothing may be acknowledged. */
  #needsSnapshot = false;
  /** This store has written, or verified, the state file: what stood there before is in the report of opening. */
  #isStanding: boolean;
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** What stopped the store; see the invariants. */
  #stoppedBy: unknown;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    this.names = parts.names;
    this.#log = parts.log;
    this.#findings = [...parts.findings];
    this.#revision = parts.revision;
    this.#applied = parts.applied;
    this.#generation = parts.generation;
    this.#lineage = parts.lineage;
    this.#journal = parts.journal;
    this.#isChanged = parts.journal === undefined;
    this.#isStanding = parts.stateGeneration > 0;
    this.#compactAtBytes = this.#nextCompactionBytes();
    void this.#log.deflateOld();
  }

  get findings(): readonly RecoveryFinding[] {
    return this.#findings;
  }

  /** Errors: `LOOPSTATE_UNAVAILABLE` when memory may hold half of a commit. */
  get log(): RecordLog {
    this.#assertRunning();
    return this.#log;
  }

  /** Calls back with each finding from now on; returns what ends it. */
  listen(listener: (finding: RecoveryFinding) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  commit(commit: CheckedCommit): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ commit, resolve, reject });
      this.#flushing ??= this.#flushAll();
    });
  }

  /**
   * Begins a new generation of journal and snapshot. `untold`: see {@link SnapshotHeader}. Errors: any system error; nothing is acknowledged
   * until it succeeds.
   */
  async startAnew(options: { closed: boolean; untold?: true | undefined } = { closed: false }): Promise<void> {
    await this.#compacting;
    const isBegun = await this.#isBegun();
    this.#needsSnapshot = true;
    if (!isBegun) await this.#beginJournal();
    await this.#writeSnapshot(options);
    this.#needsSnapshot = false;
  }

  /**
   * The same again on top of one that succeeded, so that the previous snapshot shows it too. Never rejects: what failed is reported, with all
   * else that was found, to who opens; the next commits try it again, and are refused until it stands. True if it does.
   */
  async startAnewAgain(): Promise<boolean> {
    try {
      await this.startAnew();
      return true;
    } catch (error) {
      this.#reportFailedCompaction(error);
      return false;
    }
  }

  /**
   * The previous snapshot shows that there was a journal after its own, and none beyond that. Where another was begun in between, without its
   * snapshot, the newest could be lost with the state file, and nothing would tell.
   */
  get isPreviousBehind(): boolean {
    return this.#parts.snapshots.previousGeneration + 1 < this.#generation;
  }

  /** Puts the state file right if it is not the one that this store wrote. Errors: any system error. */
  async verify(): Promise<void> {
    this.#assertRunning();
    await this.#compacting;
    if (await this.#parts.snapshots.isOurs()) return;
    this.#compactAtBytes = 0;
    await this.#flushing;
    // In its turn: a journal is changed only between two groups.
    this.#flushing ??= this.#flushAll();
    await this.#flushing;
    await this.#compacting;
  }

  /** Finishes what is in flight and leaves a state file that suffices by itself. Never rejects: what could not be done is reported. */
  async close(): Promise<void> {
    await this.#flushing;
    await this.#compacting;
    try {
      if (this.#isChanged && this.#stoppedBy === undefined) {
        await this.#lookAtLock();
        this.#assertRunning();
        await this.startAnew({ closed: true });
      }
    } catch (error) {
      this.#reportFailedCompaction(error);
    }
    this.#log.close();
    // Whatever the system says: nothing is written after this.
    await this.#journal?.close().catch(() => undefined);
  }

  /** Leaves a store that could not be opened after all, and what it made, which holds no commit. Never rejects. */
  async abandon(): Promise<void> {
    this.#log.close();
    const journal = this.#journal;
    try {
      await journal?.close();
      if (journal === undefined || journal === this.#parts.journal) return;
      // With the journal of its generation missing, a snapshot would say that something is lost.
      if (await this.#parts.snapshots.isOfGeneration(journal.generation)) return;
      await this.#parts.disk.unlink(this.names.journal(journal.generation));
    } catch {
      // What is left costs its space until the next start that succeeds.
    }
  }

  async #flushAll(): Promise<void> {
    do {
      // Everyone who was answered gets to speak before the next group is closed.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      const group = takeGroup(this.#queue);
      try {
        if (performance.now() - this.#lookedAt >= LOOK_EVERY_MS) await this.#lookAtLock();
        this.#assertRunning();
        if (this.#isReady() || (await this.#makeReady(group))) await this.#flush(group);
      } catch (error) {
        this.#stop(group, error);
      }
    } while (this.#queue.length > 0);
    this.#flushing = undefined;
  }

  async #lookAtLock(): Promise<void> {
    this.#lookedAt = performance.now();
    try {
      await this.#parts.assertHeld();
    } catch (error) {
      // Anything else, such as a directory that was closed, says nothing of another process.
      if (isLoopStateError(error, 'LOOPSTATE_LOCKED')) this.#stoppedBy ??= error;
    }
  }

  #assertRunning(): void {
    const cause = this.#stoppedBy;
    if (cause === undefined) return;
    const message = isLoopStateError(cause, 'LOOPSTATE_LOCKED')
      ? `The lock of ${this.names.state} was removed, and another process took the state: what was committed here since may be lost.`
      : `${this.names.state} was given up after an error in this process: open it anew; nothing acknowledged is lost.`;
    // Not retryable: a loop would try for ever.
    throw new LoopStateError('LOOPSTATE_UNAVAILABLE', message, { cause });
  }

  /** Whatever was thrown, everyone who waits is answered. */
  #stop(group: readonly Waiting[], error: unknown): void {
    const isFirst = this.#stoppedBy === undefined;
    this.#stoppedBy ??= error;
    const trouble = isFirst ? outcomeUnknown(error, `${this.names.state} was given up after an error in this process`) : error;
    for (const { reject } of group) reject(trouble);
  }

  /** There is a journal that can be written to, and it is not yet to be compacted. */
  #isReady(): boolean {
    const isCompactionDue = this.#compacting === undefined && this.#journalBytes() > this.#compactAtBytes;
    return this.#canAppend() && !isCompactionDue;
  }

  #canAppend(): boolean {
    return !this.#needsSnapshot && this.#journal !== undefined && !this.#journal.hasFailed;
  }

  /** Sees to a journal that can be written to, or to its compaction; without one the group is told so. */
  async #makeReady(group: readonly Waiting[]): Promise<boolean> {
    try {
      if (this.#canAppend()) await this.#compact();
      else await this.#startAfterFailure();
      return true;
    } catch (error) {
      const trouble = unavailable(error, `${this.names.state} cannot be written`);
      for (const { reject } of group) reject(trouble);
      return false;
    }
  }

  async #flush(group: readonly Waiting[]): Promise<void> {
    const isFull = this.#journalBytes() > this.#roomBytes();
    const { judged, entries, lines, isSynced } = this.#judge(isFull ? this.#refuseToGrow(group) : group);
    try {
      if (lines.length > 0 && this.#journal !== undefined) {
        this.#isChanged = true;
        await this.#journal.append(lines, { synced: isSynced });
      }
    } catch (error) {
      this.#refuse(judged, error);
      return;
    }
    // From here on it has happened.
    for (const entry of entries) this.#log.append(entry);
    this.#applied = entries.at(-1)?.revision ?? this.#applied;
    for (const { waiting, result } of judged) waiting.resolve(result);
  }

  #judge(group: readonly Waiting[]) {
    const overlay = new Map<string, LogEntry>();
    const entries: LogEntry[] = [];
    const judged: Judged[] = [];
    let lines = '';
    let isSynced = false;
    for (const waiting of group) {
      const { checks, puts, deletes, durability } = waiting.commit;
      let conflicts: Conflict[] | undefined;
      for (const { key, revision } of checks) {
        const conflict = this.#conflict(overlay.get(key), key, revision);
        if (conflict === undefined) continue;
        conflicts ??= [];
        conflicts.push(conflict);
      }
      if (conflicts !== undefined) {
        judged.push({ waiting, result: { ok: false, conflicts } });
        continue;
      }
      const revision = ++this.#revision;
      const at = this.#parts.now();
      const write = (key: string, text: string | undefined): void => {
        const entry = { key, revision, at, text };
        entries.push(entry);
        overlay.set(key, entry);
      };
      for (const { key, text } of puts) write(key, text);
      for (const key of deletes) write(key, undefined);
      lines += encodeCommit(revision, at, puts, deletes);
      if (durability === 'synced') isSynced = true;
      judged.push({ waiting, result: { ok: true, revision } });
    }
    return { judged, entries, lines, isSynced };
  }

  /** `pending`: what the commits before it in its group make of the key. */
  #conflict(pending: LogEntry | undefined, key: string, revision: number): Conflict | undefined {
    const pendingRevision = pending?.text === undefined ? 0 : pending.revision;
    if ((pending === undefined ? this.#log.revisionOf(key) : pendingRevision) === revision) return undefined;
    const standing = pending ?? this.#log.get(key);
    return standing?.text === undefined ? { key } : { key, record: toRecord(standing) };
  }

  /** What only deletes may still be committed. */
  #refuseToGrow(group: readonly Waiting[]): Waiting[] {
    const full = storeIsFull(this.names.state, this.#compacting !== undefined);
    const growing = group.filter(({ commit }) => commit.puts.length > 0);
    for (const { reject } of growing) reject(full);
    return group.filter(({ commit }) => commit.puts.length === 0);
  }

  #refuse(judged: readonly Judged[], error: unknown): void {
    const what = `${this.names.journal(this.#journal?.generation ?? 0)} could not be written`;
    for (const { waiting, result } of judged) {
      // A refused check had no effect, but may have been judged by one of the group that is in doubt.
      waiting.reject(result.ok ? outcomeUnknown(error, what) : new UnavailableError(`${what}: try again.`, { cause: error }));
    }
  }

  #journalBytes(): number {
    return this.#olderJournalBytes + (this.#journal?.bytes ?? 0);
  }

  #nextCompactionBytes(): number {
    return Math.max(this.#parts.compactAtBytes, Math.min(this.#parts.snapshots.bytes, this.#roomBytes() / 2));
  }

  #roomBytes(): number {
    return roomBytes(this.#parts.snapshots.bytes, this.#parts.readableBytesMax);
  }

  /** Switches to a new journal, and writes the snapshot beside the commits that follow. Failure costs nothing but the attempt. */
  async #compact(): Promise<void> {
    try {
      await this.#beginJournal({ isSnapshotLater: true });
    } catch (error) {
      this.#reportFailedCompaction(error);
      if (!this.#canAppend()) await this.#startAfterFailure();
      return;
    }
    this.#compacting = this.#writeSnapshot({ closed: false })
      .catch((error: unknown) => this.#reportFailedCompaction(error))
      .finally(() => {
        this.#compacting = undefined;
      });
  }

  /** True if a journal stands ready whose snapshot failed: it holds nothing yet, and need not be begun again. */
  async #isBegun(): Promise<boolean> {
    if (!this.#needsSnapshot || this.#journal === undefined || this.#journal.hasFailed) return false;
    // One that stands though it failed becomes the previous one, and no two may be of one generation.
    return !(await this.#parts.snapshots.isOfGeneration(this.#journal.generation).catch(() => true));
  }

  async #startAfterFailure(): Promise<void> {
    await this.startAnew();
    if (this.isPreviousBehind) await this.startAnew();
  }

  /** `isSnapshotLater`: commits go on in the new journal before its snapshot stands. */
  async #beginJournal({ isSnapshotLater = false }: { isSnapshotLater?: boolean } = {}): Promise<void> {
    const { disk, names, store, temporary, journalSpaceBytes: spaceBytes } = this.#parts;
    const generation = this.#generation + 1;
    const header = { store, generation, since: this.#applied, after: this.#lineage };
    const stamp = (await disk.stamp(names.state)) ?? (await disk.stamp(names.previous));
    // Who may read the state may read its journal; the owner must be able to write it.
    const like = stamp === undefined ? undefined : { ...stamp, mode: stamp.mode | 0o600 };
    const old = this.#journal;
    if (old !== undefined && !old.hasFailed) await old.settle();
    try {
      this.#journal = await JournalFile.create(disk, names, header, { temporary: temporary(), like, spaceBytes });
    } catch (error) {
      if (error instanceof JournalInDoubtError) {
        // What is appended to the old one from here on might be taken for never acknowledged.
        this.#generation = generation;
        this.#journal = undefined;
        await old?.close();
      }
      throw error;
    }
    this.#generation = generation;
    this.#lineage = generation;
    this.#olderJournalBytes += old?.bytes ?? 0;
    try {
      // Until the snapshot stands, nothing else would show that a journal is gone which was begun.
      if (isSnapshotLater) await old?.pointTo(header);
    } catch (error) {
      this.#needsSnapshot = true;
      throw error;
    } finally {
      await old?.close();
    }
  }

  async #writeSnapshot({ closed, untold }: { closed: boolean; untold?: true | undefined }): Promise<void> {
    const { snapshots } = this.#parts;
    const older = this.#olderJournalBytes;
    const fate = await snapshots.replace(this.#log.cut(this.#revision), { generation: this.#generation, closed, untold });
    this.#olderJournalBytes -= older;
    this.#compactAtBytes = this.#nextCompactionBytes();
    this.#isCompactionFailing = false;
    this.#isChanged = !closed;
    if (fate !== 'ours' && this.#isStanding) this.#reportReplaced(fate === 'missing' ? undefined : fate.keptAs);
    this.#isStanding = true;
  }

  #reportReplaced(keptAs: string | undefined): void {
    const code: FindingCode = keptAs === undefined ? 'snapshot-missing' : 'snapshot-replaced';
    const what = keptAs === undefined ? 'was removed' : 'was overwritten';
    const message = `${this.names.state} ${what} while the store was open. It was written anew, and nothing is lost. ${HOW_TO_RESET}`;
    this.#report({ code, severity: 'warning', where: this.names.state, message, ...(keptAs === undefined ? {} : { keptAs }) });
  }

  #reportFailedCompaction(error: unknown): void {
    this.#compactAtBytes = this.#journalBytes() + this.#nextCompactionBytes();
    if (this.#isCompactionFailing) return;
    this.#isCompactionFailing = true;
    const { message } = unavailable(error, `${this.names.state} could not be renewed; nothing is lost, and it is tried again later`);
    this.#report({ code: 'compaction-failed', severity: 'warning', where: this.names.state, message });
  }

  #report(finding: RecoveryFinding & { readonly code: FindingCode }): void {
    this.#findings.push(finding);
    for (const listener of this.#listeners) listener(finding);
  }
}
