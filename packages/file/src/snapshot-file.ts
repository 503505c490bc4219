/**
 * The state file and the previous snapshot on the disk, and the steps that replace one by the other.
 *
 * **Invariants:**
 * - The state file's name always leads to a whole file: it is replaced by a rename, never removed.
 * - Only a state file that this store wrote, or verified, becomes the previous one; any other is put aside.
 * - Journals are kept back to the generation of the previous snapshot, so that it and they lead to now.
 */
import type { Disk, DiskFile, FileStamp } from './disk.js';
import { hasCode, isSameState, unlinkIfPresent, writeAll } from './disk.js';
import { writeNewFile } from './journal-file.js';
import type { LogCut } from './log-cut.js';
import type { StoreNames } from './names.js';
import { FIRST_LINE_BYTES_MAX, parseSnapshot, parseSnapshotHeader, type SnapshotHeader, SnapshotText } from './snapshot.js';

/** Where records can't be taken as they are, so many make a line: no turn of the event loop should get long. */
const TAKE_ENTRIES = 250;
/** Written bytes are handed to the disk in such portions, so that commits beside never wait for all of them at once. */
const SYNC_BYTES = 2 * 1_024 * 1_024;

/** What the state file was found to be when it was to be replaced. */
export type StateFate = 'ours' | 'missing' | { readonly keptAs: string };

/** What a {@link SnapshotFile} needs of its store. */
export interface SnapshotFileOptions {
  readonly disk: Disk;
  readonly names: StoreNames;
  readonly store: string;
  /** A path for a new temporary. */
  readonly temporary: () => string;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** No larger file is put in the place of one that can be read. */
  readonly readableBytesMax: number;
}

/** See the invariants above. */
export class SnapshotFile {
  readonly #options: SnapshotFileOptions;
  #known: FileStamp | undefined;
  #generation: number;
  /** The latest that may stand in the state file's place: of a replacement that was tried, whatever the disk said of it. */
  #latest: number;
  #previousGeneration: number;

  /** `known`: the stamp of a state file that was verified. */
  constructor(options: SnapshotFileOptions, found: { known: FileStamp | undefined; generation: number; previousGeneration: number }) {
    this.#options = options;
    this.#known = found.known;
    this.#generation = found.generation;
    this.#latest = found.generation;
    this.#previousGeneration = found.previousGeneration;
  }

  /** How large the state file is that this store wrote. */
  get bytes(): number {
    return this.#known?.sizeBytes ?? 0;
  }

  /** The generation of the previous snapshot if it is sound; 0: none. */
  get previousGeneration(): number {
    return this.#previousGeneration;
  }

  /** True if the state file is the one that this store wrote. */
  async isOurs(): Promise<boolean> {
    const { disk, names } = this.#options;
    const stamp = await disk.stamp(names.state);
    if (stamp === undefined || this.#known === undefined) return false;
    if (isSameState(stamp, this.#known)) return true;
    // It may have been touched, or put back as it was; or a replacement took effect though it was reported to have failed.
    const { header, isComplete } = parseSnapshot(await disk.readFile(names.state));
    if (!isComplete || header?.store !== this.#options.store) return false;
    // Of another generation it was made elsewhere, from a copy, and journals here lead to nothing in it.
    if (header.generation < this.#generation || header.generation > this.#latest) return false;
    this.#known = stamp;
    this.#generation = header.generation;
    return true;
  }

  /** True if what stands in the state file's place may be the snapshot of a generation. Errors: any system error. */
  async isOfGeneration(generation: number): Promise<boolean> {
    const { disk, names } = this.#options;
    if ((await disk.stamp(names.state)) === undefined) return false;
    return parseSnapshotHeader(await disk.readFile(names.state, { toByte: FIRST_LINE_BYTES_MAX })).header?.generation === generation;
  }

  /** Writes a snapshot of what `cut` holds and puts it in the place of the state file. Says what had become of that. */
  async replace(cut: LogCut, about: Pick<SnapshotHeader, 'generation' | 'closed' | 'untold'>): Promise<StateFate> {
    const { disk, names, temporary } = this.#options;
    const temporaryPath = temporary();
    try {
      const like = (await disk.stamp(names.state)) ?? (await disk.stamp(names.previous));
      const written = await this.#write(temporaryPath, cut, { ...about, like });
      let outgoing = 0;
      const fate = await this.#putBy(temporaryPath, about.generation, () => {
        outgoing = this.#generation;
        this.#known = written;
        this.#generation = about.generation;
      });
      await disk.syncDirectory(names.directory); // Without this the renames themselves can be lost.
      if (fate === 'ours') this.#previousGeneration = outgoing;
      await this.removeOldJournals();
      return fate;
    } catch (error) {
      cut.abandon();
      await unlinkIfPresent(disk, temporaryPath).catch(() => undefined); // The error that led here says more.
      throw error;
    }
  }

  /** Removes the journals that are older than the previous snapshot. */
  async removeOldJournals(): Promise<void> {
    const { disk, names } = this.#options;
    const generations = names.journalsAmong(await disk.list(names.directory));
    for (const generation of generations) {
      if (generation < this.#previousGeneration) await unlinkIfPresent(disk, names.journal(generation));
    }
  }

  /** Gives a file a second name, under which it stays. A file that was put aside already keeps the name it got then. */
  async putAside(path: string, as: 'damaged' | 'original' = 'damaged'): Promise<string> {
    const { disk, names, now } = this.#options;
    const stamp = await disk.stamp(path);
    const asides = names.asidesAmong(await disk.list(names.directory));
    for (const aside of asides) {
      const other = await disk.stamp(aside);
      if (other !== undefined && stamp !== undefined && other.inode === stamp.inode && other.inode !== 0n) return aside;
    }
    // Without colons, which some file systems refuse.
    const wanted = `${path}.${as}-${new Date(now()).toISOString().replaceAll(':', '')}`;
    let keptAs = wanted;
    for (let copy = 2; asides.includes(keptAs); copy++) keptAs = `${wanted}-${copy}`;
    await this.#duplicate(path, keptAs);
    await disk.syncDirectory(names.directory);
    return keptAs;
  }

  async #write(
    path: string,
    cut: LogCut,
    about: Pick<SnapshotHeader, 'generation' | 'closed' | 'untold'> & { like: FileStamp | undefined },
  ): Promise<FileStamp> {
    const { generation, closed, untold, like } = about;
    const { records, revision, lastDeletion: forgotten } = cut;
    const { store, readableBytesMax } = this.#options;
    const text = new SnapshotText({ store, generation, revision, forgotten, closed, records, untold });
    return await writeNewFile(this.#options.disk, path, async (file) => {
      if (like !== undefined) await file.adopt(like);
      const sink = new Sink(file);
      await sink.write(Buffer.from(text.first()));
      let taken = 0;
      for (let line = await nextLine(cut, text); line !== undefined; line = await nextLine(cut, text)) {
        await sink.write(line.bytes);
        taken += line.records;
        if (sink.sizeBytes > readableBytesMax) throw new Error('it would be larger than what can be read again');
      }
      // It is about to replace one that is whole.
      if (taken !== records) throw new Error(`${taken} of ${records} records were taken: report this, please.`);
      await sink.write(Buffer.from(text.last()));
    });
  }

  /** Puts the new snapshot in place and the old one where it belongs. */
  async #putBy(temporaryPath: string, generation: number, onRenamed: () => void): Promise<StateFate> {
    const { disk, names, temporary } = this.#options;
    const outgoing = temporary();
    const fate = await this.#judge();
    const isOurs = fate === 'ours';
    try {
      if (isOurs) await this.#duplicate(names.state, outgoing);
      this.#latest = generation;
      await disk.rename(temporaryPath, names.state);
      onRenamed();
      if (isOurs) await disk.rename(outgoing, names.previous);
    } catch (error) {
      if (isOurs) await unlinkIfPresent(disk, outgoing).catch(() => undefined); // The error that led here says more.
      throw error;
    }
    if (isOurs) await unlinkIfPresent(disk, outgoing); // A rename between two names of one file does nothing.
    return fate;
  }

  async #judge(): Promise<StateFate> {
    const { disk, names } = this.#options;
    if ((await disk.stamp(names.state)) === undefined) return 'missing';
    return (await this.isOurs()) ? 'ours' : { keptAs: await this.putAside(names.state) };
  }

  async #duplicate(from: string, to: string): Promise<void> {
    const { disk } = this.#options;
    try {
      await disk.link(from, to);
    } catch (error) {
      // Some file systems know no second names, or no more of them.
      if (!hasCode(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV')) throw error;
      const stamp = await disk.stamp(from);
      const bytes = await disk.readFile(from);
      await writeNewFile(disk, to, async (file) => {
        if (stamp !== undefined) await file.adopt(stamp);
        await writeAll(file, bytes, 0, { synced: false });
      });
    }
  }
}

/** Writes one piece after another. */
class Sink {
  readonly #file: DiskFile;
  #position = 0;
  #unsyncedBytes = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  get sizeBytes(): number {
    return this.#position;
  }

  async write(bytes: Buffer): Promise<void> {
    await writeAll(this.#file, bytes, this.#position, { synced: false });
    this.#position += bytes.length;
    this.#unsyncedBytes += bytes.length;
    if (this.#unsyncedBytes < SYNC_BYTES) return;
    this.#unsyncedBytes = 0;
    await this.#file.sync();
  }
}

/** The next line; none: all records were taken. */
async function nextLine(cut: LogCut, text: SnapshotText): Promise<{ readonly bytes: Buffer; readonly records: number } | undefined> {
  const chunk = cut.takeChunk();
  if (chunk !== undefined) return { bytes: text.chunkOf(await chunk.bytes()), records: chunk.count };
  const entries = cut.take(TAKE_ENTRIES);
  return entries.length === 0 ? undefined : { bytes: text.chunk(entries), records: entries.length };
}
