/**
 * The journal that commits are appended to.
 *
 * **Invariants:**
 * - A journal has its name only once its header and its first space are durable.
 * - It always ends with space, so one that was cut can be told from one that was not.
 * - What precedes `#syncedBytes` is durable; what follows up to `#endBytes` is with the operating system, and kept at the front of
 *   `#buffer` until a synced write has covered it. Behind it stands what is being written: one write is under way at a time.
 * - The first write to a journal that was gone on in is synced: until then a power cut leaves one that was closed, whose next revision
 *   would be given out again.
 * - After a write failed nothing is ever written to it again.
 */
import type { Disk, DiskFile, FileStamp } from './disk.js';
import { unlinkIfPresent, writeAll } from './disk.js';
import { encodeJournalHeader, type JournalHeader } from './journal.js';
import type { StoreNames } from './names.js';

const SPACE_BYTES_MAX = 1_024 * 1_024;
/** How much may wait for a synced write; then the next write is one. */
const UNSYNCED_BYTES_MAX = 256 * 1_024;
/** A buffer that had to grow beyond this is given back. */
const BUFFER_BYTES = 512 * 1_024;

/** A journal may exist from here on; whoever holds an older one must not go on in it. */
export class JournalInDoubtError extends Error {}

/** Where a journal goes on. */
interface JournalPlace {
  readonly endBytes: number;
  readonly sizeBytes: number;
  /** The space that it is given at first; later it is about doubled each time. */
  readonly spaceBytes: number;
}

/** See the invariants above. */
export class JournalFile {
  readonly generation: number;
  readonly #file: DiskFile;
  #endBytes: number;
  #syncedBytes: number;
  #sizeBytes: number;
  readonly #spaceBytes: number;
  /** Memory of its own for each write would be as much as half of what a loop allocates. */
  #buffer = Buffer.alloc(0);
  #hasFailed = false;
  #isFirstDue = false;

  private constructor(file: DiskFile, generation: number, place: JournalPlace) {
    this.#file = file;
    this.generation = generation;
    this.#endBytes = place.endBytes;
    this.#syncedBytes = place.endBytes;
    this.#sizeBytes = place.sizeBytes;
    this.#spaceBytes = place.spaceBytes;
  }

  /**
   * Makes a journal, durably, with the permissions of `like`.
   *
   * Errors: {@link JournalInDoubtError} when it may exist all the same; any system error when it does not.
   */
  static async create(
    disk: Disk,
    names: StoreNames,
    header: JournalHeader,
    options: { temporary: string; like: FileStamp | undefined; spaceBytes: number },
  ) {
    const { temporary, like, spaceBytes } = options;
    const first = Buffer.from(encodeJournalHeader(header));
    const bytes = Buffer.alloc(first.length + spaceBytes);
    first.copy(bytes);
    try {
      await writeNewFile(disk, temporary, async (file) => {
        if (like !== undefined) await file.adopt(like);
        await writeAll(file, bytes, 0, { synced: false });
      });
    } catch (error) {
      await unlinkIfPresent(disk, temporary).catch(() => undefined); // The error that led here says more.
      throw error;
    }
    const path = names.journal(header.generation);
    try {
      await disk.rename(temporary, path);
      await disk.syncDirectory(names.directory);
      return new JournalFile(await disk.openFile(path), header.generation, { endBytes: first.length, sizeBytes: bytes.length, spaceBytes });
    } catch (error) {
      // No commit is in it, whether it exists or not; and each try would leave one more.
      for (const made of [temporary, path]) await unlinkIfPresent(disk, made).catch(() => undefined);
      throw new JournalInDoubtError('The new journal may exist or not.', { cause: error });
    }
  }

  /** Goes on in the journal of a store that was closed. */
  static async resume(disk: Disk, names: StoreNames, place: JournalPlace & { generation: number }): Promise<JournalFile> {
    const journal = new JournalFile(await disk.openFile(names.journal(place.generation)), place.generation, place);
    journal.#isFirstDue = true;
    return journal;
  }

  /** How many bytes of lines it holds. */
  get bytes(): number {
    return this.#endBytes;
  }

  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Appends lines in one write. With `synced`, they and all before them are durable once it resolves. */
  async append(lines: string, options: { synced: boolean }): Promise<void> {
    const unsyncedBytes = this.#endBytes - this.#syncedBytes;
    const isSynced = options.synced || this.#isFirstDue || unsyncedBytes > UNSYNCED_BYTES_MAX;
    const start = isSynced ? this.#syncedBytes : this.#endBytes;
    const taken = this.#take(lines, unsyncedBytes);
    const endBytes = this.#endBytes + taken;
    const bytes = this.#buffer.subarray(isSynced ? 0 : unsyncedBytes, unsyncedBytes + taken);
    // One byte of space must remain.
    const sizeBytes =
      endBytes < this.#sizeBytes ? this.#sizeBytes : endBytes + Math.min(SPACE_BYTES_MAX, Math.max(this.#spaceBytes, endBytes));
    const spaceBytes = sizeBytes > this.#sizeBytes ? sizeBytes - endBytes : 0;
    try {
      const written = spaceBytes === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(spaceBytes)]);
      await writeAll(this.#file, written, start, { synced: isSynced });
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
    this.#isFirstDue = false;
    this.#endBytes = endBytes;
    this.#sizeBytes = sizeBytes;
    if (!isSynced) return;
    this.#syncedBytes = endBytes;
    if (this.#buffer.length > BUFFER_BYTES) this.#buffer = Buffer.alloc(0);
  }

  /** Makes all lines durable that were only written: a later journal must not outlive them. */
  async settle(): Promise<void> {
    if (this.#endBytes > this.#syncedBytes) await this.append('', { synced: true });
  }

  /** Says that commits go on in the journal of that header. */
  async pointTo(header: JournalHeader): Promise<void> {
    await this.append(encodeJournalHeader(header), { synced: true });
  }

  /** Encodes lines behind what is kept; returns how many bytes they are. */
  #take(lines: string, keptBytes: number): number {
    const wantedBytes = keptBytes + Buffer.byteLength(lines);
    if (wantedBytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#buffer.length, wantedBytes));
      this.#buffer.copy(larger, 0, 0, keptBytes);
      this.#buffer = larger;
    }
    return this.#buffer.write(lines, keptBytes);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Creates a file, fills it and makes its bytes durable; not yet its name. */
export async function writeNewFile(disk: Disk, path: string, fill: (file: DiskFile) => Promise<void>): Promise<FileStamp> {
  const file = await disk.createFile(path, 0o600);
  try {
    await fill(file);
    await file.sync();
    return await file.stamp();
  } finally {
    await file.close();
  }
}
