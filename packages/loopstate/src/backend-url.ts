/**
 * From what a user wrote to a backend: which store a URL or a path means, and the package that opens it.
 */
import { fileURLToPath } from 'node:url';
import {
  checkOpenOptions,
  type Diagnose,
  type DiagnoseOptions,
  type Diagnosis,
  isError,
  LoopStateError,
  openMemoryBackend,
  type StateBackend,
} from '@loopstate/core';
import { diagnoseFile, openFileBackend } from '@loopstate/file';
import type { Compaction } from './backend-compaction.js';

/** Whether a store is opened for writing, or only looked at (which takes no lock and repairs nothing). */
export type Access = 'read' | 'write';

/** What a URL or a path stands for. */
export type StatePlace =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'memory' }
  /** A store that another package opens: it gets the URL as it is, and judges its parameters. */
  | { readonly kind: 'package'; readonly scheme: string; readonly packageName: string; readonly url: string };

/** The schemes that are served by a package of their own. */
const PACKAGES: Readonly<Record<string, string>> = {
  sqlite: '@loopstate/sqlite',
  redis: '@loopstate/redis',
  rediss: '@loopstate/redis',
  'redis+sentinel': '@loopstate/redis',
  'redis+cluster': '@loopstate/redis',
};

/** Two letters or more: `C:\state.json` is a path. */
const SCHEME = /^([a-z][a-z0-9+.-]+):/i;

const SCHEMES: readonly string[] = ['file', 'memory', ...Object.keys(PACKAGES)];

const IN_MEMORY = {
  id: 'in-memory',
  severity: 'info',
  where: 'memory:',
  found: 'A state in memory is gone with its process: there is nothing to look at.',
  remedy: 'Name a file, a database or a server to keep it.',
} as const;

/**
 * Says what `target` means, without looking at the disk: `file:./x.json`, `file:///abs/x.json`, `memory:`, `sqlite:…`, `redis:…`, or a
 * path. A path that looks like a URL is written `./redis:x`.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`; neither its message nor a cause holds what follows the scheme, since that may be a password.
 */
export function placeOf(target: string): StatePlace {
  if (typeof target !== 'string' || target === '') throw badTarget('The state must be a URL or a path, and it is none.');
  if (target.includes('\0')) throw badTarget('The state must be a URL or a path, and it holds a NUL.');
  const scheme = schemeOf(target);
  if (scheme === undefined) {
    const meant = schemeOf(target.trimStart());
    if (meant !== undefined && SCHEMES.includes(meant)) throw badTarget(`There is white space before the ${meant}: URL: leave it out.`);
    return { kind: 'file', path: target };
  }
  if (scheme === 'file') return { kind: 'file', path: pathOfFileUrl(target.slice('file:'.length)) };
  if (scheme === 'memory') {
    if (target.length > 'memory:'.length) throw badTarget('A store in memory is opened as "memory:", with nothing after the colon.');
    return { kind: 'memory' };
  }
  const packageName = Object.hasOwn(PACKAGES, scheme) ? PACKAGES[scheme] : undefined;
  if (packageName !== undefined) return { kind: 'package', scheme, packageName, url: target };
  const known = SCHEMES.map((name) => `${name}:`).join(', ');
  throw badTarget(`There is no store for ${scheme}: URLs; there are ${known}. If it is the name of a file, write ./ before it.`);
}

/**
 * Opens the store that `target` means.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_BACKEND_MISSING` (naming the package to install), and what the backend raises.
 */
export async function openBackend(target: string, options: { readonly access: Access }): Promise<StateBackend> {
  const place = placeOf(target);
  checkOpenOptions(options);
  if (place.kind === 'file') return await openFileBackend(place.path, options);
  if (place.kind === 'memory') return openMemoryBackend();
  const { openBackend: open } = await loadPackage(place.scheme, place.packageName, 'openBackend');
  return await open(place.url, options);
}

/**
 * Looks at the place that `target` means, and changes nothing; the loop in it is not judged here.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_BACKEND_MISSING`; whatever else is wrong is a finding.
 */
export async function diagnosePlace(target: string, options: DiagnoseOptions): Promise<Diagnosis> {
  const place = placeOf(target);
  if (place.kind === 'file') return await diagnoseFile(place.path, options);
  if (place.kind === 'memory') return { backend: 'memory', reach: 'process', where: 'memory:', findings: [IN_MEMORY] };
  const { diagnose } = await loadPackage(place.scheme, place.packageName, 'diagnose');
  return await diagnose(place.url, options);
}

function schemeOf(target: string): string | undefined {
  return SCHEME.exec(target)?.[1]?.toLowerCase();
}

/** `rest`: what follows `file:`. Relative forms are no standard URLs, so only the absolute ones can be left to Node. */
function pathOfFileUrl(rest: string): string {
  const [path = '', ...parameters] = rest.split('?');
  if (parameters.length > 0) throw badTarget('A file: URL has no parameters. If the name holds a question mark, write it as %3F.');
  if (path.includes('#')) throw badTarget('A file: URL has no fragment. If the name holds a number sign, write it as %23.');
  if (path === '') throw badTarget('The URL file: names no file.');
  try {
    if (path.startsWith('//')) return fileURLToPath(`file:${path}`);
    return decodeURIComponent(path);
  } catch (error) {
    // Without its cause: that would repeat the URL, in which a password may stand.
    throw badTarget(`This file: URL names no file: ${reasonOf(error)}. A per cent sign in a name is written %25.`);
  }
}

/** What a package of a backend exports. */
interface BackendPackage {
  readonly openBackend: (url: string, options: { readonly access: Access }) => Promise<StateBackend>;
  readonly diagnose: Diagnose;
  /** Only that of SQLite. */
  readonly compactSqlite: (url: string) => Promise<Compaction>;
}

/** Loads the package that serves a scheme, for one function of it. Errors: `LOOPSTATE_BACKEND_MISSING`. */
export async function loadPackage<N extends keyof BackendPackage>(
  scheme: string,
  packageName: string,
  name: N,
): Promise<Pick<BackendPackage, N>> {
  let module: unknown;
  try {
    module = await import(packageName);
  } catch (cause) {
    // Only its own absence: when something that it needs is missing, that is another story.
    const isMissing = isError(cause) && 'code' in cause && cause.code === 'ERR_MODULE_NOT_FOUND';
    if (!isMissing || !cause.message.includes(`'${packageName}'`)) throw cause;
    throw new LoopStateError(
      'LOOPSTATE_BACKEND_MISSING',
      `A ${scheme}: state needs the package ${packageName}, which is not installed here: npm install ${packageName}`,
      { cause },
    );
  }
  if (hasFunction(module, name)) return module;
  throw new LoopStateError('LOOPSTATE_BACKEND_MISSING', `The installed ${packageName} has no ${name}: update it.`);
}

function hasFunction<N extends keyof BackendPackage>(module: unknown, name: N): module is Pick<BackendPackage, N> {
  return typeof module === 'object' && module !== null && typeof (module as Partial<Record<N, unknown>>)[name] === 'function';
}

function reasonOf(error: unknown): string {
  return isError(error) ? error.message : String(error);
}

function badTarget(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${message} Nothing was written.`);
}
