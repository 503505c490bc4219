/**
 * What the README, the documents and the examples show works as it stands there: each example is run on files of its own, the README's
 * code is type checked and run, and its table of exit codes is the command's; the documents' code is type checked.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { PROOFS_VARIABLE } from '@loopstate/conformance';
import { LAWS } from '@loopstate/core';
import { expect } from 'chai';
import ts from 'typescript';
import { EXIT_CODES } from '../packages/loopstate/src/cli/exit-codes.js';
import { compiledPackages, WORKSPACE } from './support/compiled.js';
import { startRedis } from './support/redis-server.js';

const README = readFileSync(join(WORKSPACE, 'README.md'), 'utf8');

describe('examples', () => {
  let place = '';
  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'loopstate-examples-'));
  });
  afterEach(() => rmSync(place, { recursive: true, force: true }));

  it('kill-and-resume kills checksum-tree part-way, and finds every file exactly once', async function () {
    this.timeout(60_000);
    const tree = makeTree(join(place, 'tree'));
    const { root } = await compiledPackages();
    const show = spawnSync(process.execPath, [join(root, 'examples/kill-and-resume.js'), tree], {
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: place },
    });
    expect(show.status, show.stdout + show.stderr).to.equal(0);
    expect(show.stdout).to.include('1,004 files').and.to.include('killed: SIGKILL').and.to.not.include('NOT');
    expect(show.stdout.match(/^ {3}ok /gm)).to.have.length(4);
    expect(show.stdout.split('\n').length).to.be.at.most(25);
  });

  it('switch-backend runs the same loop on a file and on SQLite', async () => {
    const { root } = await compiledPackages();
    const script = join(root, 'examples/switch-backend.js');
    const shown = spawnSync(process.execPath, [script], { encoding: 'utf8', env: { ...process.env, TMPDIR: place } });
    expect(shown.status, shown.stdout + shown.stderr).to.equal(0);
    const same = 'first run: 120 items, then 80 more; 200 of 200 recorded, sum 2646700';
    expect(shown.stdout).to.equal(`file    ${same}\nsqlite  ${same}\n`);
  });

  it('shared-redis records each of 500 files once, though one of four workers is killed and one loses its lease', async function () {
    this.timeout(180_000);
    const server = await startRedis();
    try {
      const { root } = await compiledPackages();
      const url = `redis://127.0.0.1:${server.port}/0?job=shared`;
      const tree = makeTree(join(place, 'tree'));
      const show = spawn(process.execPath, [join(root, 'examples/shared-redis.js'), url, tree], { stdio: ['ignore', 'pipe', 'inherit'] });
      const shown = await text(show.stdout);
      expect(show.exitCode ?? (await once(show, 'exit'))[0], shown).to.equal(0);
      expect(shown.match(/^ok /gm)).to.have.length(3);
      for (const event of ['worker 1: gets SIGKILL', 'worker 2: wakes up', 'worker 2: was refused']) expect(shown).to.include(event);
    } finally {
      await server.remove();
    }
  });

  it('loop-the-loop-state completes six prompts in two runs, each once', async () => {
    const { root } = await compiledPackages();
    const script = join(root, 'examples/loop-the-loop-state.js');
    const shown = spawnSync(process.execPath, [script, join(place, 'state.json')], { encoding: 'utf8' });
    expect(shown.status, shown.stderr).to.equal(0);
    const { results, ...others } = JSON.parse(shown.stdout) as { results: object };
    expect(Object.keys(results)).to.have.members(['one', 'two', 'three', 'four', 'five', 'six']);
    expect(others).to.deep.equal({ version: 2, claims: {}, totalUsd: 1.5 });
  });

  it('custom-backend passes the whole suite', async function () {
    this.timeout(180_000);
    const { root } = await compiledPackages();
    const mocha = [join(root, 'node_modules/mocha/bin/mocha.js'), '--no-package', '--exit', '--timeout', '20000', '--reporter', 'json'];
    const shown = spawn(process.execPath, [...mocha, join(root, 'examples/custom-backend.test.js')], {
      env: { ...process.env, LOOPSTATE_KILLS: '3', TMPDIR: place, [PROOFS_VARIABLE]: '' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said = await text(shown.stdout);
    // Before it the seeds are printed.
    const { stats, failures } = JSON.parse(said.slice(said.indexOf('\n{') + 1)) as { stats: { passes: number }; failures: unknown[] };
    expect(failures).to.deep.equal([]);
    expect(stats.passes).to.be.greaterThan(100);
  });

  it('checksum-tree computes what others do', async () => {
    const tree = join(place, 'tree');
    mkdirSync(tree);
    writeFileSync(join(tree, 'a'), 'a');
    const { root } = await compiledPackages();
    const script = [join(root, 'examples/checksum-tree.js'), tree, join(place, 'state.json'), join(place, 'manifest.jsonl')];
    expect(spawnSync(process.execPath, script).status).to.equal(0);
    expect(JSON.parse(readFileSync(join(place, 'manifest.jsonl'), 'utf8'))).to.deep.equal({
      id: 'a',
      sha256: 'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb',
      sizeBytes: 1,
    });
  });
});

describe('README', () => {
  it('shows a library example that type checks and runs, twice', async function () {
    this.timeout(60_000);
    const example = /^```ts\n(.*?)^```/ms.exec(README)?.[1] ?? '';
    expect(typeErrors([example])).to.deep.equal([]);
    expect(typeErrors([example.replace('retries:', 'retrys:')])).to.have.length(1); // It does look.
    const { root } = await compiledPackages();
    const place = mkdtempSync(join(root, 'readme-'));
    writeFileSync(join(place, 'example.mjs'), ts.transpile(example, { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext }));
    for (let turn = 0; turn < 2; turn++) {
      const run = spawnSync(process.execPath, ['example.mjs'], { cwd: place, encoding: 'utf8' });
      expect(run.stdout, run.stderr)
        .to.match(/^completed /)
        .and.to.include('completed: 3');
      expect(run.stdout).to.include('costUsd: 0.03');
    }
  });

  it('has the exit codes of the command', () => {
    const rows = [...README.matchAll(/^\| (\d+) +\| (.*?) +\|$/gm)].map(([, code, meaning]) => [code, meaning]);
    expect(rows).to.deep.equal(Object.entries(EXIT_CODES));
  });

  it('names only commands and files that exist', () => {
    const manifest = JSON.parse(readFileSync(join(WORKSPACE, 'package.json'), 'utf8')) as { scripts: object; packageManager: string };
    const commands = [...README.matchAll(/npx -y (pnpm@[\d.]+) (\w+)/g)];
    expect(commands.map(([, , script]) => script)).to.include.members(['demo', 'test']);
    for (const [, pnpm, script] of commands) {
      expect(pnpm).to.equal(manifest.packageManager);
      expect(manifest.scripts).to.have.property(script ?? '');
    }
    for (const [, path] of README.matchAll(/`((?:packages|test)\/[^`*]+\.ts)`/g))
      expect(readFileSync(join(WORKSPACE, path ?? ''), 'utf8')).to.not.equal('');
  });
});

describe('The documents', () => {
  const documents = [...readdirSync(join(WORKSPACE, 'docs')).map((name) => `docs/${name}`), 'packages/conformance/README.md'].filter(
    (path) => path.endsWith('.md'),
  );
  const textOf = (path: string) => readFileSync(join(WORKSPACE, path), 'utf8');

  it('show code that type checks', function () {
    this.timeout(60_000);
    const blocks = documents.flatMap((path) => [...textOf(path).matchAll(/^```ts\n(.*?)^```/gms)].map(([, block]) => block ?? ''));
    expect(blocks.length).to.be.greaterThan(4);
    expect(typeErrors(blocks)).to.deep.equal([]);
    expect(typeErrors([...blocks, 'nothing;\n'])).to.have.length(1); // It does look.
  });

  it('link to files that exist', () => {
    for (const path of documents) {
      for (const [, target = ''] of textOf(path).matchAll(/\]\(([^)#]+)\)/g))
        if (!target.includes('://')) expect(existsSync(join(WORKSPACE, dirname(path), target)), `${path}: ${target}`).to.equal(true);
    }
  });

  it('name every law', () => {
    const named = [...textOf('docs/writing-a-backend.md').matchAll(/^\| `([a-z]+\/[a-z-]+)` /gm)].map(([, law]) => law);
    expect(named).to.have.members(Object.keys(LAWS));
  });
});

/** A thousand small files, and what makes trees difficult. */
function makeTree(tree: string): string {
  for (let folder = 0; folder < 20; folder++) {
    mkdirSync(join(tree, `folder ${folder}`), { recursive: true });
    for (let file = 0; file < 50; file++) writeFileSync(join(tree, `folder ${folder}`, `${file}.txt`), `${folder}/${file}`.repeat(100));
  }
  writeFileSync(join(tree, 'empty'), '');
  writeFileSync(join(tree, 'line\nbreak'), 'x');
  writeFileSync(join(tree, '日本語 $(ls) "\''), 'x');
  const deep = join(tree, ...Array.from({ length: 6 }, () => 'd'.repeat(200)));
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, 'path of more than 1,024 bytes'), 'x');
  symlinkSync(tree, join(tree, 'loop'));
  symlinkSync('/nowhere', join(tree, 'dangling'));
  return tree;
}

/** The errors of modules that stand among the examples, by the workspace's own settings. */
function typeErrors(sources: readonly string[]): string[] {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(WORKSPACE, 'tsconfig.json'),
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
  );
  const files = new Map(sources.map((source, index) => [join(WORKSPACE, 'examples', `shown-${index}.ts`), source]));
  const options = { ...config?.options, types: ['node'] };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.getSourceFile = (name, ...others) => {
    const source = files.get(name);
    if (source === undefined) return getSourceFile(name, ...others);
    return ts.createSourceFile(name, source, { languageVersion: ts.ScriptTarget.ES2023, impliedNodeFormat: ts.ModuleKind.ESNext });
  };
  host.fileExists = (name) => files.has(name) || fileExists(name);
  const program = ts.createProgram([...files.keys()], options, host);
  return [...files.keys()].flatMap((name) => {
    const found = program.getSourceFile(name);
    return [...program.getSyntacticDiagnostics(found), ...program.getSemanticDiagnostics(found)].map(({ messageText }) =>
      ts.flattenDiagnosticMessageText(messageText, '\n'),
    );
  });
}
