/**
 * Where the items of a run come from: lines, rows of JSON or CSV, or the files that a pattern matches.
 */
import { createReadStream, type Dirent, readdir } from 'node:fs';
import { lstat, stat } from 'node:fs/promises';
import { isAbsolute, posix } from 'node:path';
import { isError, LoopStateError } from '@loopstate/core';
import { standardInput, stopWaiting } from './input-file.js';
import { itemLines } from './item-lines.js';
import { csvRows, jsonRows } from './item-rows.js';
import { withoutOwnFiles } from './own-files.js';
import { visible } from './visible-text.js';

/** One item of the input. */
export interface InputItem {
  readonly id: string;
  /** What `{}` stands for. */
  readonly text: string;
  /** Its place in the input, from 1. */
  readonly n: number;
  /** The row as it came, with all that it holds; undefined for what is no row. */
  readonly row?: string;
  /** The fields of a row, as text. */
  readonly fields?: Readonly<Record<string, string>>;
}

/** The items of a run. */
export interface ItemInput {
  readonly items: AsyncIterable<InputItem>;
  /** How many there are, repeated ones included; undefined while that can't be known. */
  readonly total: number | undefined;
  /** Stops reading, so that nothing keeps the process alive. */
  close(): void;
}

/** What the command line says of the input. */
export interface ItemInputOptions {
  /** Where the loop is kept: its own files are no items. */
  readonly state: string;
  /** A path, or `-` for standard input. */
  readonly items?: string | undefined;
  readonly glob?: readonly string[] | undefined;
  readonly jsonl?: boolean | undefined;
  readonly csv?: boolean | undefined;
  /** The field that is the id of a row. */
  readonly idField?: string | undefined;
  /** How many items there are, as the user says. */
  readonly total?: number | undefined;
  /** The fields that the command names. */
  readonly fields: readonly string[];
  /** The same, and the names it uses of what is always there, which a field of a row can have too. */
  readonly names: readonly string[];
}

/**
 * Opens the input. A regular file is read through once before anything begins: so it is known to be in order, and how much there is.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`.
 */
export async function openItemInput(options: ItemInputOptions): Promise<ItemInput> {
  const { items, glob: patterns, total } = options;
  if (options.jsonl === true && options.csv === true) throw badInput('Give either --jsonl or --csv.');
  if (patterns !== undefined && (options.jsonl === true || options.csv === true)) throw badInput('--glob finds files, and has no rows.');
  if (options.idField !== undefined && options.jsonl !== true && options.csv !== true) throw badInput('--id-field needs --jsonl or --csv.');
  if (patterns !== undefined) return await openGlob(patterns, options);
  if (items !== undefined && items !== '-') return await openFile(items, options);
  if (items === undefined && process.stdin.isTTY) {
    throw badInput('There are no items: give --items FILE or --glob PATTERN, or pipe them in, one per line.');
  }
  const stdin = standardInput();
  return { items: itemsOf(stdin, 'standard input', options), total, close: () => stdin.destroy() };
}

async function openGlob(patterns: readonly string[], { state, total }: ItemInputOptions): Promise<ItemInput> {
  // Those of the state match what the first run looked through when they were not there yet; the command would be run on them.
  const paths = await withoutOwnFiles(await matchingFiles(patterns), state);
  await refuseUnreadableNames(paths);
  return { items: numbered([paths]), total: total ?? paths.length, close: () => undefined };
}

/** The files that match, in order. What a directory holds that can't be read is left out, and told. Errors: `LOOPSTATE_BAD_OPTION`. */
async function matchingFiles(patterns: readonly string[]): Promise<string[]> {
  const { escapePath, glob } = await import('tinyglobby');
  const unread: NodeJS.ErrnoException[] = [];
  type Done = (error: NodeJS.ErrnoException | null, entries: Dirent[]) => void;
  const noting = ((path: string, options: { readonly withFileTypes: true }, done: Done): void =>
    readdir(path, options, (error, entries) => {
      // What is not there, as where a pattern begins, holds nothing.
      if (error !== null && error.code !== 'ENOENT' && error.code !== 'ENOTDIR') unread.push(error);
      done(error, entries);
    })) as typeof readdir;
  try {
    const here = process.cwd();
    for (const pattern of patterns) refuseHiddenStart(pattern);
    const from = startOf(patterns, { here, escapePath });
    const options = { cwd: from.directory, onlyFiles: true, expandDirectories: false, fs: { readdir: noting } };
    const paths = await glob([...from.patterns], options);
    for (const { message } of unread) process.stderr.write(`loopstate: What a directory holds is left out: ${visible(message)}.\n`);
    const all = (is: (pattern: string) => boolean): boolean => patterns.every((pattern) => isExclusion(pattern) || is(pattern));
    // Whoever names whole paths gets them, the same ones wherever this runs.
    if (all(isAbsolute)) return paths.map((path) => posix.join(from.directory, path)).sort();
    const relative = from.directory === here ? paths : paths.map((path) => posix.relative(here, posix.join(from.directory, path)));
    // No name that a pattern with ./ finds is an option to a command.
    const start = all((pattern) => pattern.startsWith('./')) ? './' : '';
    return relative.map((path) => (path.startsWith('../') ? path : start + path)).sort();
  } catch (cause) {
    // The working directory was removed, for one.
    if (!(isError(cause) && 'syscall' in cause)) throw cause;
    throw badInput(`The files can not be looked for: ${cause.message}.`, cause);
  }
}

/** A pattern of what is left out: not `!(…)`, which is a pattern of names. */
function isExclusion(pattern: string): boolean {
  return /^!(?!\()/.test(pattern);
}

/** Where to look is seen from how a pattern begins, as it stands: what braces hide of that would be looked for elsewhere, and not be found. */
function refuseHiddenStart(pattern: string): void {
  for (const { 0: braces, index } of pattern.replaceAll(/\\./gs, 'x').matchAll(/\{[^{}]*,[^{}]*\}/g)) {
    const isFirst = /^!?\{*$/.test(pattern.slice(0, index));
    const leads = braces
      .slice(1, -1)
      .split(',')
      .some((part) => (isFirst && part.startsWith('/')) || part.split('/').some((name) => name === '.' || name === '..'));
    if (leads)
      throw badInput(
        `The pattern ${visible(pattern)} can not be followed: within its braces are ., .. or whole paths. Give each as a --glob of its own.`,
      );
  }
}

/** Where files are looked for. */
interface GlobStart {
  readonly directory: string;
  readonly patterns: readonly string[];
}

/**
 * The lowest directory that is above all that these patterns may match. From below it, what leads up and down again by another name, as
 * `../*` does and `/data/**` may, would not be found.
 */
function startOf(
  patterns: readonly string[],
  { here, escapePath }: { readonly here: string; readonly escapePath: (path: string) => string },
): GlobStart {
  const wholes = patterns.map((pattern) => {
    const mark = isExclusion(pattern) ? '!' : '';
    const path = pattern.slice(mark.length);
    return { mark, path: path === '' || isAbsolute(path) ? path : posix.join(escapePath(here), path) };
  });
  const ups = wholes.map(({ path }) => /^(?:\.\.(?:\/|$))*/.exec(posix.relative(escapePath(here), path))?.[0] ?? '');
  const farthest = ups.reduce((a, b) => (b.length > a.length ? b : a), '');
  if (farthest === '') return { directory: here, patterns };
  return { directory: posix.join(here, farthest, '.'), patterns: wholes.map(({ mark, path }) => mark + path) };
}

/** In a name that is not UTF-8, what is no text is read as U+FFFD: it names no file then, or another one. Errors: `LOOPSTATE_BAD_OPTION`. */
async function refuseUnreadableNames(paths: readonly string[]): Promise<void> {
  for (const [index, path] of paths.entries()) {
    if (!path.includes('\ufffd')) continue;
    const isThere = await lstat(path).then(
      () => true,
      () => false,
    );
    if (!isThere || path === paths[index + 1])
      throw badInput(`The file ${visible(path)} can not be an item: its name is not UTF-8, and an item must be text.`);
  }
}

async function openFile(path: string, options: ItemInputOptions): Promise<ItemInput> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) throw badInput(`The items can not be read: ${path} is a directory.`);
    const counted = stats.isFile() ? await countItems(path, options) : undefined;
    const stream = createReadStream(path);
    // Whoever reads it is told; but nobody may read it yet, or ever.
    stream.on('error', () => undefined);
    const close = (): void => {
      stream.destroy();
      stopWaiting(path);
    };
    return { items: itemsOf(stream, path, options), total: options.total ?? counted, close };
  } catch (cause) {
    if (cause instanceof LoopStateError) throw cause;
    throw badInput(`The items can not be read: ${isError(cause) ? cause.message : String(cause)}.`, cause);
  }
}

async function countItems(path: string, options: ItemInputOptions): Promise<number> {
  const stream = createReadStream(path);
  let count = 0;
  if (options.jsonl === true || options.csv === true) for await (const _ of itemsOf(stream, path, options)) count += 1;
  else for await (const texts of itemLines(stream, path)) count += texts.length;
  return count;
}

function itemsOf(chunks: AsyncIterable<Buffer>, source: string, options: ItemInputOptions): AsyncIterable<InputItem> {
  const { jsonl, csv, idField = 'id', fields, names } = options;
  if (jsonl === true) return jsonRows(chunks, { source, idField, names });
  if (csv === true) return csvRows(chunks, { source, idField, fields });
  return numbered(itemLines(chunks, source));
}

async function* numbered(groups: AsyncIterable<readonly string[]> | Iterable<readonly string[]>): AsyncGenerator<InputItem> {
  let n = 0;
  for await (const texts of groups) {
    for (const text of texts) {
      n += 1;
      yield { id: text, text, n };
    }
  }
}

function badInput(message: string, cause?: unknown): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', message, { cause });
}
