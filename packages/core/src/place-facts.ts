/** What the file system says of the place of a store that is kept in files: asked in one go, judged in `judge-place.ts`. */
import { constants, type Stats } from 'node:fs';
import { access, readdir, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isError } from './errors.js';
import { fileSystemOf } from './file-systems.js';

/** A file system, as far as it tells. */
export interface FileSystemFacts {
  /** `ext4`, or its type as a number, or `unknown`. */
  readonly name: string;
  /** What this user may still write, in bytes. */
  readonly freeBytes: number;
  /** How many files may still be made; undefined where there is no such number. */
  readonly freeFiles?: number;
}

/** See the file's comment. */
export interface PlaceFacts {
  /** The real path of the state file or database. */
  readonly path: string;
  readonly directory: string;
  /** The directory, or the nearest one above it that exists: what is asked of a directory is asked of this one. */
  readonly nearestDirectory: string;
  /** Whether this process may make files there. */
  readonly isWritable: boolean;
  readonly kind: 'absent' | 'file' | 'directory' | 'other';
  /** Whether it is a file that this process may read. */
  readonly isReadable: boolean;
  /** Its permission bits. */
  readonly mode: number;
  /** Undefined where it can't be asked. */
  readonly fileSystem?: FileSystemFacts;
  /** The names in the directory. */
  readonly names: readonly string[];
}

/** Asks. Errors: any system error by which the place can't even be looked at, such as a path that leads through a file. */
export async function learnPlace(path: string): Promise<PlaceFacts> {
  const directory = dirname(path);
  const nearest = await nearestDirectory(directory);
  const stats = await orUndefined(stat(path), 'ENOENT');
  const names = nearest === directory ? await orUndefined(readdir(directory), 'EACCES', 'EPERM') : [];
  const fileSystem = await learnFileSystem(nearest);
  return {
    path,
    directory,
    nearestDirectory: nearest,
    isWritable: await isAllowed(nearest, constants.W_OK | constants.X_OK),
    kind: kindOf(stats),
    isReadable: stats?.isFile() === true && (await isAllowed(path, constants.R_OK)),
    mode: (stats?.mode ?? 0) & 0o777,
    ...(fileSystem === undefined ? {} : { fileSystem }),
    names: names ?? [],
  };
}

function kindOf(stats: Stats | undefined): PlaceFacts['kind'] {
  if (stats === undefined) return 'absent';
  if (stats.isFile()) return 'file';
  return stats.isDirectory() ? 'directory' : 'other';
}

async function learnFileSystem(directory: string): Promise<FileSystemFacts | undefined> {
  const told = await orUndefined(statfs(directory), 'EACCES', 'EPERM', 'ENOSYS', 'ENOTSUP');
  // Those that the kernel makes up, such as /proc, have no blocks.
  if (told === undefined || told.blocks === 0) return undefined;
  const name = process.platform === 'linux' ? (fileSystemOf(told.type)?.name ?? `0x${told.type.toString(16)}`) : 'unknown';
  // Some file systems make room for files as they come, and say 0 of 0.
  return { name, freeBytes: told.bavail * told.bsize, ...(told.files > 0 ? { freeFiles: told.ffree } : {}) };
}

async function nearestDirectory(directory: string): Promise<string> {
  const parent = dirname(directory);
  if (parent === directory || (await orUndefined(stat(directory), 'ENOENT')) !== undefined) return directory;
  return await nearestDirectory(parent);
}

async function isAllowed(path: string, mode: number): Promise<boolean> {
  return await access(path, mode).then(
    () => true,
    () => false,
  );
}

/** What is asked for; undefined after one of the errors that are an answer as well. */
async function orUndefined<T>(asked: Promise<T>, ...codes: readonly string[]): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isError(error) && 'code' in error && codes.includes(String(error.code))) return undefined;
    throw error;
  }
}
