/** The file system around a database: where the file really is, whether it may be there, and durable changes of names. */

import type { Stats } from 'node:fs';
import fs from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileSystemOf, UnavailableError } from '@loopstate/core';
import type { StoreNames } from './names.js';
import { badOption, hasCode } from './trouble.js';

const LINKS_MAX = 40;

/** The type of the file system of a directory, as `statfs` tells it; 0 where that means nothing. */
export type FileSystemType = (directory: string) => Promise<number>;

/** Asks the system. */
export const realFileSystemType: FileSystemType = async (directory) =>
  process.platform === 'linux' ? (await fs.statfs(directory)).type : 0;

/** The path of the database itself: every symlink resolved, also one that points to nothing yet. Errors: any system error. */
export async function resolveDatabasePath(path: string): Promise<string> {
  let at = resolve(path);
  for (let links = 0; links < LINKS_MAX; links++) {
    // First: from a directory that a symlink leads to, `..` is not the one above the symlink.
    const directory = await realDirectory(dirname(at));
    const target = await readLink(at);
    if (target === undefined) return join(directory, basename(at));
    at = resolve(directory, target);
  }
  throw Object.assign(new Error(`ELOOP: too many symlinks, ${path}`), { code: 'ELOOP' });
}

/**
 * Makes sure that the file can be a database that is shared by the processes of this host, before anything is written.
 * Resolves to whether the file system carries it through a power loss.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` for a directory, a device or a network file system, `LOOPSTATE_UNAVAILABLE` for a place that
 * cannot be written; any system error.
 */
export async function assertUsable(
  names: StoreNames,
  { fileSystemType, access }: { fileSystemType: FileSystemType; access: 'read' | 'write' },
): Promise<{ survivesPowerLoss: boolean }> {
  const stats = await statIfPresent(names.database);
  if (stats !== undefined && !stats.isFile()) {
    const what = stats.isDirectory() ? 'a directory' : 'not a regular file';
    throw badOption(`${names.database} is ${what}: name a file, such as ${join(names.database, 'state.db')}.`);
  }
  const directory = await existingDirectory(names.directory);
  const { network, survivesPowerLoss } = judgeFileSystem(await fileSystemType(directory));
  if (network !== undefined) {
    throw badOption(
      `${names.database} is on a network file system (${network}), where SQLite can lose data: name a file on a local disk, or use redis:.`,
    );
  }
  if (access === 'write') await assertWritable(directory, stats === undefined ? undefined : names.database);
  return { survivesPowerLoss };
}

/** What a file system does to a database. */
export interface FileSystemVerdict {
  /** The name of the network file system that it is; no database may be there. */
  readonly network: string | undefined;
  readonly survivesPowerLoss: boolean;
}

/** Judges a file system by its type. */
export function judgeFileSystem(type: number): FileSystemVerdict {
  const { name, kind } = fileSystemOf(type) ?? { name: '', kind: 'local' };
  // SQLite shares memory and locks within one host only.
  return { network: kind === 'network' ? name : undefined, survivesPowerLoss: kind === 'local' };
}

/** Makes a directory and its missing parents, durably. */
export async function makeDirectories(directory: string): Promise<void> {
  const parent = dirname(directory);
  if (parent === directory || (await statIfPresent(directory)) !== undefined) return;
  await makeDirectories(parent);
  try {
    await fs.mkdir(directory);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error; // Another process was faster.
  }
  await syncDirectory(parent);
}

/** Makes an empty file that only its owner may read; an existing one is left alone. */
export async function makeFile(path: string): Promise<void> {
  try {
    await (await fs.open(path, 'wx', 0o600)).close();
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

/** Gives a file the owner and the mode of another, as far as this user may: who may use that one may use both. */
export async function takeRights(path: string, { uid, gid, mode }: Pick<Stats, 'uid' | 'gid' | 'mode'>): Promise<void> {
  if (!(await isPlainFile(path))) return;
  // Only root may give a file away; its owner may give it to a group of his.
  await fs.lchown(path, uid, gid).catch(() => fs.lchown(path, -1, gid).catch(() => undefined));
  await fs.chmod(path, mode & 0o777).catch(() => undefined); // Another user's stays as it is.
}

/**
 * False for a link: what it leads to may be anything, and root would give it away. Not by opening it: closing a file takes the locks away that
 * this process has on it.
 */
export async function isPlainFile(path: string): Promise<boolean> {
  const stats = await fs.lstat(path).catch(() => undefined);
  return stats?.isFile() === true && stats.nlink === 1;
}

/** Gives a finished temporary its name, durably, whatever happens in between. */
export async function publish(temporary: string, path: string): Promise<void> {
  const file = await fs.open(temporary, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await fs.rename(temporary, path);
  await syncDirectory(dirname(path)); // Without this the rename itself can be lost.
}

/** Renames what there is of `paths` out of the way, durably and in their order; resolves to where the first of them stands now. */
export async function putAside(names: StoreNames, paths: readonly string[], now: number): Promise<string | undefined> {
  const time = await freeTime(names, paths, now);
  let keptAs: string | undefined;
  for (const path of paths) {
    if ((await statIfPresent(path)) === undefined) continue;
    await fs.rename(path, names.aside(path, time));
    await syncDirectory(names.directory); // One by one: a database must not be found without its log.
    keptAs ??= names.aside(path, time);
  }
  return keptAs;
}

/** Where {@link putAside} would put the first of `paths` that there is. */
export async function asideOf(names: StoreNames, paths: readonly string[], now: number): Promise<string | undefined> {
  const time = await freeTime(names, paths, now);
  for (const path of paths) {
    if ((await statIfPresent(path)) !== undefined) return names.aside(path, time);
  }
  return undefined;
}

/** Where a copy of something can be put aside at about `now`: a time whose names are free, in ms since the epoch. */
export async function freeTime(names: StoreNames, paths: readonly string[], now: number): Promise<number> {
  for (let time = now; ; time++) {
    const taken = await Promise.all(paths.map((path) => statIfPresent(names.aside(path, time))));
    if (taken.every((stats) => stats === undefined)) return time;
  }
}

/** What `path` names, symlinks followed; `undefined` when there is nothing. */
export async function statIfPresent(path: string): Promise<Stats | undefined> {
  try {
    return await fs.stat(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** What tells one state of the files from another. Errors: any system error. */
export async function stampsOf({ database, log, backup, restored }: StoreNames): Promise<string> {
  const stats = await Promise.all([database, log, backup, restored].map(statIfPresent));
  return stats.map((each) => (each === undefined ? 'absent' : `${each.ino} ${each.size} ${each.mtimeMs}`)).join();
}

/** Makes the names in a directory durable: those created, renamed and removed so far. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return; // NTFS journals its names, and directories cannot be opened.
  const handle = await fs.open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function assertWritable(directory: string, database: string | undefined): Promise<void> {
  try {
    await fs.access(directory, fs.constants.W_OK | fs.constants.X_OK);
    if (database !== undefined) await fs.access(database, fs.constants.R_OK | fs.constants.W_OK);
  } catch (cause) {
    // Another process that repairs it has just moved it.
    if (hasCode(cause, 'ENOENT')) return;
    if (!hasCode(cause, 'EACCES', 'EROFS', 'EPERM')) throw cause;
    throw new UnavailableError(`${database ?? directory} cannot be written, and SQLite keeps files beside it: name another place.`, {
      cause,
    });
  }
}

async function readLink(path: string): Promise<string | undefined> {
  try {
    return await fs.readlink(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EINVAL', 'UNKNOWN')) return undefined;
    throw error;
  }
}

/** The real path of a directory whose last parts may not exist yet. */
async function realDirectory(directory: string): Promise<string> {
  try {
    return await fs.realpath(directory);
  } catch (error) {
    const parent = dirname(directory);
    if (!hasCode(error, 'ENOENT') || parent === directory) throw error;
    return join(await realDirectory(parent), basename(directory));
  }
}

/** The nearest directory above that exists. */
async function existingDirectory(directory: string): Promise<string> {
  const parent = dirname(directory);
  if (parent === directory || (await statIfPresent(directory)) !== undefined) return directory;
  return await existingDirectory(parent);
}
