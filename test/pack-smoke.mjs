/**
 * What would be published works where it is installed: every package is packed, the tarballs are installed by npm in an empty project,
 * and there the library and the command are used as the README says. Needs a build; `.ci/run` makes one first.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WORKSPACE = fileURLToPath(new URL('..', import.meta.url));
const PNPM = 'pnpm@10.34.9';

const place = mkdtempSync(join(tmpdir(), 'loopstate-pack-'));
const project = join(place, 'project');
const tarballs = join(place, 'tarballs');
mkdirSync(project);
mkdirSync(tarballs);
try {
  installTarballs(packAll());
  useAsModule();
  useByRequire();
  useReadmeExample();
  useCommand();
  useMissingBackend();
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

/** Only what people install is installed; the servers' packages come later, by name. */
function installTarballs(packed) {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
  const needed = packed.filter((tarball) => !/-(redis|sqlite|conformance)-/.test(tarball));
  run('npm', ['install', '--no-audit', '--no-fund', ...needed], project);
  say(`installed ${needed.length} of them in an empty project`);
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

function useByRequire() {
  writeFileSync(join(project, 'script.cjs'), `console.log(typeof require('loopstate').LoopState.create)`);
  assert(run(process.execPath, ['--no-warnings', 'script.cjs'], project) === 'function\n', 'require works');
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

function loopstate(args, input = '') {
  return spawnSync('npx', ['--no-install', 'loopstate', ...args], { cwd: project, input, encoding: 'utf8' });
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
