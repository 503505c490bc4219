/**
 * The output of each item in files of its own. A file has its name only when it is whole, and replaces that of an earlier attempt.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants, createWriteStream, type WriteStream } from 'node:fs';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { isError, LoopStateError } from '@loopstate/core';

const NAME_LENGTH_MAX = 120;

/** What one attempt writes. */
export interface ResultFiles {
  readonly stdout: (chunk: Buffer) => Promise<void>;
  readonly stderr: (chunk: Buffer) => Promise<void>;
  /** Gives the files their names. Errors: any system error. */
  place(): Promise<void>;
  /** Removes what was written, where that can be done. */
  discard(): Promise<void>;
}

/** Opens the files of an item, `<name>.out` and `<name>.err`, in a directory that exists. Errors: any system error. */
export function openResultFiles(folder: string, id: string): ResultFiles {
  const name = fileNameOf(id);
  const token = randomBytes(6).toString('hex');
  const files = (['out', 'err'] as const).map((kind) => {
    const temporary = join(folder, `.${token}.${kind}.tmp`);
    return { temporary, path: join(folder, `${name}.${kind}`), stream: createWriteStream(temporary, { flags: 'wx', mode: 0o600 }) };
  });
  const [out, err] = files as [(typeof files)[number], (typeof files)[number]];
  // Reported where it is awaited; without a listener it would end the process.
  for (const { stream } of files) stream.on('error', () => undefined);
  const end = async (): Promise<void> => {
    for (const { stream } of files) {
      stream.end();
      await finished(stream);
    }
  };
  return {
    stdout: (chunk) => write(out.stream, chunk),
    stderr: (chunk) => write(err.stream, chunk),
    async place() {
      await end();
      for (const { temporary, path } of files) await rename(temporary, path);
    },
    async discard() {
      await end().catch(() => undefined); // It is removed all the same.
      // What went wrong is told, and not that this goes wrong too: where the directory can't be used any more, there is nothing to remove.
      for (const { temporary } of files) await rm(temporary, { force: true }).catch(() => undefined);
    },
  };
}

/** Makes the directory for results, in which files can be made. Errors: `LOOPSTATE_BAD_OPTION`. */
export async function makeResultsFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    // Seen only when the first command has run, it would have run in vain.
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (cause) {
    const reason = isError(cause) ? cause.message : String(cause);
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', `The directory for results can not be used: ${reason}. Nothing was run.`, { cause });
  }
}

/**
 * An id as a file name: what is no letter, digit, `-`, `_` or `.` becomes `%` and its bytes in hexadecimal digits, as in URLs. A long name is cut
 * and ends in a digest.
 */
export function fileNameOf(id: string): string {
  const name = [...Buffer.from(id)]
    .map((byte) =>
      /[A-Za-z0-9._-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`,
    )
    .join('')
    .replace(/^\./, '%2E');
  // One of just that length could be another one's that was cut.
  if (name.length < NAME_LENGTH_MAX) return name;
  return `${name.slice(0, NAME_LENGTH_MAX - 17)}-${createHash('sha256').update(id).digest('hex').slice(0, 16)}`;
}

function write(stream: WriteStream, chunk: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    // Of a file that could not be opened, a later write says no more than that.
    stream.write(chunk, (error) => (error === null || error === undefined ? resolve() : reject(stream.errored ?? error)));
  });
}
