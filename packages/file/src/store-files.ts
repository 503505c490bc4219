/** Finds and reads the files of a store. */
import { basename, dirname, join, resolve } from 'node:path';
import { LoopStateError } from '@loopstate/core';
import { type Disk, type FileStamp, hasCode, type ReadOptions } from './disk.js';
import type { FileRole, StoreFiles } from './found-store.js';
import type { StoreNames } from './names.js';
import { FIRST_LINE_BYTES_MAX, SnapshotScan } from './snapshot.js';
import { unavailable } from './trouble.js';
import type { UnreadableFiles } from './unreadable-files.js';

const LINKS_MAX = 40;
/** What is put beside a state file has its name and up to 50 bytes more; a name can have 255. */
const NAME_BYTES_MAX = 200;

/** The path of the state file itself: every symlink resolved, also one that points to nothing yet. Errors: any system error. */
export async function resolveStatePath(disk: Disk, path: string): Promise<string> {
  let at = resolve(path);
  for (let links = 0; links < LINKS_MAX; links++) {
    // First: from a directory that a symlink leads to, `..` is not the one above the symlink.
    const directory = await realDirectory(disk, dirname(at));
    const target = await disk.readLink(at);
    if (target === undefined) return join(directory, basename(at));
    at = resolve(directory, target);
  }
  throw Object.assign(new Error(`ELOOP: too many symlinks, ${path}`), { code: 'ELOOP' });
}

/** The real path of a directory whose last parts may not exist yet. */
async function realDirectory(disk: Disk, directory: string): Promise<string> {
  try {
    return await disk.realPath(directory);
  } catch (error) {
    const parent = dirname(directory);
    if (!hasCode(error, 'ENOENT') || parent === directory) throw error;
    return join(await realDirectory(disk, parent), basename(directory));
  }
}

/**
 * Makes sure that the state file can be what is expected of it, before anything is written.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` for a directory, a device or too long a name, `LOOPSTATE_UNAVAILABLE` for a directory that cannot be written.
 */
export async function assertUsable(disk: Disk, names: StoreNames): Promise<void> {
  const stamp = await disk.stamp(names.state);
  if (stamp !== undefined && stamp.kind !== 'file') {
    const what = stamp.kind === 'directory' ? 'a directory' : 'not a regular file';
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', `${names.state} is ${what}: name a file, such as ${join(names.state, 'state.json')}.`);
  }
  if (Buffer.byteLength(basename(names.state)) > NAME_BYTES_MAX && (await isNew(disk, names))) {
    const message = `The name of ${names.state} has more than ${NAME_BYTES_MAX} bytes, which leaves too little for the files beside it: name a shorter one.`;
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', message);
  }
  if ((await disk.stamp(names.directory)) === undefined) return;
  try {
    await disk.assertWritable(names.directory);
  } catch (cause) {
    throw unavailable(cause, `${names.directory} cannot be written, where ${names.state} would keep files beside it`);
  }
}

/** True if no state stands there, whole or not: one that does has to open, whatever its name. */
async function isNew(disk: Disk, names: StoreNames): Promise<boolean> {
  const beside = await listIfPresent(disk, names.directory);
  return !beside.some((name) => join(names.directory, name).startsWith(names.state));
}

/** The files of a store, and what the state file was when it was read. */
export interface ReadStore {
  readonly files: StoreFiles;
  readonly stamp: FileStamp | undefined;
  /** Those that the disk could not read stand among the files as empty ones. */
  readonly unreadable: UnreadableFiles;
}

/**
 * Reads the files of a store; `all`: each to its end. Else, where the state file is whole, only the beginning of those that are likely to be
 * older, which tells whether they are.
 *
 * Errors: any system error but one for a file that is not there, or for a sector that cannot be read.
 */
export async function readStoreFiles(disk: Disk, names: StoreNames, { all }: { all: boolean }): Promise<ReadStore> {
  const generations = names.journalsAmong(await listIfPresent(disk, names.directory));
  const stamp = await disk.stamp(names.state);
  const stampOfPrevious = await disk.stamp(names.previous);
  const unreadable = new Map<FileRole, unknown>();
  const beginnings = new Set<FileRole>();
  const read = async (role: FileRole, path: string, options: ReadOptions = {}): Promise<Buffer | undefined> => {
    try {
      const bytes = await readIfPresent(disk, path, options);
      if (bytes !== undefined && bytes.length === options.toByte) beginnings.add(role);
      return bytes;
    } catch (error) {
      if (!hasCode(error, 'EIO')) throw error;
      unreadable.set(role, error);
      return Buffer.alloc(0);
    }
  };
  const stateScan = new SnapshotScan();
  const state = await read('state', names.state, { onRead: (bytes, readTo) => stateScan.take(bytes, readTo) });
  const beginning: ReadOptions = { toByte: FIRST_LINE_BYTES_MAX };
  const whole = all || state === undefined ? undefined : stateScan.end(state);
  const current = whole?.header?.generation ?? 0;
  const [previous, ...journalBytes] = await Promise.all([
    read('previous', names.previous, current > 0 ? beginning : {}),
    ...generations.map((generation) => read(generation, names.journal(generation), generation < current ? beginning : {})),
  ]);
  const journals = new Map<number, Buffer>();
  for (const [index, generation] of generations.entries()) {
    const bytes = journalBytes[index];
    if (bytes !== undefined) journals.set(generation, bytes);
  }
  const isPreviousState = stamp !== undefined && stamp.inode !== 0n && stamp.inode === stampOfPrevious?.inode;
  const files = {
    ...(state === undefined ? {} : { state, stateScan }),
    ...(previous === undefined ? {} : { previous }),
    journals,
    beginnings,
    isPreviousState,
  };
  return { files, stamp, unreadable };
}

async function listIfPresent(disk: Disk, directory: string): Promise<string[]> {
  try {
    return await disk.list(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** The bytes of a file; `undefined`: there is none. Errors: any other system error. */
export async function readIfPresent(disk: Disk, path: string, options?: ReadOptions): Promise<Buffer | undefined> {
  try {
    return await disk.readFile(path, options);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}
