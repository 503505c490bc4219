/**
 * What becomes of TypeScript. A package is published as bundles: one file for each of its entries, and one for each command that is
 * loaded when it is asked for. Of the start of a process, to find and to load its modules takes more than to run them. The packages that
 * it depends on stay outside, so that what must be one per process is; those that it names for development only are carried along, with
 * their licenses.
 *
 * esbuild is loaded when it is needed: child processes import this file along with what starts them, and it would double their start.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CommonOptions, Metafile } from 'esbuild';

/** What is imported from outside, or started: the files of a package's sources that other files don't lead to. */
const ENTRIES = ['index.ts', 'cli.ts', 'programs'];

const OUTPUT = { format: 'esm', platform: 'node', target: 'node20.19', logLevel: 'silent' } as const satisfies CommonOptions;

/** As in `tsconfig.json`, which is read where files are. */
const MODULES = { verbatimModuleSyntax: true, target: 'ES2023' } as const;

/** Writes the JavaScript of the package in `folder` to `target`, in which no other JavaScript is left. Errors: what esbuild finds. */
export async function bundlePackage(folder: string, target: string): Promise<void> {
  removeScripts(target);
  const { build } = await import('esbuild');
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const { metafile } = await build({
    ...OUTPUT,
    entryPoints: ENTRIES.flatMap((name) => scriptsOf(join(folder, 'src', name))),
    outbase: join(folder, 'src'),
    outdir: target,
    bundle: true,
    splitting: true,
    external: Object.keys({ ...dependencies, ...peerDependencies }),
    metafile: true,
    sourcemap: true,
    // They are published too.
    sourcesContent: false,
  });
  writeLicenses(metafile, target);
}

/**
 * Writes a package of others to `target` as one file, as which it starts in a third of the time. It is looked for from `folder`.
 * Errors: what esbuild finds.
 */
export async function bundleDependency(name: string, folder: string, target: string): Promise<void> {
  const { build } = await import('esbuild');
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, 'package.json'), JSON.stringify({ name, type: 'module', exports: './index.js' }));
  await build({
    ...OUTPUT,
    stdin: { contents: `export * from '${name}';\nexport { default } from '${name}';\n`, resolveDir: folder },
    outfile: join(target, 'index.js'),
    bundle: true,
    // What is CommonJS in it asks for modules of Node.
    banner: { js: "import { createRequire as requireFrom } from 'node:module';\nconst require = requireFrom(import.meta.url);" },
  });
}

/** Writes a module to `target` for each in `folder`. Errors: what esbuild finds. */
export async function toModules(folder: string, target: string): Promise<void> {
  const { build } = await import('esbuild');
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const sources = names.filter((name) => /(?<!\.d)\.ts$/.test(name) && !name.includes('node_modules'));
  await build({ ...OUTPUT, entryPoints: sources.map((name) => join(folder, name)), outbase: folder, outdir: target });
}

/** The module that one of these sources is. Errors: what esbuild finds. */
export async function toModule(source: string, file: string): Promise<string> {
  const { transform } = await import('esbuild');
  const { code } = await transform(source, { ...OUTPUT, loader: 'ts', sourcefile: file, tsconfigRaw: { compilerOptions: MODULES } });
  return code;
}

/** What is carried along, by the paths that pnpm gives it, is said in a file, with its terms. */
function writeLicenses({ outputs }: Metafile, target: string): void {
  const inputs = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
  const carried = inputs.map(([path, { bytesInOutput }]) =>
    bytesInOutput > 0 ? /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] : undefined,
  );
  const notices = [...new Set(carried.filter((folder) => folder !== undefined))].map((folder) => {
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return `${name} ${version}\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8').trim()}\n`;
  });
  if (notices.length > 0) writeFileSync(join(target, 'THIRD-PARTY.txt'), notices.join('\n---\n\n'));
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
