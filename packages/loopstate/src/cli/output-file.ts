/**
 * Text written to a file, which has its name only when all of it is on the disk; or into a pipe or a device.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isError, LoopStateError } from '@loopstate/core';
import { OutputFailure } from './line-output.js';

/** So much is written at once. */
const CHUNK_CHARACTERS = 64 * 1_024;

/**
 * Writes all of `parts` to the file at `path`, in place of what is there: a temporary file beside it, synced, then renamed. What is no regular
 * file is written to as it is.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` (no file can be there), {@link OutputFailure}, and what `parts` raises.
 */
export async function writeOutputFile(path: string, parts: AsyncIterable<string>): Promise<void> {
  const found = await stat(path).catch(ignore('ENOENT'));
  if (found?.isDirectory() === true) throw badPath(`${path} is a directory: name a file.`);
  if (path === '' || path.endsWith('/')) throw badPath(`${JSON.stringify(path)} names no file.`);
  if (found !== undefined && !found.isFile()) return await writeTo(path, await opened(path, 'w'), parts);
  // A link keeps standing; what it leads to is replaced.
  const target = found === undefined ? path : await realpath(path);
  const folder = dirname(target);
  const temporary = join(folder, `.loopstate-${randomBytes(6).toString('hex')}.tmp`);
  try {
    await writeTo(path, await opened(temporary, 'wx', found === undefined ? 0o600 : found.mode & 0o777), parts, { isSynced: true });
    await rename(temporary, target).catch((error: unknown) => {
      throw cannotWrite(path, error);
    });
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // Without this the rename itself can be lost.
  await syncFolder(folder).catch((error: unknown) => {
    // A directory that only takes files can't be opened to sync its names. The file is there all the same.
    if (!isErrno(error, 'EACCES')) throw cannotWrite(path, error);
  });
}

async function writeTo(
  path: string,
  file: FileHandle,
  parts: AsyncIterable<string>,
  { isSynced = false }: { readonly isSynced?: boolean } = {},
): Promise<void> {
  const attempt = async (write: () => Promise<unknown>): Promise<void> => {
    try {
      await write();
    } catch (error) {
      throw cannotWrite(path, error);
    }
  };
  try {
    for await (const chunk of chunksOf(parts)) await attempt(() => file.writeFile(chunk));
    if (isSynced) await attempt(() => file.sync());
  } finally {
    await attempt(() => file.close());
  }
}

async function* chunksOf(parts: AsyncIterable<string>): AsyncGenerator<Buffer> {
  let chunk = '';
  for await (const part of parts) {
    chunk += part;
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield Buffer.from(chunk);
    chunk = '';
  }
  if (chunk !== '') yield Buffer.from(chunk);
}

async function opened(path: string, flags: string, mode?: number): Promise<FileHandle> {
  try {
    return await open(path, flags, mode);
  } catch (error) {
    throw badPath(`${path} can not be written: ${reasonOf(error)}.`, error);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function ignore(code: string): (error: unknown) => undefined {
  return (error) => {
    if (!isErrno(error, code)) throw badPath(`The output can not be written: ${reasonOf(error)}.`, error);
    return undefined;
  };
}

function isErrno(error: unknown, code: string): boolean {
  return isError(error) && 'code' in error && error.code === code;
}

function cannotWrite(where: string, cause: unknown): OutputFailure {
  return new OutputFailure(`${where} can not be written: ${reasonOf(cause)}.`, { cause });
}

function badPath(message: string, cause?: unknown): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${message} Nothing was written.`, { cause });
}

function reasonOf(error: unknown): string {
  return isError(error) ? error.message : String(error);
}
