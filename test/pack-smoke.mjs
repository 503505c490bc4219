/**
 * What would be published works where it is installed: every package is packed and judged by publint and attw, the tarballs are
 * installed by npm in an empty project, and there the library and the command are used as the README says. In a second project, which has
 * all packages, TypeScript reads their types as its users do, and a state is kept in SQLite. Needs a build; `.ci/run` makes one first.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WORKSPACE = fileURLToPath(new URL('..', import.meta.url));
const PNPM = 'pnpm@10.34.9';

const place = mkdtempSync(join(tmpdir(), 'loopstate-pack-'));
const project = join(place, 'project');
const fullProject = join(place, 'full-project');
const tarballs = join(place, 'tarballs');
for (const folder of [project, fullProject, tarballs]) mkdirSync(folder);
try {
  const packed = packAll();
  packed.forEach(judgeTarball);
  installTarballs(packed);
  tellSize();
  audit(project);
  useAsModule();
  useByRequire();
  useReadmeExample();
  useCommand();
  useMissingBackend();
  installAll(packed);
  audit(fullProject);
  useTypes();
  useSqlite();
  say('every package works where it is installed');
} finally {
  rmSync(place, { recursive: true, force: true });
}

/** Packs every package and returns the tarballs. */
function packAll() {
  for (const name of readdirSync(join(WORKSPACE, 'packages'), { withFileTypes: true })) {
    if (name.isDirectory()) run('npx', ['-y', PNPM, 'pack', '--pack-destination', tarballs], join(WORKSPACE, 'packages', name.name));
  }
  const packed = readdirSync(tarballs).map((name) => join(tarballs, name));
  say(`packed ${packed.length} packages`);
  for (const tarball of packed) {
    const names = run('tar', ['-tzf', tarball], place).split('\n');
    assert(names.includes('package/dist/index.js') && names.includes('package/dist/index.d.ts'), `${tarball} holds its build`);
    assert(
      names.some((name) => name.startsWith('package/LICENSE')),
      `${tarball} holds its license`,
    );
    assert(!run('tar', ['-xzOf', tarball, 'package/package.json'], place).includes('workspace:'), `${tarball} names real versions`);
  }
  return packed;
}

/** The packages are ES modules: what would have to be CommonJS, or have been so in the days of `node10`, is not asked. */
function judgeTarball(tarball) {
  const tool = (name) => join(WORKSPACE, 'node_modules/.bin', name);
  for (const [name, args] of [
    ['publint', ['--strict', tarball]],
    ['attw', ['--profile', 'esm-only', '--no-definitely-typed', '--no-color', tarball]],
  ]) {
    const { status, stdout, stderr } = spawnSync(tool(name), args, { encoding: 'utf8' });
    assert(status === 0, `${name} finds nothing in ${tarball}:\n${stdout}${stderr}`);
  }
}

/** Only what people install is installed; the servers' packages come later, by name. */
function installTarballs(packed) {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
  const needed = packed.filter((tarball) => !/-(redis|sqlite|conformance)-/.test(tarball));
  run('npm', ['install', '--no-audit', '--no-fund', ...needed], project);
  say(`installed ${needed.length} of them in an empty project`);
}

function tellSize() {
  const [sizeKib] = run('du', ['-sk', 'node_modules'], project).split('\t');
  say(`loopstate alone takes ${sizeKib} KiB in node_modules`);
}

/** A registry that has no answer (a mirror, an outage) proves nothing, and is no fault of the packages. */
function audit(cwd) {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { cwd, encoding: 'utf8' });
  const { metadata, vulnerabilities, message } = stdout.startsWith('{') ? JSON.parse(stdout) : {};
  if (metadata === undefined) return say(`npm audit got no answer, so advisories are not known: ${message}`);
  assert(metadata.vulnerabilities.total === 0, `nothing that is installed has an advisory: ${JSON.stringify(vulnerabilities)}`);
  say('npm audit knows no advisories');
}

function useAsModule() {
  const script = `import { LoopState, runLoop } from 'loopstate';
    const state = await LoopState.open('file:./module.json');
    const { status } = await runLoop({ state, items: ['a', 'b'], work: () => 1 });
    await state.close();
    console.log(status);`;
  writeFileSync(join(project, 'module.mjs'), script);
  assert(run(process.execPath, ['module.mjs'], project) === 'completed\n', 'import works');
}

/** The oldest Node that is supported is also the first of its line in which `require` of an ES module works. */
function useByRequire() {
  writeFileSync(join(project, 'script.cjs'), `console.log(typeof require('loopstate').LoopState.create)`);
  const { engines } = JSON.parse(readFileSync(join(project, 'node_modules/loopstate/package.json'), 'utf8'));
  const oldest = `node@${engines.node.replace('>=', '')}.0`;
  const said = run('npx', ['-y', '-p', oldest, 'node', '--no-warnings', 'script.cjs'], project);
  assert(said === 'function\n', `require works on ${oldest}`);
}

/** The first `ts` block of the README is plain JavaScript too. */
function useReadmeExample() {
  const [, example] = /^```ts\n(.*?)^```/ms.exec(readFileSync(join(WORKSPACE, 'README.md'), 'utf8')) ?? [];
  assert(example !== undefined, 'the README has an example');
  writeFileSync(join(project, 'example.mjs'), example);
  assert(run(process.execPath, ['example.mjs'], project).startsWith('completed '), "the README's example works");
  assert(run(process.execPath, ['example.mjs'], project).includes('completed: 3'), 'it works again, with nothing left to do');
}

function useCommand() {
  assert(loopstate(['--help']).stdout.includes('Exit codes:'), 'npx loopstate --help works');
  const command = ['run', '--state', './run.json', '--', process.execPath, '-e', 'console.log(process.argv[1])', '--', '{}'];
  const first = loopstate(['run', '--max-items', '2', ...command.slice(1)], 'a\nb\nc\n');
  assert(first.status === 3 && first.stdout === 'a\nb\n', 'a run stops after two items');
  const second = loopstate(command, 'a\nb\nc\n');
  assert(second.status === 0 && second.stdout === 'c\n', 'the next goes on with the third');
}

function useMissingBackend() {
  const { status, stderr } = loopstate(['status', '--state', 'redis://user:secret@localhost/0']);
  assert(status === 6 && stderr.includes('npm install @loopstate/redis'), 'a missing backend is named');
  assert(!stderr.includes('secret'), 'and no password is');
}

/** No scripts are run: what would be compiled for minutes has been compiled in the workspace. */
function installAll(packed) {
  writeFileSync(join(fullProject, 'package.json'), JSON.stringify({ name: 'full', private: true, type: 'module' }));
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...packed, '@types/node@20'], fullProject);
}

/** Reads the declarations of all packages, and of what they are built on: nothing is skipped. */
function useTypes() {
  const consumer = `import { type BackendFixture, testConformance } from '@loopstate/conformance';
    import type { StateBackend } from '@loopstate/core';
    import { openFileBackend } from '@loopstate/file';
    import { openRedisBackend } from '@loopstate/redis';
    import { openSqliteBackend } from '@loopstate/sqlite';
    import { type LoopResult, LoopState, runLoop } from 'loopstate';
    export const openers: ((place: string) => Promise<StateBackend>)[] = [openFileBackend, openRedisBackend, openSqliteBackend];
    export const suite: (fixture: BackendFixture) => void = testConformance;
    const state = await LoopState.open('memory:');
    const result: LoopResult = await runLoop({ state, items: ['a'], work: (item: string) => item.length });
    // @ts-expect-error It does look.
    result.nothing;`;
  writeFileSync(join(fullProject, 'consumer.ts'), consumer);
  const tsc = join(WORKSPACE, 'node_modules/typescript/bin/tsc');
  for (const [module, resolution] of [
    ['node16', 'node16'],
    ['esnext', 'bundler'],
  ]) {
    const kind = ['--module', module, '--moduleResolution', resolution, '--target', 'es2022', '--types', 'node'];
    const { status, stdout } = spawnSync(process.execPath, [tsc, '--noEmit', '--strict', ...kind, 'consumer.ts'], {
      cwd: fullProject,
      encoding: 'utf8',
    });
    assert(status === 0, `TypeScript resolves every package as ${resolution}:\n${stdout}`);
  }
}

/** The adapter is carried along; the driver of SQLite is the one that the package asks for. */
function useSqlite() {
  assert(!existsSync(join(fullProject, 'node_modules/@keyv/sqlite')), 'what asks for an older driver is not installed');
  const addOn = 'node_modules/sqlite3/build/Release/node_sqlite3.node';
  cpSync(join(WORKSPACE, 'packages/sqlite', addOn), join(fullProject, addOn));
  const command = ['run', '--state', 'sqlite:./run.db', '--', process.execPath, '-e', 'console.log(process.argv[1])', '--', '{}'];
  const first = loopstate(['run', '--max-items', '2', ...command.slice(1)], 'a\nb\nc\n', fullProject);
  assert(first.status === 3 && first.stdout === 'a\nb\n', `a run on SQLite stops after two items: ${first.stderr}`);
  const second = loopstate(command, 'a\nb\nc\n', fullProject);
  assert(second.status === 0 && second.stdout === 'c\n', `the next goes on with the third: ${second.stderr}`);
}

function loopstate(args, input = '', cwd = project) {
  return spawnSync('npx', ['--no-install', 'loopstate', ...args], { cwd, input, encoding: 'utf8' });
}

function run(command, args, cwd) {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

function assert(isTrue, claim) {
  if (!isTrue) throw new Error(`Not so: ${claim}.`);
}

function say(line) {
  console.log(line);
}
