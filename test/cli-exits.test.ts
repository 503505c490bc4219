/**
 * The exit code says how a run ended, so that a script can act on it. One test for each code of the table, from the outside; the codes
 * of signals are in cli-signals.test.ts.
 */
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories, runCli, startCli } from './support/cli.js';

const STATE = ['--state', './state.json'];

/** Root may look into everything, unless it is taken from it. */
const LIKE_OTHERS = process.getuid?.() === 0 ? ['setpriv', '--bounding-set', '-dac_override,-dac_read_search'] : [];

describe('exit codes of loopstate', () => {
  const directory = freshDirectories();
  const cli = (args: readonly string[], input: string | Buffer = '') => runCli(args, { cwd: directory(), input });
  const run = (args: readonly string[], input: string | Buffer = '') => cli(['run', ...STATE, ...args], input);

  it('0: all done, also when there was nothing to do', async () => {
    expect(await run(['--', 'true'], 'a\n')).to.include({ code: 0 });
    expect(await run(['--', 'false'], 'a\n')).to.include({ code: 0 });
    expect(await run(['--', 'false'], '')).to.include({ code: 0 });
    expect(await cli(['--version'])).to.include({ code: 0, stdout: `${version()}\n` });
    expect(await cli(['run', '--help'])).to.include({ code: 0 });
  });

  it('1: some items failed, also when they failed before', async () => {
    expect(await run(['--', 'false'], 'a\n')).to.include({ code: 1 });
    expect(await run(['--', 'true'], 'a\nb\n')).to.include({ code: 1 });
  });

  it('2: wrong usage, and nothing is begun', async function () {
    this.timeout(60_000);
    const wrong: [args: string[], input?: string | Buffer][] = [
      [[]],
      [['walk']],
      [['run', '--', 'true']],
      [['run', ...STATE]],
      [['run', ...STATE, '-j', '0', '--', 'true']],
      [['run', ...STATE, '-j', '1.5', '--', 'true']],
      [['run', ...STATE, '--timeout', '0', '--', 'true']],
      [['run', ...STATE, '--max-items', '0', '--', 'true']],
      [['run', ...STATE, '--bar', '--json', '--', 'true']],
      [['run', ...STATE, '--items', 'a', '--glob', 'b', '--', 'true']],
      [['run', ...STATE, '--items', 'missing', '--', 'true']],
      [['run', ...STATE, '--items', '.', '--', 'true']],
      [['run', ...STATE, '--retries', '\u001b[31m', '--', 'true']],
      [['run', ...STATE, '--', '', '{}'], 'a\n'],
      [['run', ...STATE, '--shell', '--', ' '], 'a\n'],
      [['run', ...STATE, '--shell', '--', 'echo', '{}']],
      [['run', ...STATE, '--shell', '--', "echo '{}'"]],
      [['run', ...STATE, '--shell', '--', 'cat <<E\n{}\nE\n']],
      [['run', '--state', 'gopher:x', '--', 'true'], 'a\n'],
      [['run', '--state', 'file:x?mode=7', '--', 'true'], 'a\n'],
      [['status']],
      [['reset', ...STATE, '--no-such-option']],
    ];
    for (const [args, input] of wrong) {
      const end = await cli(args, input);
      expect(end, args.join(' ')).to.include({ code: 2, stdout: '' });
      expect(end.stderr, args.join(' ')).to.not.match(/^ +at /m); // No stack traces.
      expect(end.stderr, args.join(' ')).to.not.include('\u001b');
    }
    expect(readdirSync(directory())).to.deep.equal([]);
  });

  it('2: a line that can be no item, named by its number; with --items before anything begins', async () => {
    const lines = Buffer.concat([Buffer.from('good\n'), Buffer.from([0xff, 0xfe, 0x0a]), Buffer.from('more\n')]);
    writeFileSync(join(directory(), 'lines'), lines);
    const file = await run(['--items', 'lines', '--', 'echo']);
    expect(file).to.include({ code: 2, stdout: '' });
    expect(file.stderr).to.include('Line 2 of lines');
    const stream = await run(['--', 'echo'], lines);
    expect(stream).to.include({ code: 2, stdout: 'good\n' });
    const long = await run(['--', 'echo'], `${'x'.repeat(1_024)}\n${'y'.repeat(1_025)}\n`);
    expect(long).to.include({ code: 2, stdout: `${'x'.repeat(1_024)}\n` });
    expect((await run(['--', 'echo'], `${'z'.repeat(100_000)}`)).code).to.equal(2);
  });

  it('2: a directory where standard input should be, which Node takes for an empty one', async () => {
    await run(['--', 'true'], 'a\n');
    for (const args of [
      ['run', ...STATE, '--', 'true'],
      ['retry', ...STATE, '-'],
      ['forget', ...STATE, '--null', '-'],
    ]) {
      const end = await runCli(args, { cwd: directory(), under: ['sh', '-c', '"$@" < .', 'sh'] });
      expect(end.code, args.join(' ')).to.equal(2);
      expect(end.stderr, args.join(' ')).to.equal('loopstate: Standard input is a directory: nothing can be read from it.\n');
    }
  });

  it('2: a file that --glob finds and whose name is no text', async () => {
    for (const name of ['a\ufffd', 'b']) writeFileSync(join(directory(), name), '');
    expect(await run(['--glob', '*', '--', 'echo'])).to.include({ code: 0, stdout: 'a\ufffd\nb\n' });
    for (const name of ['c', 'a']) {
      const path = Buffer.concat([Buffer.from(join(directory(), name)), Buffer.of(0xff)]);
      writeFileSync(path, '');
      expect(await run(['--state', './other.json', '--glob', '?*', '--', 'echo'])).to.include({ code: 2, stdout: '' });
      rmSync(path);
    }
  });

  it('2: items that are there and can not be opened, and nothing is begun', async () => {
    const server = createServer().listen(join(directory(), 'socket'));
    await once(server, 'listening');
    try {
      const end = await run(['--items', 'socket', '--', 'echo']);
      expect(end).to.include({ code: 2, stdout: '' });
      expect(end.stderr).to.not.match(/^ +at /m);
    } finally {
      server.close();
    }
  });

  it('2: an export in place of the state itself, be it a file or a database, and nothing is written', async () => {
    for (const [state, file] of [
      ['state.json', './state.json'],
      ['sqlite:./a%20state.db?job=a', 'a state.db'],
      ['sqlite:a%20state.db?job=a', join(directory(), 'a state.db')],
    ] as const) {
      expect((await cli(['run', '--state', state, '--', 'true'], 'a\n')).code, state).to.equal(0);
      const before = readFileSync(join(directory(), file.split('/').at(-1) as string));
      const { code, stderr } = await cli(['export', '--state', state, '--output', file]);
      expect([code, stderr], state).to.deep.equal([2, `loopstate: ${file} is the state itself: name another file. Nothing was written.\n`]);
      expect(readFileSync(join(directory(), file.split('/').at(-1) as string)).equals(before), state).to.equal(true);
    }
  });

  it('2: an export in place of any other file of a state, be it there now or not', async () => {
    for (const [url, name, absent] of [
      ['./state.json', 'state.json', ['state.json.previous']],
      ['sqlite:./state.db?job=a', 'state.db', ['state.db-journal', 'state.db.restored']],
    ] as const) {
      const state = await LoopState.open(url.replace('./', `${directory()}/`));
      try {
        expect(await state.begin('a')).to.equal(true);
        const files = readdirSync(directory()).filter((file) => file.startsWith(name));
        expect(files, url).to.include.members([name, `${name}.lock`]);
        for (const file of [...files, ...absent]) {
          const { code, stderr } = await cli(['export', '--state', url, '--output', file]);
          const what = file === name ? 'the state itself' : 'a file of the state';
          expect([code, stderr]).to.deep.equal([2, `loopstate: ${file} is ${what}: name another file. Nothing was written.\n`]);
        }
        expect(readdirSync(directory()), url)
          .to.include.members(files)
          .and.not.include.members([...absent]);
        expect(await cli(['export', '--state', url, '--output', `${name}.jsonl`])).to.include({ code: 0 });
      } finally {
        await state.close();
      }
    }
  });

  it('2: an export that names no file', async () => {
    await run(['--', 'true'], 'a\n');
    for (const output of ['', 'none/']) {
      const end = await cli(['export', ...STATE, '--output', output]);
      expect(end).to.include({ code: 2, stderr: `loopstate: ${JSON.stringify(output)} names no file. Nothing was written.\n` });
    }
  });

  it('0: an export into a directory that only takes files', async () => {
    await run(['--', 'true'], 'a\n');
    mkdirSync(join(directory(), 'drop'), { mode: 0o300 });
    const end = await runCli(['export', ...STATE, '-o', 'drop/x'], { cwd: directory(), under: LIKE_OTHERS });
    expect(end, end.stderr).to.include({ code: 0, stdout: './state.json: exported to drop/x\n' });
    chmodSync(join(directory(), 'drop'), 0o700);
    expect(readFileSync(join(directory(), 'drop/x'), 'utf8')).to.include('"id":"a"');
  });

  it('2: files that can not be looked for, since the working directory is gone', async () => {
    const under = ['sh', '-c', 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', 'sh'];
    const end = await runCli(['run', '--state', join(directory(), 'state.json'), '--glob', '*', '--', 'echo'], { cwd: directory(), under });
    expect(end.code).to.equal(2);
    expect(end.stderr)
      .to.include('loopstate: The files can not be looked for: ENOENT')
      .and.not.match(/^ +at /m);
  });

  it('0: the files of the state are no items of --glob, though they match', async () => {
    writeFileSync(join(directory(), 'file'), '');
    for (const [state, name] of [
      ['./state.json', 'state.json'],
      ['sqlite:./state.db?job=a', 'state.db'],
    ] as const) {
      const open = await LoopState.open(state.replace('./', `${directory()}/`));
      try {
        expect(await open.begin('first')).to.equal(true);
        writeFileSync(join(directory(), `${name}.mine`), '');
        const matching = readdirSync(directory()).filter((file) => file.startsWith(name));
        expect(matching, state).to.have.length.greaterThan(3);
        const end = await cli(['run', '--state', state, '--glob', `{file,${name}*}`, '--dry-run', '--', 'echo']);
        expect(end, end.stderr).to.include({ code: 0, stdout: `echo file\necho ${name}.mine\n` });
      } finally {
        await open.close();
      }
    }
  });

  it('0: what --glob can not look into is left out, and told', async () => {
    for (const name of ['open', 'closed']) {
      mkdirSync(join(directory(), 'tree', name), { recursive: true });
      writeFileSync(join(directory(), 'tree', name, 'file'), '');
    }
    chmodSync(join(directory(), 'tree/closed'), 0);
    const args = ['run', ...STATE, '--glob', 'tree/**', '--glob', 'none/**', '--quiet', '--', 'echo'];
    const end = await runCli(args, { cwd: directory(), under: LIKE_OTHERS });
    chmodSync(join(directory(), 'tree/closed'), 0o700);
    expect(end).to.include({ code: 0, stdout: 'tree/open/file\n' });
    expect(end.stderr).to.match(/^loopstate: What a directory holds is left out: EACCES: [^\n]*tree\/closed[^\n]*\n$/);
  });

  it('2: a command that can not be run stops the run at once, and no item is recorded', async () => {
    writeFileSync(join(directory(), 'not-executable'), 'x');
    for (const command of ['./no-such-command', './not-executable', '/', 'gzip -k {}']) {
      expect(await run(['-j', '2', '--', command], 'a\nb\nc\n'), command).to.include({ code: 2, stdout: '' });
      const state = await LoopState.open({ path: join(directory(), 'state.json') }, { access: 'read' });
      expect(state.progress).to.include({ completed: 0, failed: 0, inProgress: 0 });
      await state.close();
    }
    expect(await run(['--', 'echo'], 'a\nb\nc\n')).to.include({ code: 0, stdout: 'a\nb\nc\n' });
  });

  it('1: a command that can not be run for one item is the failure of that item', async () => {
    const script = join(directory(), 'b.sh');
    writeFileSync(script, '#!/bin/sh\necho ran\n', { mode: 0o755 });
    expect(await run(['--', './{}.sh'], 'a\nb\nb.sh/c\n')).to.include({ code: 1, stdout: 'ran\n' });
    const state = await LoopState.open({ path: join(directory(), 'state.json') }, { access: 'read' });
    expect(state.progress).to.include({ completed: 1, failed: 2 });
    await state.close();
  });

  it('1: an item that is longer than a command can be given is the failure of that item', async () => {
    const rows = ['ok1', 'big', 'ok2'].map((id) => JSON.stringify({ id, body: 'x'.repeat(id === 'big' ? 200_000 : 1) }));
    expect(await run(['--jsonl', '--', 'echo', '{id}'], `${rows.join('\n')}\n`)).to.include({ code: 1, stdout: 'ok1\nok2\n' });
  });

  it('130: the output can not be written, whichever command it is of', async () => {
    await run(['--', 'true'], 'a\n');
    await cli(['run', '--state', 'failed.json', '--', 'false'], 'a\n');
    for (const args of [
      ['status', '--state', 'failed.json', '--check'],
      ['status', ...STATE],
      ['status', ...STATE, '--json'],
      ['show', ...STATE, 'a'],
      ['doctor', ...STATE],
      ['list', ...STATE],
      ['export', ...STATE],
      ['run', ...STATE, '--dry-run', '--', 'echo'],
      ['run', ...STATE, '--quiet', '--results', 'kept', '--', 'echo'],
    ]) {
      const end = await runCli(args, { cwd: directory(), input: 'b\n', under: ['sh', '-c', '"$@" > /dev/full', 'sh'] });
      expect(end.code, args.join(' ')).to.equal(130);
      expect(end.stderr.split('\n'), args.join(' ')).to.have.length(2);
    }
    expect((await cli(['export', ...STATE, '-o', '/dev/full'])).code).to.equal(130);
    // What never ends is shown as long as somebody reads it.
    const endless = ['sh', '-c', 'seq 1000000000 | "$@" | head -n 1', 'sh'];
    expect(await runCli(['run', ...STATE, '--dry-run', '--', 'echo'], { cwd: directory(), under: endless })).to.include({
      stdout: 'echo 1\n',
    });
  });

  it('3: stopped on purpose, and the next run goes on', async () => {
    expect(await run(['--max-items', '2', '--', 'echo'], 'a\nb\nc\n')).to.include({ code: 3, stdout: 'a\nb\n' });
    expect(await run(['--', 'echo'], 'a\nb\nc\n')).to.include({ code: 0, stdout: 'c\n' });
  });

  it('4: too many glitches in a row', async () => {
    const input = Array.from({ length: 12 }, (_, index) => `${index}\n`).join('');
    expect((await run(['--', 'sh', '-c', 'exit 75'], input)).code).to.equal(4);
    expect((await run(['-j', '4', '--', 'true'], input)).code).to.equal(0);
  });

  it('5: the state is in use by another process, for run and for reset', async () => {
    const first = await startCli(['run', ...STATE, '--', 'sh', '-c', 'echo begun; sleep 30'], { cwd: directory(), input: 'a\n' });
    await first.shows('begun');
    const second = await run(['--', 'true'], 'a\n');
    expect(second.code).to.equal(5);
    expect(second.stderr).to.include(`${first.child.pid}`); // It says who.
    expect((await cli(['reset', ...STATE, '--yes'])).code).to.equal(5);
    expect((await cli(['status', ...STATE])).code).to.equal(0);
    first.child.kill('SIGINT');
    await first.shows('once more');
    first.child.kill('SIGINT');
    await first.end;
  });

  it('6: an import for which there is no room on the way, and it is not the input that is blamed', async () => {
    const end = await runCli(['import', ...STATE, '-'], { cwd: directory(), env: { TMPDIR: join(directory(), 'gone') } });
    expect(end.code).to.equal(6);
    expect(end.stderr).to.match(/^loopstate: The input can not be kept in \S+gone meanwhile: ENOENT.* Nothing was imported\.\n$/);
    expect(readdirSync(directory())).to.deep.equal([]);
  });

  it('6: the state is foreign, not there, or can not be there, and nothing is touched', async () => {
    writeFileSync(join(directory(), 'foreign.json'), 'Dear diary,\n');
    expect(await cli(['run', '--state', 'foreign.json', '--', 'true'], 'a\n')).to.include({ code: 6 });
    expect(await cli(['status', '--state', 'foreign.json'])).to.include({ code: 6 });
    expect(await cli(['run', '--state', 'foreign.json/state.json', '--', 'true'], 'a\n')).to.include({ code: 6 });
    expect(await cli(['status', '--state', 'missing.json'])).to.include({ code: 6, stdout: '' });
    expect(await cli(['reset', '--state', 'missing.json', '--yes'])).to.include({ code: 6, stdout: '' });
    expect(readdirSync(directory())).to.deep.equal(['foreign.json']);
    expect(readFileSync(join(directory(), 'foreign.json'), 'utf8')).to.equal('Dear diary,\n');
  });
});

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../packages/loopstate/package.json', import.meta.url), 'utf8'));
  return (manifest as { version: string }).version;
}
