import { closeSync, constants, createReadStream, createWriteStream, fstatSync, openSync, statSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isError, LoopStateError, UnavailableError } from '@loopstate/core';

/** A file that can be read more than once. */
export interface InputFile {
  readonly path: string;
  /** Removes what was made of it. */
  remove(): Promise<void>;
}

/**
 * The file that `path` names. Of standard input (`-`), and of a pipe, a copy is made in the directory for temporary files: all of an import is
 * read before anything of it is put.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_UNAVAILABLE` (no copy can be made), and the reason of `signal`.
 */
export async function inputFile(path: string, signal: AbortSignal): Promise<InputFile> {
  try {
    if (path === '-') return await copied(process.stdin, signal);
    const found = await stat(path);
    if (found.isFile()) return { path, remove: async () => undefined };
    signal.throwIfAborted();
    // At once: from Node 22 on a stream that waits to be opened ends for no signal.
    const letGo = (): void => stopWaiting(path);
    signal.addEventListener('abort', letGo);
    try {
      return await copied(createReadStream(path), signal);
    } finally {
      signal.removeEventListener('abort', letGo);
    }
  } catch (cause) {
    if (signal.aborted) throw cause;
    const reason = isError(cause) ? cause.message : String(cause);
    if (isOfCopy(cause)) {
      throw new UnavailableError(
        `The input can not be kept in ${tmpdir()} meanwhile: ${reason}. TMPDIR names another directory. Nothing was imported.`,
        { cause },
      );
    }
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', `The input can not be read: ${reason}. Nothing was imported.`, { cause });
  }
}

/** Standard input. Errors: `LOOPSTATE_BAD_OPTION` for a directory (`< photos/`), which Node reads as if nothing was in it. */
export function standardInput(): NodeJS.ReadStream {
  // As bigint: of a pipe, the numbers that are left behind otherwise have Node follow no symlink as it loads the next module.
  if (fstatSync(0, { bigint: true }).isDirectory())
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', 'Standard input is a directory: nothing can be read from it.');
  return process.stdin;
}

/**
 * Lets go of a named pipe that is opened to be read, and that nobody writes to: the process could not end before somebody does. Where nobody
 * waits, nothing happens.
 */
export function stopWaiting(path: string): void {
  try {
    if (statSync(path).isFIFO()) closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // It is gone, or nobody reads from it (`ENXIO`).
  }
}

async function copied(stream: Readable, signal: AbortSignal): Promise<InputFile> {
  const folder = await mkdtemp(join(tmpdir(), 'loopstate-import-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const path = join(folder, 'input');
  try {
    await pipeline(stream, createWriteStream(path, { flags: 'wx', mode: 0o600 }), { signal });
    return { path, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Only the copy is written. */
function isOfCopy(error: unknown): boolean {
  return isError(error) && 'syscall' in error && (error.syscall === 'mkdtemp' || error.syscall === 'write');
}
