/**
 * The workspace as plain JavaScript in a temporary directory, so that a child process starts in a tenth of a second: children that
 * are killed two hundred times can't wait for ts-node each time. Nothing has to be built by hand; `dist` is neither read nor written.
 *
 * `packages/<name>/src/*.ts` becomes `packages/<name>/dist/*.js` there, and a package resolves to it as it would once published;
 * the TypeScript of `test`, `packages/<name>/test` and `examples` becomes JavaScript at the same place.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** The root of the checkout. */
export const WORKSPACE = fileURLToPath(new URL('../..', import.meta.url));

/** Where the compiled workspace is. */
export interface CompiledPackages {
  readonly root: string;
}

let compiled: Promise<CompiledPackages> | undefined;

/** The compiled workspace of this process; made by the first call, removed when the process exits. */
export function compiledPackages(): Promise<CompiledPackages> {
  compiled ??= Promise.resolve().then(compile);
  return compiled;
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

function compile(): CompiledPackages {
  const root = mkdtempSync(join(tmpdir(), 'loopstate-compiled-'));
  process.once('exit', () => rmSync(root, { recursive: true, force: true }));
  copyIfPresent('package.json', root);
  linkModules(root);
  for (const name of readdirSync(join(WORKSPACE, 'packages'))) {
    const folder = join('packages', name);
    if (!existsSync(join(WORKSPACE, folder, 'package.json'))) continue;
    for (const part of ['package.json', 'bin', 'node_modules']) copyIfPresent(join(folder, part), root);
    transpileFolder(join(folder, 'src'), join(root, folder, 'dist'));
    transpileFolder(join(folder, 'test'), join(root, folder, 'test'));
  }
  transpileFolder('test', join(root, 'test'));
  transpileFolder('examples', join(root, 'examples'));
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

function transpileFolder(folder: string, target: string): void {
  const from = join(WORKSPACE, folder);
  if (!existsSync(from)) return;
  for (const path of readdirSync(from, { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts') || path.endsWith('.d.ts')) continue;
    const { outputText } = ts.transpileModule(readFileSync(join(from, path), 'utf8'), {
      fileName: path,
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
    });
    const file = join(target, toJavaScript(path));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, outputText);
  }
}

function toJavaScript(path: string): string {
  return path.replace(/\.ts$/, '.js');
}
