/**
 * What `loopstate run` can be told: rows, bounds, costs, results, changes. Each test starts the real command in a directory of its own and
 * looks at its output, its exit code and the state it left.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { expect } from 'chai';
import { type ItemRecord, LoopState } from 'loopstate';
import { freshDirectories, runCli, startCli } from './support/cli.js';

const STATE = ['--state', './state.json'];

describe('loopstate run, its options', () => {
  const directory = freshDirectories();
  const run = (args: readonly string[], input: string | Buffer = '') => runCli(['run', ...STATE, ...args], { cwd: directory(), input });
  const open = () => LoopState.open({ path: join(directory(), 'state.json') }, { access: 'read' });
  const item = async (id: string): Promise<ItemRecord | undefined> => {
    const state = await open();
    const found = await state.read(id);
    await state.close();
    return found;
  };

  describe('rows', () => {
    const show = ['--', 'printf', '%s|', '{id}', '{name}', '{n}', '{}'];

    it('takes JSON Lines, with their fields as text', async () => {
      const rows = '{"id":"a","name":"Ä \\"x\\""}\n\n{"id":7,"name":{"first":[1]}}\n{"id":"c","name":null}\n';
      const end = await run(['--jsonl', ...show], rows);
      expect(end.stdout).to.equal(
        'a|Ä "x"|1|{"id":"a","name":"Ä \\"x\\""}|\n7|{"first":[1]}|2|{"id":7,"name":{"first":[1]}}|\nc||3|{"id":"c","name":null}|\n',
      );
      expect(end.code).to.equal(0);
      expect((await item('7'))?.status).to.equal('completed');
    });

    it('takes CSV whose records end in different ways', async () => {
      for (const rows of ['id\r\n1\n2\n3\n', 'id\n1\r\n2\r\n3\r\n', 'id\r1\n2\r\n3']) {
        const end = await run(['--csv', '--state', `./${rows.length}.json`, '--', 'printf', '<%s>'], rows);
        expect(end, rows).to.include({ code: 0, stdout: '<1>\n<2>\n<3>\n' });
      }
    });

    it('takes CSV, quoted line breaks included, and the id that is named', async () => {
      writeFileSync(join(directory(), 'rows.csv'), '\ufeffmail,name\r\na@x,"Line\none, ""two"""\r\nb@x,B\r\n');
      const end = await run(['--items', 'rows.csv', '--csv', '--id-field', 'mail', ...show]);
      expect(end.stdout).to.equal('a@x|Line\none, "two"|1|a@x|\nb@x|B|2|b@x|\n');
      expect(end.stderr).to.include('2 items in the input');
    });

    it('hands fields to a shell, and never has it read them', async () => {
      const end = await run(['--jsonl', '--shell', '--', 'echo {name} "{n}"'], '{"id":"a","name":"$(echo hacked) `id` \'\\""}\n');
      expect(end.stdout).to.equal('$(echo hacked) `id` \'" 1\n');
    });

    it('refuses rows that are none, before anything runs or after recording what did', async () => {
      for (const [input, args] of [
        ['{"id":"a"}\nnot json\n', ['--jsonl']],
        ['[1]\n', ['--jsonl']],
        ['{"no":"id"}\n', ['--jsonl']],
        ['{"id":{}}\n', ['--jsonl']],
        ['id,id2\n"unclosed\n', ['--csv']],
        ['mail\na\n', ['--csv']],
        ['id\na\n', ['--csv', '--id-field', 'mail']],
        ['id,name\n,x\n', ['--csv']],
        ['id,name,id\n1,x,same\n2,x,same\n', ['--csv']],
        ['a\n', ['--id-field', 'x']],
        ['a\n', ['--jsonl', '--csv']],
      ] as const) {
        const end = await run([...args, '--quiet', '--', 'true', '{id}'], input);
        expect(end.code, input).to.equal(2);
        expect(end.stderr.split('\n'), input).to.have.length(2);
      }
      expect((await run(['--csv', '--', 'echo', '{typo}'], 'id\na\n')).code).to.equal(2);
    });

    it('runs nothing where reading would make one id of two', async () => {
      for (const [rows, args, reason] of [
        ['{"id":1234567890123456788,"to":"a"}\n{"id":1234567890123456789,"to":"b"}\n', ['--jsonl', '--', 'echo', '{to}'], 'Line 1'],
        ['{"id":"a","n":9007199254740993}\n', ['--jsonl', '--', 'echo', '{n}'], 'Line 1'],
        ['{"id":"a","to":9007199254740993}\n', ['--jsonl', '--shell', '--', 'echo {to}'], 'Line 1'],
        ['id,name\nM\xfcller,1\nM\xf6ller,2\n', ['--csv', '--', 'echo'], 'Line 2'],
      ] as const) {
        const end = await run(args, Buffer.from(rows, 'latin1'));
        expect(end, rows).to.include({ code: 2, stdout: '' });
        expect(end.stderr, rows).to.include(`${reason} of standard input can not be an item: `);
      }
    });

    it('names the record of a CSV that is none by its number', async () => {
      writeFileSync(join(directory(), 'rows.csv'), 'id,name\na,"1\n1"\nb,2\nc\n');
      const end = await run(['--items', 'rows.csv', '--csv', '--', 'echo']);
      expect(end).to.include({ code: 2, stdout: '' });
      expect(end.stderr).to.include('Record 3 of rows.csv can not be an item: ');
    });

    it('records a row that lacks a field the command names as failed', async () => {
      expect((await run(['--jsonl', ...show], '{"id":"a"}\n')).code).to.equal(1);
      expect(await item('a')).to.include({ status: 'failed', reason: 'The row has no field "name", which the command names.' });
    });
  });

  describe('costs and outputs', () => {
    it('records what a command reports on its file descriptor, whatever its end, and stops when it has cost enough', async () => {
      const script = 'echo "{\\"cost\\":{\\"usd\\":0.4},\\"output\\":{\\"n\\":1}}" >&3; [ $1 != bad ]';
      const end = await run(['--max-cost', '1', '--', 'sh', '-c', script, 'sh'], 'a\nbad\nc\nd\n');
      expect(end.code).to.equal(3);
      expect(await item('a')).to.deep.include({ output: { n: 1 }, costUsd: 0.4 });
      expect(await item('bad')).to.include({ status: 'failed', costUsd: 0.4 });
      expect(await item('d')).to.equal(undefined);
    });

    it('names that descriptor only to commands that have it', async () => {
      const script = `echo "\${LOOPSTATE_RESULT_FD-none}"`;
      const end = (report: string) =>
        runCli(['run', ...STATE, '--report', report, '--', 'sh', '-c', script], {
          cwd: directory(),
          input: `${report}\n`,
          env: { LOOPSTATE_RESULT_FD: '3' },
        });
      expect((await end('fd')).stdout).to.equal('3\n');
      for (const report of ['line', 'none']) expect((await end(report)).stdout).to.equal('none\n');
    });

    it('fails an item whose report is too long to be kept: it once was completed, without its output', async () => {
      const script = 'printf "{\\"output\\":\\"%s\\"}" "$(head -c $1 /dev/zero | tr "\\0" x)" >&3';
      expect((await run(['--quiet', '--', 'sh', '-c', script, 'sh'], '1000\n1100000\n')).code).to.equal(1);
      expect((await item('1000'))?.output).to.have.length(1_000);
      const long = await item('1100000');
      expect(long?.status).to.equal('failed');
      expect(long?.reason).to.include('Its report has more than 1 MiB');
    });

    it('takes the last line of the output for a report when told to, and leaves other output alone', async () => {
      const script = 'echo progress; echo "{\\"cost\\":{\\"usd\\":2}}"';
      const end = await run(['--report', 'line', '--', 'sh', '-c', script, 'sh'], 'a\n');
      expect(end.stdout).to.equal('progress\n{"cost":{"usd":2}}\n');
      expect((await item('a'))?.costUsd).to.equal(2);
      await run(['--report', 'line', '--', 'echo', '[1] {}'], 'b\n');
      expect(await item('b')).to.not.have.any.keys('cost', 'output');
      // Alone in what is read at once, a blank line once had the search for a line before it never end.
      const blank = 'echo; sleep 0.2; echo "{\\"output\\":1}"; sleep 0.2; echo; sleep 0.2';
      expect(await run(['--report', 'line', '--', 'sh', '-c', blank, 'sh'], 'c\n')).to.include({ code: 0 });
      expect((await item('c'))?.output).to.equal(1);
    });

    it('keeps the output of each item in files that are whole', async () => {
      const script = 'echo out $1; echo err $1 >&2; [ "$1" != bad ] || exit 4';
      await run(['--results', 'out/put', '--quiet', '--', 'sh', '-c', script, 'sh'], `a\nbad\n../x y\n${'l'.repeat(300)}\n`);
      const names = readdirSync(join(directory(), 'out/put'));
      expect(names).to.have.length(8);
      expect(names).to.include.members(['a.out', 'a.err', 'bad.out', '%2E.%2Fx%20y.out']);
      expect(readFileSync(join(directory(), 'out/put/bad.err'), 'utf8')).to.equal('err bad\n');
      expect(readFileSync(join(directory(), 'out/put/%2E.%2Fx%20y.out'), 'utf8')).to.equal('out ../x y\n');
    });

    it('ends with 6 when the output of items can not be kept, and records nothing of them', async () => {
      writeFileSync(join(directory(), 'file'), '');
      expect((await run(['--results', 'file', '--', 'true'], 'a\n')).code).to.equal(2);
      const end = await run(['--results', 'gone', '--', 'sh', '-c', 'echo; sleep 0.2; rm -r gone', 'sh'], 'a\n');
      expect(end.code).to.equal(6);
      expect((await item('a'))?.status).to.equal('outstanding');
      // Where what was written can not even be removed, that once was each item's own failure, for good.
      const taken = await run(['--results', 'taken', '--', 'sh', '-c', 'echo; sleep 0.2; rm -r taken; echo > taken', 'sh'], 'b\nc\n');
      expect(taken.code).to.equal(6);
      expect(taken.stderr).to.include('The output of an item can not be kept: ENOTDIR');
      expect((await item('b'))?.status).to.equal('outstanding');
      expect(await item('c')).to.equal(undefined);
      // No file can be made there: root finds that out when it tries, others before anything runs.
      const refused = await run(['--results', '/proc', '--', 'sh', '-c', 'sleep 0.2; echo', 'sh'], 'd\n');
      expect(refused.code).to.equal(process.getuid?.() === 0 ? 6 : 2);
      expect(refused.stderr).to.match(/^loopstate: The (output of an item can not be kept|directory for results can not be used): E/m);
      expect((await item('d'))?.status ?? 'outstanding').to.equal('outstanding');
    });

    it('tries again later when there are too few file descriptors to keep the output of one more item', async () => {
      const input = Array.from({ length: 16 }, (_, n) => `${n}\n`).join('');
      const args = ['run', ...STATE, '--json', '-j', '8', '--results', 'out', '--', 'sh', '-c', 'sleep 0.2; echo $1', 'sh'];
      const end = await runCli(args, { cwd: directory(), input, under: ['sh', '-c', 'ulimit -n 46; exec "$@"', 'sh'] });
      expect(end.code).to.equal(0);
      expect(end.stderr).to.include('EMFILE');
      expect(readdirSync(join(directory(), 'out'))).to.have.length(32);
    });
  });

  describe('bounds', () => {
    it('halts soon after so many failures, and goes on the next time', async () => {
      const end = await run(['--halt', 'soon,fail=2', '--quiet', '--', 'false'], 'a\nb\nc\nd\n');
      expect(end.code).to.equal(3);
      const state = await open();
      expect(state.progress.failed).to.equal(2);
      await state.close();
    });

    it('halts now: what runs is stopped and given back', async () => {
      const script = 'case $1 in bad) sleep 0.3; exit 1;; esac; sleep 30';
      const end = await run(['--halt', 'now,fail=1', '-j', '2', '--', 'sh', '-c', script, 'sh'], 'slow\nbad\n');
      expect(end.code).to.equal(3);
      expect((await item('slow'))?.status).to.equal('outstanding');
    });

    it('halts at a share of failures, but not for fewer than three', async () => {
      const script = 'case $1 in *bad) exit 1;; esac';
      expect((await run(['--halt', 'soon,fail=50%', '--', 'sh', '-c', script, 'sh'], '1bad\n2bad\nc\n')).code).to.equal(1);
      expect((await run(['--halt', 'soon,fail=50%', '--', 'sh', '-c', script, 'sh'], '3bad\n4bad\n5bad\nd\n')).code).to.equal(3);
    });

    it('takes the exit codes that are glitches, and backs off before another attempt', async () => {
      const script = 'echo . >> log; [ $(wc -l < log) -ge 2 ] || exit 99';
      const end = await run(['--glitch-codes', '98,99', '--', 'sh', '-c', script, 'sh'], 'a\n');
      expect(end.code).to.equal(0);
      expect(await item('a')).to.include({ attempt: 1 });
      const before = performance.now();
      await run(['--retries', '1', '--backoff', '0.5', '--', 'false'], 'b\n');
      expect(performance.now() - before).to.be.greaterThan(250);
      expect((await item('b'))?.attempt).to.equal(2);
    });

    it('stops what runs too long with all that it started, by force if need be', async () => {
      const script = 'trap "" TERM; sleep 60 & echo $! > pid; wait; sleep 60';
      const end = await run(['--timeout', '0.3', '--grace', '0.2', '--', 'sh', '-c', script, 'sh'], 'a\n');
      expect(end.code).to.equal(1);
      expect((await item('a'))?.reason).to.match(/^timeout/);
      const pid = Number(readFileSync(join(directory(), 'pid'), 'utf8'));
      // Gone, or waiting for a parent that has no use for it.
      const status = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'utf8') : '';
      expect(status).to.match(/^$|\) Z /);
    });
  });

  describe('changes', () => {
    it('refuses, tells of, or runs again what changed: the file of an item, or the command', async () => {
      writeFileSync(join(directory(), 'f'), 'one');
      const check = (how: string, ...command: string[]) => run(['--on-change', how, '--plain', ...command], 'f\nname\n');
      expect((await check('refuse', 'echo')).stdout).to.equal('f\nname\n');
      expect((await check('refuse', 'echo')).stdout).to.equal('');
      writeFileSync(join(directory(), 'f'), 'two');
      expect((await check('refuse', 'echo')).code).to.equal(2);
      const told = await check('warn', 'echo');
      expect(told).to.include({ code: 0, stdout: '' });
      expect(told.stderr).to.include('changed: f');
      expect((await check('warn', '--dry-run', 'echo')).stdout).to.equal('');
      expect(await check('refuse', '--dry-run', 'echo')).to.include({ code: 2, stdout: '' });
      expect((await check('rerun', '--dry-run', 'echo')).stdout).to.equal('echo f\n');
      expect((await check('rerun', 'echo')).stdout).to.equal('f\n');
      expect((await check('rerun', 'echo', '{}')).stdout).to.equal('');
      expect((await check('rerun', 'printf', '%s;', '{}')).stdout).to.equal('f;\nname;\n');
    });

    it('runs again the rows that changed, in whichever of their fields', async () => {
      const rerun = (how: string, rows: string) => run([how, '--on-change', 'rerun', '--quiet', '--', 'echo', '{id}', '{n}'], rows);
      await rerun('--csv', 'id,name\na,one\nb,two\n');
      expect((await rerun('--csv', 'id,name\na,one\nb,three\n')).stdout).to.equal('b 2\n');
      await rerun('--jsonl', '{"id":"c","name":"one"}\n{"id":"d","name":"two"}\n');
      expect((await rerun('--jsonl', '{"id":"c","name":"one"}\n{"id":"d","name":"three"}\n')).stdout).to.equal('d 2\n');
    });
  });

  it('shows what would run, and changes nothing', async () => {
    await run(['--', 'true'], 'done\n');
    const before = readFileSync(join(directory(), 'state.json'));
    const end = await run(['--dry-run', '--', 'echo', "it's", '{}'], 'done\na b\n\u001b[31m\na b\n');
    expect(end.code).to.equal(0);
    expect(end.stdout).to.equal("echo 'it'\\''s' 'a b'\necho 'it'\\''s' '\\e[31m'\n");
    expect(readFileSync(join(directory(), 'state.json'))).to.deep.equal(before);
    await runCli(['run', '--state', 'new.json', '--dry-run', '--', 'echo'], { cwd: directory(), input: 'x\n' });
    expect(existsSync(join(directory(), 'new.json'))).to.equal(false);
    expect(
      (
        await runCli(['run', '--state', 'redis://127.0.0.1:1?job=x&connectTimeoutMs=300', '--dry-run', '--', 'echo'], {
          cwd: directory(),
          input: 'x\n',
        })
      ).code,
    ).to.equal(6);
  });

  it('shows the attempt under which a run would begin each item, of which that of a killed run is none', async () => {
    const args = ['run', ...STATE, '--retries', '1', '--backoff', '2', '--', 'sh', '-c'];
    const script = '[ "$1" = fails ] && exit 1; echo begun; exec sleep 5';
    const killed = await startCli([...args, script, 'sh'], { cwd: directory(), input: 'fails\nkilled\n' });
    await once(killed.child.stdout as Readable, 'data');
    killed.child.kill('SIGKILL');
    await once(killed.child, 'exit');
    const input = 'fails\nkilled\nnew\n';
    const shown = await run(['--dry-run', '--', 'echo', '{}', '{attempt}'], input);
    expect(shown.stdout).to.equal('echo fails 2\necho killed 1\necho new 1\n');
    expect((await run(['--', 'echo', '{}', '{attempt}'], input)).stdout.trim().split('\n')).to.have.members([
      'fails 2',
      'killed 1',
      'new 1',
    ]);
  });

  it('shows no more than --max-items and --max-cost let begin', async () => {
    await run(['--', 'true'], 'done\n');
    const end = await run(['--dry-run', '--max-items', '2', '--', 'echo'], 'done\na\nb\nc\n');
    expect(end).to.include({ code: 0, stdout: 'echo a\necho b\n' });
    expect(await run(['--dry-run', '--max-cost', '0', '--', 'echo'], 'done\na\n')).to.include({ code: 0, stdout: '' });
  });

  it('shows what a shell would be told, and counts rows that lack a field', async () => {
    const end = await run(['--dry-run', '--jsonl', '--shell', '--', 'echo {name} {n}'], '{"id":"a","name":"it\'s"}\n{"id":"b"}\n');
    expect(end.code, end.stderr).to.equal(0);
    const [line, ...others] = end.stdout.trimEnd().split('\n');
    expect(others).to.deep.equal([]);
    expect(execFileSync('sh', ['-c', line ?? ''], { encoding: 'utf8' })).to.equal("it's 1\n");
    expect(existsSync(join(directory(), 'state.json'))).to.equal(false);
  });

  it('waits as long before another attempt as it is told, also for nothing, and for longer than a minute', async () => {
    expect(await run(['--retries', '1', '--backoff', '0', '--quiet', '--', 'false'], 'a\n')).to.include({ code: 1 });
    const waiting = await startCli(['run', ...STATE, '--retries', '1', '--backoff', '300', '--json', '--', 'false'], {
      cwd: directory(),
      input: 'b\n',
    });
    await waiting.shows('"retry"');
    waiting.child.kill('SIGTERM');
    const { code, stderr } = await waiting.end;
    expect(code).to.equal(143);
    const events = stderr
      .trimEnd()
      .split('\n')
      .map((line): { type: string; waitMs: number } => JSON.parse(line));
    expect(events.find(({ type }) => type === 'retry')?.waitMs).to.be.above(60_000);
  });

  it('refuses values that it can not use', async () => {
    for (const args of [
      ['--halt', 'later,fail=1'],
      ['--halt', 'soon,fail=0'],
      ['--halt', 'now,fail=101%'],
      ['--glitch-codes', '0'],
      ['--glitch-codes', '1,300'],
      ['--max-cost', 'much'],
      ['--report', 'fax'],
      ['--on-change', 'shrug'],
      ['--lease', '0.5'],
      ['-j', '10001'],
      ['--total', '0'],
      ['--grace', '86400'],
      ['--backoff', '86401'],
    ])
      expect((await run([...args, '--', 'true'], 'a\n')).code, args.join(' ')).to.equal(2);
    expect(existsSync(join(directory(), 'state.json'))).to.equal(false);
    expect(statSync(directory()).isDirectory()).to.equal(true);
  });
});
