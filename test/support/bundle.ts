/**
 * What becomes of TypeScript. A package is published as bundles: one file for each of its entries, and one for each command that is
 * loaded when it is asked for. Of the start of a process, to find and to load its modules takes more than to run them. Other packages
 * stay outside, so that what must be one per process is.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build, type CommonOptions, transform } from 'esbuild';

/** What is imported from outside, or started: the files of a package's sources that other files don't lead to. */
const ENTRIES = ['index.ts', 'cli.ts', 'programs'];

const OUTPUT = { format: 'esm', platform: 'node', target: 'node20.19', logLevel: 'silent' } as const satisfies CommonOptions;

/** As in `tsconfig.json`, which is read where files are. */
const MODULES = { verbatimModuleSyntax: true, target: 'ES2023' } as const;

/** Writes the JavaScript of the package in `folder` to `target`, in which no other JavaScript is left. Errors: what esbuild finds. */
export async function bundlePackage(folder: string, target: string): Promise<void> {
  removeScripts(target);
  await build({
    ...OUTPUT,
    entryPoints: ENTRIES.flatMap((name) => scriptsOf(join(folder, 'src', name))),
    outbase: join(folder, 'src'),
    outdir: target,
    bundle: true,
    splitting: true,
    packages: 'external',
    sourcemap: true,
    // They are published too.
    sourcesContent: false,
  });
}

/** Writes a module to `target` for each in `folder`. Errors: what esbuild finds. */
export async function toModules(folder: string, target: string): Promise<void> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const sources = names.filter((name) => /(?<!\.d)\.ts$/.test(name) && !name.includes('node_modules'));
  await build({ ...OUTPUT, entryPoints: sources.map((name) => join(folder, name)), outbase: folder, outdir: target });
}

/** The module that one of these sources is. Errors: what esbuild finds. */
export async function toModule(source: string, file: string): Promise<string> {
  const { code } = await transform(source, { ...OUTPUT, loader: 'ts', sourcefile: file, tsconfigRaw: { compilerOptions: MODULES } });
  return code;
}

function scriptsOf(path: string): string[] {
  if (!existsSync(path)) return [];
  return path.endsWith('.ts') ? [path] : readdirSync(path).map((name) => join(path, name));
}

/** Declarations stay. */
function removeScripts(folder: string): void {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (/\.js(\.map)?$/.test(name)) rmSync(join(folder, name));
  }
}
