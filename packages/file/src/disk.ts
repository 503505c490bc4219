/**
 * The calls that the backend makes on a disk, few enough to be modelled: a test hands in a disk that forgets unsynced writes,
 * tears them, or fails. Programs use {@link nodeDisk}.
 */
import fs from 'node:fs';
import { dirname } from 'node:path';
import { fileSystemOf, isError } from '@loopstate/core';

/** What tells one state of a file from another, and who may use it. */
export interface FileStamp {
  readonly kind: 'file' | 'directory' | 'other';
  readonly inode: bigint;
  readonly sizeBytes: number;
  readonly modifiedNs: bigint;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A file that is open for writing. Writes may be short: {@link writeAll} loops. */
export interface DiskFile {
  /** Writes at a position; resolves to the number of bytes written, and the memory is the caller's again. Not durable until `sync`. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  /** The same, and what was written is durable once it resolves, with the size of the file. */
  writeSynced(bytes: Uint8Array, position: number): Promise<number>;
  /** Makes all that was written durable. The name of a new file needs {@link Disk.syncDirectory} besides. */
  sync(): Promise<void>;
  /** Takes over the permissions of another file and, as far as this process may, its owner. */
  adopt(stamp: FileStamp): Promise<void>;
  stamp(): Promise<FileStamp>;
  close(): Promise<void>;
}

/** The disk as the backend sees it. For tests; its members may change in any release. All errors are system errors with a `code`. */
export interface Disk {
  /** Creates a file that must not exist yet. */
  createFile(path: string, mode: number): Promise<DiskFile>;
  /** Opens an existing file for writing. */
  openFile(path: string): Promise<DiskFile>;
  /** The bytes of a file. */
  readFile(path: string, options?: ReadOptions): Promise<Buffer>;
  /** The stamp of what `path` names, symlinks followed; `undefined` when there is nothing. */
  stamp(path: string): Promise<FileStamp | undefined>;
  /** Where a symlink points to, as written in it; `undefined` for anything that is no symlink. */
  readLink(path: string): Promise<string | undefined>;
  /** An existing path with all symlinks resolved. */
  realPath(path: string): Promise<string>;
  /** The names in a directory. */
  list(directory: string): Promise<string[]>;
  /** A second name for a file; `to` must not exist. */
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  /** Makes the names in a directory durable: those created, renamed and removed so far. */
  syncDirectory(directory: string): Promise<void>;
  /** Rejects unless this process may create files in the directory. */
  assertWritable(directory: string): Promise<void>;
  /** False where the file system is known not to carry `sync` through a power loss. */
  survivesPowerLoss(directory: string): Promise<boolean>;
}

/** What is read of a file; all of it if nothing is said. */
export interface ReadOptions {
  readonly fromByte?: number;
  /** Where to end, if the file does not end before. */
  readonly toByte?: number;
  /** Gets what was read so far, `bytes` up to `readTo`, which does not change any more, while more is being read. Must not throw. */
  readonly onRead?: (bytes: Buffer, readTo: number) => void;
}

/** Writes all of `bytes`, however many calls it takes; `synced` makes them durable. */
export async function writeAll(file: DiskFile, bytes: Uint8Array, position: number, options: { synced: boolean }): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const rest = done === 0 ? bytes : bytes.subarray(done);
    const written = options.synced ? await file.writeSynced(rest, position + done) : await file.write(rest, position + done);
    if (written === 0) throw Object.assign(new Error('EIO: the disk took no byte of a write'), { code: 'EIO' });
    done += written;
  }
}

/** True if a file was neither replaced nor written between two stamps. */
export function isSameState(a: FileStamp, b: FileStamp): boolean {
  return a.inode === b.inode && a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs;
}

/** True for a system error with one of the given codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return isError(error) && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}

/** Removes a file; one that is gone already is no error. */
export async function unlinkIfPresent(disk: Disk, path: string): Promise<void> {
  try {
    await disk.unlink(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** Makes a directory and its missing parents, durably. */
export async function makeDirectories(disk: Disk, directory: string): Promise<void> {
  const parent = dirname(directory);
  if (parent === directory || (await disk.stamp(directory)) !== undefined) return;
  await makeDirectories(disk, parent);
  try {
    await disk.makeDirectory(directory);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error; // Another process was faster.
  }
  await disk.syncDirectory(parent);
}

const FS = fs.constants;

/** The most that is asked for in one reading. */
const READ_BYTES_MAX = 1_024 * 1_024 * 1_024;
/** The same where somebody looks on. */
const WATCHED_READ_BYTES = 4 * 1_024 * 1_024;

/** On Linux, a descriptor opened with this flag makes each write durable in one call, with the size where it changed. */
const SYNCED_WRITES: number | undefined = process.platform === 'linux' ? FS.O_DSYNC : undefined;

/** The disk of this machine. */
export const nodeDisk: Disk = {
  createFile: async (path, mode) => new NodeFile(await open(path, FS.O_WRONLY | FS.O_CREAT | FS.O_EXCL, mode), undefined),
  openFile: (path) => openBoth(path),
  readFile,
  async stamp(path) {
    try {
      return toStamp(await fs.promises.stat(path, { bigint: true }));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  },
  async readLink(path) {
    try {
      return await fs.promises.readlink(path);
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'EINVAL', 'UNKNOWN')) return undefined;
      throw error;
    }
  },
  realPath: (path) => fs.promises.realpath(path),
  list: (directory) => fs.promises.readdir(directory),
  link: (from, to) => fs.promises.link(from, to),
  rename: (from, to) => fs.promises.rename(from, to),
  unlink: (path) => fs.promises.unlink(path),
  makeDirectory: (path) => fs.promises.mkdir(path),
  async syncDirectory(directory) {
    if (process.platform === 'win32') return; // NTFS journals its names, and directories cannot be opened.
    const descriptor = await open(directory, FS.O_RDONLY);
    try {
      await call((done) => fs.fsync(descriptor, done));
    } finally {
      fs.closeSync(descriptor);
    }
  },
  assertWritable: (directory) => fs.promises.access(directory, FS.W_OK | FS.X_OK),
  async survivesPowerLoss(directory) {
    if (process.platform !== 'linux') return true;
    return (fileSystemOf((await fs.promises.statfs(directory)).type)?.kind ?? 'local') === 'local';
  },
};

/** The same; but what is written to a file that was there stops the event loop until it is written, and costs no turn of it. */
export const inlineDisk: Disk = { ...nodeDisk, openFile: (path) => openBoth(path, writeInline) };

type WriteOnce = (descriptor: number, bytes: Uint8Array, position: number) => Promise<number>;

/** Raw descriptors: a `FileHandle` costs more per call. Neither keeps a process alive. */
class NodeFile implements DiskFile {
  readonly #descriptor: number;
  readonly #syncedDescriptor: number | undefined;
  readonly #writeOnce: WriteOnce;

  constructor(descriptor: number, syncedDescriptor: number | undefined, write: WriteOnce = writeOnce) {
    this.#descriptor = descriptor;
    this.#syncedDescriptor = syncedDescriptor;
    this.#writeOnce = write;
  }

  write(bytes: Uint8Array, position: number): Promise<number> {
    return this.#writeOnce(this.#descriptor, bytes, position);
  }

  writeSynced(bytes: Uint8Array, position: number): Promise<number> {
    const descriptor = this.#syncedDescriptor;
    return descriptor === undefined ? this.#writeAndSync(bytes, position) : this.#writeOnce(descriptor, bytes, position);
  }

  sync(): Promise<void> {
    return call((done) => fs.fsync(this.#descriptor, done));
  }

  async stamp(): Promise<FileStamp> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#descriptor, { bigint: true }, (error, stats) => (error === null ? resolve(toStamp(stats)) : reject(error)));
    });
  }

  async adopt(stamp: FileStamp): Promise<void> {
    if (process.platform === 'win32') return;
    const own = await this.stamp();
    // Only root may give a file away; its owner may give it to a group of his.
    if (own.uid !== stamp.uid) await this.#adoptOwner(stamp.uid, stamp.gid);
    if (own.gid !== stamp.gid) await this.#adoptOwner(-1, stamp.gid);
    // After the owner: changing it clears the set-id bits.
    await call((done) => fs.fchmod(this.#descriptor, stamp.mode, done));
  }

  async close(): Promise<void> {
    if (this.#syncedDescriptor !== undefined) fs.closeSync(this.#syncedDescriptor);
    fs.closeSync(this.#descriptor);
  }

  async #writeAndSync(bytes: Uint8Array, position: number): Promise<number> {
    const written = await this.#writeOnce(this.#descriptor, bytes, position);
    await call((done) => fs.fdatasync(this.#descriptor, done));
    return written;
  }

  /** As far as this process may; -1: the one that it has. */
  async #adoptOwner(uid: number, gid: number): Promise<void> {
    try {
      await call((done) => fs.fchown(this.#descriptor, uid, gid, done));
    } catch (error) {
      if (!hasCode(error, 'EPERM', 'ENOSYS', 'EINVAL')) throw error;
    }
  }
}

async function openBoth(path: string, write?: WriteOnce): Promise<DiskFile> {
  const descriptor = await open(path, FS.O_WRONLY);
  if (SYNCED_WRITES === undefined) return new NodeFile(descriptor, undefined, write);
  try {
    return new NodeFile(descriptor, await open(path, FS.O_WRONLY | SYNCED_WRITES), write);
  } catch (error) {
    fs.closeSync(descriptor);
    throw error;
  }
}

async function readFile(path: string, { fromByte = 0, toByte = Number.POSITIVE_INFINITY, onRead }: ReadOptions = {}): Promise<Buffer> {
  const pieceBytes = onRead === undefined ? READ_BYTES_MAX : WATCHED_READ_BYTES;
  const handle = await fs.promises.open(path, 'r');
  try {
    // At once: what `readFile` does, in pieces of half a MiB, takes three times as long.
    const { size } = await handle.stat();
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(size, toByte) - fromByte));
    const read = (from: number) => handle.read(bytes, from, Math.min(bytes.length - from, pieceBytes), fromByte + from);
    let done = 0;
    let next = bytes.length === 0 ? undefined : read(0);
    while (next !== undefined) {
      const { bytesRead } = await next;
      done += bytesRead;
      // Before what was read is looked at: both happen at once. Nothing was read of a file that was cut in between.
      next = bytesRead === 0 || done === bytes.length ? undefined : read(done);
      onRead?.(bytes, done);
    }
    return bytes.subarray(0, done);
  } finally {
    await handle.close();
  }
}

function open(path: string, flags: number, mode?: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, mode, (error, descriptor) => (error === null ? resolve(descriptor) : reject(error)));
  });
}

function writeOnce(descriptor: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(descriptor, bytes, 0, bytes.length, position, (error, written) => (error === null ? resolve(written) : reject(error)));
  });
}

async function writeInline(descriptor: number, bytes: Uint8Array, position: number): Promise<number> {
  return fs.writeSync(descriptor, bytes, 0, bytes.length, position);
}

function call(run: (done: (error: NodeJS.ErrnoException | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => run((error) => (error === null ? resolve() : reject(error))));
}

function toStamp(stats: fs.BigIntStats): FileStamp {
  return {
    kind: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other',
    inode: stats.ino,
    sizeBytes: Number(stats.size),
    modifiedNs: stats.mtimeNs,
    mode: Number(stats.mode & 0o7777n),
    uid: Number(stats.uid),
    gid: Number(stats.gid),
  };
}
