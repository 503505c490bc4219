/**
 * Runs a loop in a context of `node:vm`, as Jest runs tests: what Node's own modules raise is no `Error` of that realm. Says what it found
 * as JSON. Needs `--experimental-vm-modules`. Arguments: the compiled workspace, an empty directory.
 */
import { readFileSync } from 'node:fs';
import { createRequire, isBuiltin } from 'node:module';
import { join } from 'node:path';
import { argv } from 'node:process';
import { pathToFileURL } from 'node:url';
import vm from 'node:vm';

const [, , root = '', directory = ''] = argv;
// What it has not by itself, it has of Node, as in a test runner.
const context = vm.createContext({ directory });
const own = new Set(vm.runInContext('Object.getOwnPropertyNames(globalThis)', context));
for (const name of Object.getOwnPropertyNames(globalThis)) {
  if (!own.has(name) && name !== 'global') context[name] = globalThis[name as keyof typeof globalThis];
}
const modules = new Map<string, Promise<vm.Module>>();

const SCRIPT = `
  import { stat } from 'node:fs/promises';
  import { LoopState, runLoop } from '@loopstate/core';
  import { openFileBackend } from '@loopstate/file';
  import { openSqliteBackend } from '@loopstate/sqlite';
  export const found = [];
  const codeOf = (opening) => opening.then(() => 'opened', (error) => error.code);
  for (const [open, name] of [[openFileBackend, 'state.json'], [openSqliteBackend, 'state.db']]) {
    const path = directory + '/' + name + '-is-made/' + name;
    found.push(await codeOf(open(path, { access: 'read' })));
    for (const items of [['a', 'b'], ['a', 'b', 'c']]) {
      const state = await LoopState.open(await open(path), { closeBackend: true });
      await runLoop({ state, items, work: (id) => (id === 'b' ? stat('/nowhere') : id) });
      found.push(state.progress.completed, (await state.read('b')).reason.slice(0, 6), state.recovery.length);
      await state.close();
    }
  }`;

const script = new vm.SourceTextModule(SCRIPT, { context });
await script.link(link);
await script.evaluate();
console.log(JSON.stringify((script.namespace as { found: unknown }).found));

function link(specifier: string, from: vm.Module): Promise<vm.Module> {
  const name = /^@loopstate\/(?<name>\w+)$/.exec(specifier)?.groups?.name;
  const path = name === undefined ? resolve(specifier, from) : join(root, 'packages', name, 'dist/index.js');
  const module = modules.get(path) ?? (name === undefined ? outside(path) : inside(path));
  modules.set(path, module);
  return module;
}

function resolve(specifier: string, { identifier }: vm.Module): string {
  return isBuiltin(specifier) ? specifier : createRequire(identifier).resolve(specifier);
}

async function inside(path: string): Promise<vm.Module> {
  const identifier = pathToFileURL(path).href;
  const initializeImportMeta = (meta: ImportMeta): void => {
    meta.url = identifier;
  };
  return new vm.SourceTextModule(readFileSync(path, 'utf8'), { context, identifier, initializeImportMeta });
}

/** What is of the realm of this program. */
async function outside(path: string): Promise<vm.Module> {
  const exported = (await import(isBuiltin(path) ? path : pathToFileURL(path).href)) as Record<string, unknown>;
  const names = Object.keys(exported);
  const module: vm.SyntheticModule = new vm.SyntheticModule(names, setAll, { context });
  return module;

  function setAll(): void {
    for (const name of names) module.setExport(name, exported[name]);
  }
}
