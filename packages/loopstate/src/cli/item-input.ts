/**
 * Where the items of a run come from: lines of a file or of standard input, or the files that a pattern matches.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { LoopStateError } from '@loopstate/core';
import { glob } from 'tinyglobby';
import { itemLines } from './item-lines.js';

/** The items of a run. */
export interface ItemInput {
  readonly items: AsyncIterable<string> | Iterable<string>;
  /** How many there are, repeated ones included; undefined while that can't be known. */
  readonly total: number | undefined;
  /** Stops reading, so that nothing keeps the process alive. */
  close(): void;
}

/** What the command line says of the input. */
export interface ItemInputOptions {
  /** A path, or `-` for standard input. */
  readonly items?: string | undefined;
  readonly glob?: readonly string[] | undefined;
}

/**
 * Opens the input. A regular file is read through once before anything begins: so it is known to be in order, and how much there is.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`.
 */
export async function openItemInput({ items, glob: patterns }: ItemInputOptions): Promise<ItemInput> {
  if (patterns !== undefined) return await openGlob(patterns);
  if (items !== undefined && items !== '-') return await openFile(items);
  if (items === undefined && process.stdin.isTTY) {
    throw badInput('There are no items: give --items FILE or --glob PATTERN, or pipe them in, one per line.');
  }
  return { items: itemLines(process.stdin, 'standard input'), total: undefined, close: () => process.stdin.destroy() };
}

async function openGlob(patterns: readonly string[]): Promise<ItemInput> {
  const paths = await glob([...patterns], { onlyFiles: true, expandDirectories: false });
  return { items: paths.sort(), total: paths.length, close: () => undefined };
}

async function openFile(path: string): Promise<ItemInput> {
  try {
    const total = (await stat(path)).isFile() ? await countItems(path) : undefined;
    const stream = createReadStream(path);
    return { items: itemLines(stream, path), total, close: () => stream.destroy() };
  } catch (cause) {
    if (cause instanceof LoopStateError) throw cause;
    throw badInput(`The items can not be read: ${cause instanceof Error ? cause.message : String(cause)}.`, cause);
  }
}

async function countItems(path: string): Promise<number> {
  let count = 0;
  for await (const _ of itemLines(createReadStream(path), path)) count += 1;
  return count;
}

function badInput(message: string, cause?: unknown): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message, { cause });
}
