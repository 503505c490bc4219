/**
 * A store as it is read beside the process that writes it: no lock, and nothing on the disk is changed.
 *
 * **Invariants:**
 * - What is read in one go is of one moment: the state file and the list of journals are the same before and after.
 * - `#newest` says where the first line of the newest journal stands that is not in `#log` yet.
 * - Refreshes happen one after another; each begins after it was asked for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AbsentError, type CommitResult, LoopStateError, type RecoveryFinding, UnavailableError } from '@loopstate/core';
import { type FileStamp, isSameState } from './disk.js';
import { parseJournal } from './journal.js';
import type { StoreNames } from './names.js';
import type { HandleSource } from './open-file-backend.js';
import { logOf, recover, type Surroundings } from './opening.js';
import { RecordLog } from './record-log.js';
import type { Recovered } from './recovery.js';
import { readIfPresent } from './store-files.js';
import { unavailable } from './trouble.js';

/** The writer replaces its files at most every few seconds, in some milliseconds. */
const ATTEMPTS_MAX = 50;
const ATTEMPT_MS = 10;

/** See the invariants above. */
export class FileReader implements HandleSource {
  readonly survivesPowerLoss: boolean;
  readonly findings: RecoveryFinding[] = [];
  readonly #names: StoreNames;
  readonly #surroundings: Surroundings;
  readonly #listeners = new Set<(finding: RecoveryFinding) => void>();
  #log = new RecordLog();
  #seen: Moment | undefined;
  #newest: Recovered['newest'] | undefined;
  #refreshing: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(names: StoreNames, surroundings: Surroundings, survivesPowerLoss: boolean) {
    this.#names = names;
    this.#surroundings = surroundings;
    this.survivesPowerLoss = survivesPowerLoss;
  }

  /** Errors: `LOOPSTATE_UNAVAILABLE`, `LOOPSTATE_ABSENT`, `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`. */
  static async open(names: StoreNames, surroundings: Surroundings): Promise<FileReader> {
    const { disk } = surroundings;
    const stamp = await disk.stamp(names.state);
    if (stamp !== undefined && stamp.kind !== 'file') {
      throw new LoopStateError('LOOPSTATE_BAD_OPTION', `${names.state} is not a regular file: name a state file.`);
    }
    if ((await disk.stamp(names.directory)) === undefined) throw missing(names);
    const reader = new FileReader(names, surroundings, await disk.survivesPowerLoss(names.directory));
    await reader.refresh();
    return reader;
  }

  listen(listener: (finding: RecoveryFinding) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  refresh(): Promise<RecordLog> {
    const refreshed = this.#refreshing.then(() => this.#refresh());
    this.#refreshing = refreshed.catch(() => undefined);
    return refreshed;
  }

  async commit(): Promise<CommitResult> {
    throw new LoopStateError(
      'LOOPSTATE_READ_ONLY',
      `${this.#names.state} was opened for reading: open it with access "write" to change it.`,
    );
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#refreshing;
  }

  async #refresh(): Promise<RecordLog> {
    try {
      const now = await this.#look();
      if (this.#seen !== undefined && isSameMoment(this.#seen, now) && (await this.#follow())) return this.#log;
      await this.#readAll();
      return this.#log;
    } catch (error) {
      throw unavailable(error, `${this.#names.state} cannot be read`);
    }
  }

  /** Takes in the new lines of the newest journal; false if it has to be read from its beginning. */
  async #follow(): Promise<boolean> {
    const newest = this.#newest;
    if (newest === undefined || newest.generation !== this.#seen?.generations.at(-1)) return false;
    const bytes = await readIfPresent(this.#surroundings.disk, this.#names.journal(newest.generation), { fromByte: newest.endBytes });
    // Two generations came since it was looked for.
    if (bytes === undefined) return false;
    const { entries, gaps, endBytes } = parseJournal(bytes);
    if (gaps.some(({ before }) => before !== undefined)) return false;
    for (const entry of entries) this.#log.append(entry);
    this.#newest = { generation: newest.generation, endBytes: newest.endBytes + endBytes };
    return true;
  }

  async #readAll(): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX && !this.#isClosed; attempt++) {
      const before = await this.#look();
      if (before.state === undefined && before.generations.length === 0 && !before.hasPrevious) throw missing(this.#names);
      const { recovered } = await recover(this.#names, this.#surroundings);
      const after = await this.#look();
      // A line that is just being written looks like damage for a moment.
      const isSuspect = recovered.findings.some(({ code }) => code === 'journal-damaged') && attempt < 3;
      if (isSameMoment(before, after) && !isSuspect) {
        this.#accept(after, recovered);
        return;
      }
      await sleep(ATTEMPT_MS);
    }
    throw new UnavailableError(`${this.#names.state} changed each time it was read: try again.`);
  }

  #accept(seen: Moment, recovered: Recovered): void {
    this.#log = logOf(recovered);
    this.#seen = seen;
    this.#newest = recovered.newest;
    for (const { aside: _aside, ...finding } of recovered.findings) {
      // Beside a live writer the last line is often only half there.
      const isKnown = this.findings.some(({ code, where }) => code === finding.code && where === finding.where);
      if (isKnown || finding.code === 'torn-tail') continue;
      this.findings.push(finding);
      for (const listener of this.#listeners) listener(finding);
    }
  }

  async #look(): Promise<Moment> {
    const { disk } = this.#surroundings;
    const names = await disk.list(this.#names.directory);
    return {
      state: await disk.stamp(this.#names.state),
      hasPrevious: (await disk.stamp(this.#names.previous)) !== undefined,
      generations: this.#names.journalsAmong(names),
    };
  }
}

/** What tells whether the writer has replaced its files. */
interface Moment {
  readonly state: FileStamp | undefined;
  readonly hasPrevious: boolean;
  readonly generations: readonly number[];
}

function isSameMoment(a: Moment, b: Moment): boolean {
  const isSame = a.state === undefined || b.state === undefined ? a.state === b.state : isSameState(a.state, b.state);
  return isSame && a.generations.join() === b.generations.join();
}

function missing(names: StoreNames): AbsentError {
  return new AbsentError(`${names.state} does not exist: there is nothing to read yet.`);
}
