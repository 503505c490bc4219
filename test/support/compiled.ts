/**
 * The workspace as plain JavaScript in a temporary directory, so that a child process starts in a tenth of a second: children that
 * are killed two hundred times can't wait for ts-node each time. Nothing has to be built by hand; `dist` is neither read nor written.
 *
 * `packages/<name>/src/*.ts` becomes `packages/<name>/dist/*.js` there, and a package resolves to it as it would once published;
 * the TypeScript of `test`, `packages/<name>/test` and `examples` becomes JavaScript at the same place. The tests run there too: `src`
 * leads to `dist`, what else stands beside them is copied, and to a process of such a workspace that workspace is the compiled one.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the checkout. */
export const WORKSPACE = fileURLToPath(new URL('../..', import.meta.url));

/** Where the compiled workspace is. */
export interface CompiledPackages {
  readonly root: string;
}

/** The JavaScript of a TypeScript source. Errors: `SyntaxError`. */
export type Transpile = (source: string, fileName: string) => string;

let compiled: Promise<CompiledPackages> | undefined;

/** The compiled workspace of this process; made by the first call, removed when the process exits. */
export function compiledPackages(): Promise<CompiledPackages> {
  compiled ??= compile();
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

/** Loads the compiler, which takes a while, and only where it is needed. */
export async function loadTranspiler(): Promise<Transpile> {
  const { default: ts } = await import('typescript');
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
  return (source, fileName) => {
    const { outputText, diagnostics = [] } = ts.transpileModule(source, { fileName, compilerOptions, reportDiagnostics: true });
    const [wrong] = diagnostics;
    if (wrong !== undefined) throw new SyntaxError(`${fileName}: ${ts.flattenDiagnosticMessageText(wrong.messageText, ' ')}`);
    return outputText;
  };
}

async function compile(): Promise<CompiledPackages> {
  if (import.meta.url.endsWith('.js')) return { root: WORKSPACE };
  const transpile = await loadTranspiler();
  const root = mkdtempSync(join(tmpdir(), 'loopstate-compiled-'));
  process.once('exit', () => rmSync(root, { recursive: true, force: true }));
  copyIfPresent('package.json', root);
  linkModules(root);
  for (const name of readdirSync(join(WORKSPACE, 'packages'))) {
    const folder = join('packages', name);
    if (!existsSync(join(WORKSPACE, folder, 'package.json'))) continue;
    for (const part of ['package.json', 'bin', 'node_modules']) copyIfPresent(join(folder, part), root);
    compileFolder(join(folder, 'src'), join(root, folder, 'dist'), transpile);
    compileFolder(join(folder, 'test'), join(root, folder, 'test'), transpile);
    symlinkSync('dist', join(root, folder, 'src'), 'dir');
  }
  compileFolder('test', join(root, 'test'), transpile);
  compileFolder('examples', join(root, 'examples'), transpile);
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

function compileFolder(folder: string, target: string, transpile: Transpile): void {
  const from = join(WORKSPACE, folder);
  if (!existsSync(from)) return;
  mkdirSync(target, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    const file = join(target, toJavaScript(entry.name));
    if (entry.isDirectory()) {
      // What the benchmark installs for itself is no part of the workspace.
      if (entry.name !== 'node_modules') compileFolder(path, file, transpile);
    } else if (path.endsWith('.d.ts') || !entry.isFile()) continue;
    else if (path.endsWith('.ts')) writeFileSync(file, transpile(readFileSync(join(WORKSPACE, path), 'utf8'), path));
    else copyFileSync(join(WORKSPACE, path), file);
  }
}

function toJavaScript(path: string): string {
  return path.replace(/\.ts$/, '.js');
}
