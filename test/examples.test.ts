/**
 * What the README, the documents and the examples show works as it stands there: each example is run on files of its own, the README's
 * code is type checked and run, and its table of exit codes is the command's; the documents' code is type checked.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { PROOFS_VARIABLE } from '@loopstate/conformance';
import { LAWS } from '@loopstate/core';
import { expect } from 'chai';
import { type LoopSnapshot, LoopState } from 'loopstate';
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

  it('are all in their README', () => {
    const folder = join(WORKSPACE, 'examples');
    const listed = readFileSync(join(folder, 'README.md'), 'utf8');
    for (const name of readdirSync(folder)) if (name !== 'README.md') expect(listed).to.include(`\`${name}\``);
  });

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

  it('shared-redis ends at once when its workers can not reach the server', async function () {
    this.timeout(60_000);
    const { root } = await compiledPackages();
    const url = 'redis://127.0.0.1:1/0?job=shared&connectTimeoutMs=300';
    const shown = spawnSync(process.execPath, [join(root, 'examples/shared-redis.js'), url, makeTree(join(place, 'tree'))], {
      encoding: 'utf8',
      timeout: 50_000,
    });
    expect(shown.status, shown.stderr).to.equal(1);
    expect(shown.stderr).to.include('LOOPSTATE_UNAVAILABLE');
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

  it('agent-loop ends when its budget is spent, and goes on in its next run; refused prompts come back', async function () {
    this.timeout(60_000);
    const { root } = await compiledPackages();
    const statePath = join(place, 'agent.json');
    const ends: (number | null)[] = [];
    let refused = 0;
    while (ends.at(-1) !== 0 && ends.length < 9) {
      const shown = spawnSync(process.execPath, [join(root, 'examples/agent-loop.js'), statePath], { encoding: 'utf8' });
      expect(shown.status, shown.stderr).to.be.oneOf([0, 3]);
      ends.push(shown.status);
      refused += shown.stdout.split(': rate limited, retry after 100 ms').length - 1;
    }
    // A run spends 0.08 $, and what the other worker's prompt costs; all of them pay for 20 answers and the refused calls.
    expect(ends).to.deep.equal([3, 3, 0]);
    expect(refused).to.be.at.least(3);
    const { progress } = await snapshotOf(statePath);
    expect(progress).to.include({ completed: 20, failed: 0, costUsd: (200 + refused) / 1_000 });
    expect(readFileSync(`${statePath}.calls`)).to.have.length(20 + refused);
  });

  it('crawl reads what it finds, each page once though it is killed, and asks again where the server was busy', async function () {
    this.timeout(60_000);
    const answered: string[] = [];
    let requests = 0;
    const server = createServer(({ url = '' }, response) => {
      const page = Number(url.slice('/page/'.length));
      const isBusy = ++requests % 9 === 0;
      if (!isBusy) answered.push(url);
      const links = [0, 2 * page + 1, 2 * page + 2].map((next) => `<a href="/page/${next % 60}">${next}</a>`);
      const elsewhere = '<a href="http://127.0.0.1:1/">elsewhere</a><a href="#here">here</a>';
      response.statusCode = isBusy ? 503 : page === 7 ? 404 : 200;
      setTimeout(() => response.end(`${links} ${elsewhere}`), 10);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    try {
      const { root } = await compiledPackages();
      const { port } = server.address() as AddressInfo;
      const script = [join(root, 'examples/crawl.js'), `http://127.0.0.1:${port}/page/0`, join(place, 'crawl.json')];
      const crawl = () => spawn(process.execPath, script, { stdio: ['ignore', 'pipe', 'inherit'] });
      const first = crawl();
      while (answered.length < 25 && first.exitCode === null) await sleep(2);
      first.kill('SIGKILL');
      expect(await once(first, 'exit')).to.deep.equal([null, 'SIGKILL']);
      const second = crawl();
      const [said, [code]] = await Promise.all([text(second.stdout), once(second, 'exit')]);
      expect([code, said]).to.deep.equal([1, 'completed: 59 pages read, 1 failed\n']);
      expect([...new Set(answered)]).to.have.members(Array.from({ length: 60 }, (_, page) => `/page/${page}`));
      expect(answered.length - 60, 'pages that were being read when it was killed').to.be.at.most(4);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it('enrich-csv enriches each row once, runs changed rows again and leaves out those that are gone', async () => {
    const { root } = await compiledPackages();
    const [input = '', output = '', statePath = ''] = ['people.csv', 'enriched.csv', 'state.json'].map((name) => join(place, name));
    const enrich = (rows: readonly string[]) => {
      writeFileSync(input, `id,name,email\n${rows.join('\n')}\n`);
      const shown = spawnSync(process.execPath, [join(root, 'examples/enrich-csv.js'), input, output, statePath], { encoding: 'utf8' });
      expect(shown.stderr).to.equal('');
      return { end: [shown.status, shown.stdout], lines: readFileSync(output, 'utf8').trimEnd().split('\n') };
    };
    const many = Array.from({ length: 200 }, (_, n) => `${n},Some Body,${n}@example.org`);
    const first = enrich(['"a ""1""","Lovelace, Ada",ada@example.org', 'b,Bob,', ...many]);
    expect(first.end).to.deep.equal([1, 'completed: 202 rows enriched now, 1 failed\n']);
    expect(first.lines).to.have.length(1 + 201);
    expect(first.lines[0]).to.equal('id,name,email,domain,initials');
    expect(first.lines).to.include('"a ""1""","Lovelace, Ada",ada@example.org,example.org,LA');
    const { items: before } = await snapshotOf(statePath);

    const second = enrich(['b,Bob,bob@example.com', '0,Some Body Else,0@example.org', ...many.slice(1, -1)]);
    expect(second.end).to.deep.equal([0, 'completed: 2 rows enriched now, 0 failed\n']);
    expect(second.lines).to.have.length(1 + 200);
    expect(second.lines).to.include.members(['b,Bob,bob@example.com,example.com,B', '0,Some Body Else,0@example.org,example.org,SBE']);
    const { items: after } = await snapshotOf(statePath);
    const changed = [...after].filter(([id, { revision }]) => before.get(id)?.revision !== revision).map(([id]) => id);
    expect(changed).to.have.members(['b', '0']);
  });

  it('encode-all, killed with its whole group, goes on where it was; its exit says what is left', async function () {
    this.timeout(60_000);
    const { root } = await compiledPackages();
    const [bin = '', music = '', calls = '', broken = ''] = ['bin', 'music', 'calls', 'broken'].map((name) => join(place, name));
    mkdirSync(bin);
    mkdirSync(join(music, 'a folder'), { recursive: true });
    const names = Array.from({ length: 30 }, (_, n) => join(music, n % 2 ? 'a folder' : '', `"track" ${n} $(ls).wav`));
    for (const name of names) writeFileSync(name, name.repeat(100));
    writeFileSync(broken, '');
    const command = (name: string, line: string) => writeFileSync(join(bin, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
    command('loopstate', `exec '${process.execPath}' '${join(root, 'packages/loopstate/bin/loopstate.js')}' "$@"`);
    // One file can't be encoded as long as `broken` is there.
    const trouble = `case $1 in *'track" 3 '*) [ ! -e '${broken}' ] || exit 9;; esac`;
    command('encode', `echo "$1" >> '${calls}'; sleep 0.05; ${trouble}; gzip -c "$1"`);
    const encodeAll = () => {
      const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, ENCODE: 'encode', NO_COLOR: '1' };
      const child = spawn('sh', [join(WORKSPACE, 'examples/encode-all.sh'), music], { detached: true, env });
      return { child, ended: Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]) };
    };
    const encoded = (name: string) => name.replace(/wav$/, 'flac');
    const left = () => names.filter((name) => !existsSync(encoded(name)));

    const first = encodeAll();
    while (left().length > 22 && first.child.exitCode === null) await sleep(5);
    process.kill(-(first.child.pid ?? 0), 'SIGKILL');
    expect((await first.ended)[0]).to.deep.equal([null, 'SIGKILL']);
    expect(left().length).to.be.within(10, 22);

    const [[code], , complaints] = await encodeAll().ended;
    expect(code, complaints).to.equal(1);
    expect(complaints).to.include('Some could not be encoded');
    expect(left()).to.have.length(1);

    rmSync(broken);
    const [[last], said] = await encodeAll().ended;
    expect([last, said.trimEnd().split('\n').at(-1)]).to.deep.equal([0, `All in ${music} are encoded.`]);
    for (const name of names) expect(gunzipSync(readFileSync(encoded(name))).toString()).to.equal(name.repeat(100));
    // The broken one failed twice, in the run that was killed perhaps too; two were at work at the kill.
    const again = readFileSync(calls, 'utf8').trimEnd().split('\n').length - names.length;
    expect(again).to.be.within(2, 6);

    command('loopstate', '[ "$1" != run ] || exit 129');
    const [[interrupted], , told] = await encodeAll().ended;
    expect(interrupted).to.equal(129);
    expect(told).to.include('Not done yet');
  });
});

describe('README', () => {
  it('shows a library example that type checks and runs, twice', async function () {
    this.timeout(180_000);
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

async function snapshotOf(path: string): Promise<LoopSnapshot> {
  const state = await LoopState.open({ path }, { access: 'read' });
  try {
    return await state.snapshot();
  } finally {
    await state.close();
  }
}

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
