/**
 * The workspace as plain JavaScript in a temporary directory, so that a child process starts in a tenth of a second: children that
 * are killed two hundred times can't wait for ts-node each time. Nothing has to be built by hand; `dist` is neither read nor written.
 *
 * A package is there as it would be once published; the TypeScript of `test`, `packages/<name>/test` and `examples` is JavaScript at the
 * same place, and what else stands beside it is copied. To a process of such a workspace that workspace is the compiled one.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleDependency, bundlePackage, toModules } from './bundle.js';

/** The root of the checkout. */
export const WORKSPACE = fileURLToPath(new URL('../..', import.meta.url));

/** Where the compiled workspace is. */
export interface CompiledPackages {
  readonly root: string;
}

let compiled: Promise<CompiledPackages> | undefined;
let modules: Promise<CompiledPackages> | undefined;

/** The compiled workspace of this process; made by the first call, removed when the process exits. */
export function compiledPackages(): Promise<CompiledPackages> {
  compiled ??= compile(bundlePackage).then(bundleRedisClient);
  return compiled;
}

/**
 * Likewise, but each module of the packages is a file of its own, `packages/<name>/dist/*.js`. `src` leads there too, so that the packages'
 * own tests run in it.
 */
export function compiledModules(): Promise<CompiledPackages> {
  modules ??= compile(async (folder, target) => {
    await toModules(join(folder, 'src'), target);
    symlinkSync('dist', join(dirname(target), 'src'), 'dir');
  });
  return modules;
}

/** The folders of the packages, from the root. */
export function packageFolders(): string[] {
  const folders = readdirSync(join(WORKSPACE, 'packages')).map((name) => join('packages', name));
  return folders.filter((folder) => existsSync(join(WORKSPACE, folder, 'package.json')));
}

/** Options of {@link spawnCompiled}. */
export interface SpawnCompiledOptions extends SpawnOptions {
  /** A command, with its arguments, that starts node. Default: none. */
  readonly under?: readonly string[];
}

/**
 * Starts `node` on a script of the workspace. `script` is its path from the root, as TypeScript or as JavaScript:
 * `test/support/some-child.ts`, `packages/loopstate/bin/loopstate.js`. Imports of workspace packages get the compiled ones.
 */
export async function spawnCompiled(
  script: string,
  args: readonly string[] = [],
  options: SpawnCompiledOptions = {},
): Promise<ChildProcess> {
  const { root } = await compiledPackages();
  const { under = [], ...others } = options;
  const [command, ...rest] = [...under, process.execPath, join(root, toJavaScript(script)), ...args] as [string, ...string[]];
  return spawn(command, rest, others);
}

/** The driver of Redis is 500 modules, which take longer to load than all else that a process of ours does. */
async function bundleRedisClient({ root }: CompiledPackages): Promise<CompiledPackages> {
  const folder = join(root, 'packages/redis');
  const target = join(folder, 'node_modules/@keyv/redis');
  if (root === WORKSPACE) return { root };
  rmSync(target);
  await bundleDependency('@keyv/redis', join(WORKSPACE, 'packages/redis'), target);
  return { root };
}

async function compile(addPackage: (folder: string, target: string) => Promise<void>): Promise<CompiledPackages> {
  if (import.meta.url.endsWith('.js')) return { root: WORKSPACE };
  const root = mkdtempSync(join(tmpdir(), 'loopstate-compiled-'));
  process.once('exit', () => rmSync(root, { recursive: true, force: true }));
  copyIfPresent('package.json', root);
  linkModules(root);
  for (const folder of packageFolders()) {
    for (const part of ['package.json', 'bin', 'node_modules']) copyIfPresent(join(folder, part), root);
    await addPackage(join(WORKSPACE, folder), join(root, folder, 'dist'));
    await compileFolder(join(folder, 'test'), root);
  }
  await compileFolder('test', root);
  await compileFolder('examples', root);
  return { root };
}

/** pnpm's links are relative: copied as they are, those to workspace packages lead to the compiled ones. Only its store is shared. */
function linkModules(root: string): void {
  for (const name of readdirSync(join(WORKSPACE, 'node_modules'))) {
    const path = join('node_modules', name);
    if (name !== '.pnpm') copyIfPresent(path, root);
    else symlinkSync(join(WORKSPACE, path), join(root, path), 'junction');
  }
}

function copyIfPresent(path: string, root: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  if (existsSync(join(WORKSPACE, path))) cpSync(join(WORKSPACE, path), join(root, path), { recursive: true, verbatimSymlinks: true });
}

async function compileFolder(folder: string, root: string): Promise<void> {
  if (!existsSync(join(WORKSPACE, folder))) return;
  await toModules(join(WORKSPACE, folder), join(root, folder));
  copyOthers(folder, root);
}

/** What stands beside the TypeScript. */
function copyOthers(folder: string, root: string): void {
  mkdirSync(join(root, folder), { recursive: true });
  for (const entry of readdirSync(join(WORKSPACE, folder), { withFileTypes: true })) {
    const path = join(folder, entry.name);
    // What the benchmark installs for itself is no part of the workspace.
    if (entry.isDirectory() && entry.name !== 'node_modules') copyOthers(path, root);
    else if (entry.isFile() && !path.endsWith('.ts')) copyFileSync(join(WORKSPACE, path), join(root, path));
  }
}

function toJavaScript(path: string): string {
  return path.replace(/\.ts$/, '.js');
}
