/**
 * `loopstate run` does what xargs does, remembers it, and keeps hostile text from doing anything. Each test starts the real command
 * in a directory of its own and looks at its output, its exit code and the state it left.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type ItemRecord, LoopState } from 'loopstate';
import { freshDirectories, nodeCommand, runCli } from './support/cli.js';

const STATE = ['--state', './state.json'];

describe('loopstate run', () => {
  const directory = freshDirectories();
  const run = (args: readonly string[], input: string | Buffer = '', env: NodeJS.ProcessEnv = {}) =>
    runCli(['run', ...STATE, ...args], { cwd: directory(), input, env });
  const item = async (id: string): Promise<ItemRecord | undefined> => {
    const state = await LoopState.open({ path: join(directory(), 'state.json') }, { access: 'read' });
    try {
      return await state.read(id);
    } finally {
      await state.close();
    }
  };

  it('runs a command for each line, and for none again the next time', async () => {
    const args = ['--plain', '--', 'echo', 'got', '{}'];
    const first = await run(args, 'a\r\n\nb\nc');
    expect(first).to.include({ code: 0, stdout: 'got a\ngot b\ngot c\n' });
    const second = await run(args, 'a\nb\nc\nd\nd\n');
    expect(second).to.include({ code: 0, stdout: 'got d\n' });
  });

  it('adds the item at the end when no {} says where it goes, and replaces every {} otherwise', async () => {
    expect((await run(['--', 'echo', '-n', 'x'], 'one\n')).stdout).to.equal('x one\n');
    expect((await run(['--', 'echo', '{}={}', 'and {}'], 'two\n')).stdout).to.equal('two=two and two\n');
  });

  it('leaves alone what comes after the command, options and a second -- included', async () => {
    expect((await run(['echo', '-j', '--quiet', '--', '{}'], 'x\n')).stdout).to.equal('-j --quiet -- x\n');
  });

  it('takes items from a file, and from what patterns match', async () => {
    for (const name of ['b.txt', 'a.txt', 'c.md', '{x}.log']) writeFileSync(join(directory(), name), 'a.txt\nc.md\n');
    expect((await run(['--items', 'b.txt', '--', 'echo'])).stdout).to.equal('a.txt\nc.md\n');
    expect((await run(['--glob', '*.txt', '--glob', '*.log', '--', 'echo'])).stdout).to.equal('b.txt\n{x}.log\n');
  });

  it('finds what patterns match that lead up, and down again into the directory where it runs', async () => {
    for (const name of ['here [1]', 'beside']) {
      mkdirSync(join(directory(), name, 'deep'), { recursive: true });
      for (const file of ['a.txt', 'deep/b.txt', 'c.md']) writeFileSync(join(directory(), name, file), '');
    }
    const found = async (...patterns: string[]): Promise<string[]> => {
      const globs = patterns.flatMap((pattern) => ['--glob', pattern]);
      const end = await runCli(['run', '--state', `./${randomUUID()}.json`, ...globs, '--', 'echo'], {
        cwd: join(directory(), 'here [1]'),
      });
      expect(end.code).to.equal(0);
      return end.stdout.trimEnd().split('\n');
    };
    const all = ['../beside/a.txt', '../beside/deep/b.txt', 'a.txt', 'deep/b.txt'];
    expect(await found('../**/*.txt')).to.deep.equal(all);
    const top = realpathSync(directory());
    // Whole paths are the same ones wherever they are looked for; beside others they are named as those are.
    const whole = ['beside/a.txt', 'beside/deep/b.txt', 'here [1]/a.txt', 'here [1]/deep/b.txt'].map((path) => join(top, path));
    expect(await found(`${top}/**/*.txt`, `!${top}/**/*.md`)).to.deep.equal(whole);
    expect(await found(`${top}/**/*.txt`, 'a.txt')).to.deep.equal(all);
    expect(await found(`${top}/{beside,none}/*.txt`, `${top}/b{e,y}side/{a,deep/b}.txt`)).to.deep.equal(whole.slice(0, 2));
    expect(await found('*.txt', '../*/deep/*')).to.deep.equal(['../beside/deep/b.txt', 'a.txt', 'deep/b.txt']);
    expect(await found('../**/*.txt', '!deep/*', '!../beside/a.txt')).to.deep.equal(['../beside/deep/b.txt', 'a.txt']);
    expect(await found('./*.txt', 'deep/*')).to.deep.equal(['a.txt', 'deep/b.txt']);
    // As a shell does it, lest a name be read as an option.
    expect(await found('./*.txt', './deep/*', '!*.md')).to.deep.equal(['./a.txt', './deep/b.txt']);
    expect(await found('./*.txt', './../beside/*.txt')).to.deep.equal(['../beside/a.txt', './a.txt']);
  });

  it('refuses a pattern that would look where its braces hide', async () => {
    for (const pattern of ['{*.txt,../beside/*.txt}', '{/tmp/a,/tmp/b}/*', '{.,deep}/*.txt', '!{a,../b}', 'x/{y,{../z,w}}']) {
      const end = await run(['--glob', pattern, '--', 'echo']);
      expect(end, pattern).to.include({ code: 2, stdout: '' });
    }
  });

  it('runs nothing on the copy that a reset leaves, and writes no export over it', async () => {
    await run(['--', 'true'], 'a\n');
    expect((await runCli(['reset', '--state', './state.json', '--yes'], { cwd: directory() })).code).to.equal(0);
    const copy = readdirSync(directory()).find((name) => name.startsWith('state.json.reset-')) ?? '';
    const kept = readFileSync(join(directory(), copy), 'utf8');
    const found = await run(['--glob', '*', '--', 'echo']);
    expect(found).to.include({ code: 0, stdout: '' });
    expect((await runCli(['export', '--state', './state.json', '--output', copy], { cwd: directory() })).code).to.equal(2);
    expect(readFileSync(join(directory(), copy), 'utf8')).to.equal(kept);
  });

  it('tells of a failure by the beginning of the last line, however long that is', async () => {
    const script = 'echo first >&2; printf "because %s\n\n \n" "$(head -c 20000 /dev/zero | tr "\\0" x)" >&2; exit 1';
    expect((await run(['--', 'sh', '-c', script], 'a\n')).code).to.equal(1);
    expect((await item('a'))?.reason).to.match(/^exit 1: because x{300}/);
  });

  it('refuses an item whose id holds a NUL, and says so', async () => {
    const end = await run(['--jsonl', '--', 'echo', '{}'], '{"id":"a\\u0000b"}\n');
    expect(end).to.include({ code: 1, stdout: '' });
    expect((await item('a\0b'))?.reason).to.include('holds a NUL');
  });

  it('records success, failure with its reason, and the signal that ended a command', async () => {
    const script = 'case $1 in bad) echo first >&2; echo "last  " >&2; echo >&2; exit 3;; dies) kill -9 $$;; mute) exit 4;; esac';
    const end = await run(['--json', '-j', '4', '--', 'sh', '-c', script, 'sh'], 'good\nbad\ndies\nmute\n');
    expect(end.code).to.equal(1);
    expect(await item('good')).to.include({ status: 'completed', attempt: 1 });
    expect(await item('bad')).to.include({ status: 'failed', reason: 'exit 3: last' });
    expect(await item('dies')).to.include({ status: 'failed', reason: 'signal SIGKILL' });
    expect(await item('mute')).to.include({ status: 'failed', reason: 'exit 4' });
  });

  it('tries again after a glitch (exit 75) without counting it, and after an error as often as --retries says', async () => {
    const script = 'echo . >> "$1"; n=$(wc -l < "$1"); [ "$n" -ge 3 ] || exit $2';
    const start = performance.now();
    const glitch = await run(['--', 'sh', '-c', script, 'sh', '{}', '75'], 'g\n');
    expect(glitch.code).to.equal(0);
    expect(performance.now() - start).to.be.greaterThan(1_000); // It waited between the attempts.
    expect(await item('g')).to.include({ status: 'completed', attempt: 1 });
    const error = await run(['--retries', '1', '--', 'sh', '-c', script, 'sh', '{}', '1'], 'e\n');
    expect(error.code).to.equal(1);
    expect(await item('e')).to.include({ status: 'failed', attempt: 2 });
    expect(readFileSync(join(directory(), 'e'), 'utf8')).to.equal('.\n.\n');
  });

  it('tells the command its item, attempt and fence, and gives it nothing to read', async () => {
    const script = 'printf "%s %s %s\\n" "$LOOPSTATE_ITEM" "$LOOPSTATE_ATTEMPT" "$LOOPSTATE_FENCE"; cat';
    const { stdout } = await run(['--', 'sh', '-c', script], 'x y\n');
    expect(stdout).to.match(/^x y 1 [1-9]\d*\n$/);
  });

  it('passes lines whole, however the children interleave, and ends a last line that has no end', async () => {
    // Each child writes its lines in many small pieces, while the others do the same.
    const script = `const { argv } = process; let left = 40;
      const timer = setInterval(() => { process.stdout.write(argv[1].repeat(5)); process.stdout.write(argv[1].repeat(5) + (--left ? '\\n' : ''));
        if (!left) clearInterval(timer); }, 1)`;
    const { stdout, code } = await run(['-j', '4', '--', ...nodeCommand(script)], 'a\nb\nc\nd\n');
    expect(code).to.equal(0);
    const lines = stdout.split('\n');
    expect(lines.pop()).to.equal('');
    expect(lines).to.have.length(160);
    for (const line of lines) expect(line).to.match(/^(a{10}|b{10}|c{10}|d{10})$/);
  });

  it('passes on megabytes without losing any', async () => {
    const script = 'process.stdout.write(("0".repeat(63) + "\\n").repeat(40000))';
    const { stdout } = await run(['-j', '2', '--', ...nodeCommand(script)], 'a\nb\n');
    expect(stdout.length).to.equal(2 * 64 * 40_000);
  });

  it('does not wait for what a command left running in the background', async () => {
    const start = performance.now();
    const { stdout, code } = await run(['--', 'sh', '-c', 'sleep 15 & echo done $1', 'sh'], 'x\n');
    expect({ stdout, code }).to.deep.equal({ stdout: 'done x\n', code: 0 });
    expect(performance.now() - start).to.be.lessThan(10_000);
  });

  it('tries again later when there are too few file descriptors for one more command', async () => {
    const under = ['sh', '-c', 'ulimit -n 40; exec "$@"', 'sh'];
    const args = ['run', '--state', './state.json', '--json', '-j', '8', '--', 'sh', '-c', 'sleep 0.2; echo $1', 'sh'];
    const end = await runCli(args, { cwd: directory(), input: 'a\nb\nc\nd\ne\nf\ng\nh\n', under });
    expect(end.code).to.equal(0);
    expect(end.stderr).to.include('EMFILE');
    expect(end.stdout.split('\n').sort().join('')).to.equal('abcdefgh');
  });

  describe('with hostile items', () => {
    const HOSTILE = [
      '-rf',
      '--',
      '$(touch pwned)',
      '`touch pwned`',
      '"; touch pwned; "',
      "'; touch pwned; '",
      '*',
      ' spaces  inside ',
      'back\\slash',
      '$LOOPSTATE_ITEM',
      '$&$1$$',
      '{}',
      '\u001b[31mred\u001b[0m',
      '\u202egnp.exe',
      '__proto__',
      '/etc/passwd',
      '日本語',
      'x'.repeat(1_000),
    ];
    const INPUT = HOSTILE.map((line) => `${line}\n`).join('');

    it('hands them over exactly, as arguments', async () => {
      const { stdout, code } = await run(['--', ...nodeCommand('console.log(JSON.stringify(process.argv[1]))')], INPUT);
      expect(code).to.equal(0);
      expect(
        stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as unknown),
      ).to.deep.equal(HOSTILE);
    });

    it('hands them over exactly to a shell, quoted or not, and never has it read them', async () => {
      const command = `printf '%s|' {} "{}" "a{}b" "$1" "$LOOPSTATE_ITEM" \\{}; echo; ls pwned 2>/dev/null; true`;
      const { stdout, code } = await run(['--shell', '--', command], INPUT);
      expect(code).to.equal(0);
      expect(stdout.trimEnd().split('\n')).to.deep.equal(HOSTILE.map((line) => `${line}|${line}|a${line}b|${line}|${line}|{}|`));
    });

    it('hands them over exactly to a shell within what the shell expands, too', async () => {
      const command = `echo "$(printf '<%s>' {})" "$(printf '<%s>' "{}")" "\`printf '<%s>' {}\`"; ls pwned 2>/dev/null; true`;
      const { stdout, code } = await run(['--shell', '--', command], INPUT.replaceAll('\\', '/'));
      expect(code).to.equal(0);
      expect(stdout.trimEnd().split('\n')).to.deep.equal(
        HOSTILE.map((line) =>
          Array(3)
            .fill(`<${line.replaceAll('\\', '/')}>`)
            .join(' '),
        ),
      );
    });

    it('shows them harmless on a terminal', async () => {
      const { stderr, code } = await run(
        ['--plain', '--', 'sh', '-c', 'printf "\\033[2Jboo\\007\\n" >&2; exit 1', 'sh'],
        '\u001b]0;owned\u0007\n',
      );
      expect(code).to.equal(1);
      const [passed, ...ours] = stderr.split('\n').filter((line) => line.includes('boo'));
      expect(passed).to.equal('\u001b[2Jboo\u0007'); // The child's own output is the child's.
      expect(ours).to.deep.equal(['failed: \\e]0;owned\\u{7}: exit 1: \\e[2Jboo\\u{7}']);
    });

    it('records an item that no argument can hold as failed', async () => {
      expect((await run(['--', 'echo'], 'a\0b\n')).code).to.equal(1);
      expect(await item('a\0b')).to.include({ status: 'failed' });
    });
  });

  describe('--json', () => {
    it('writes events, and what the commands say on standard error, as JSON lines', async () => {
      const end = await run(['--json', '--', 'sh', '-c', 'echo out; echo "err $1" >&2; exit 1', 'sh'], 'a\n');
      expect(end).to.include({ code: 1, stdout: 'out\n' });
      const events = end.stderr
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { [name: string]: unknown });
      expect(events.map(({ type }) => type)).to.deep.equal(['begin', 'started', 'stderr', 'failed', 'end']);
      expect(events[2]).to.include({ id: 'a', line: 'err a' });
      expect(events[3]).to.include({ id: 'a', reason: 'exit 1: err a' });
      expect(events[4]).to.include({ status: 'completed', reason: 'all-done', exitCode: 1 });
    });
  });

  it('tells how far it came when its input is bad, in each style', async () => {
    const input = '{"id":"a"}\n{"id":"b"}\nnot json\n';
    const plain = await run(['--jsonl', '--plain', '--', 'sh', '-c', '[ "$1" = a ]', 'sh', '{id}'], input);
    expect(plain.code).to.equal(2);
    expect(plain.stderr.split('\n')).to.include('stopped by an error: 1 completed and 1 failed in all').and.include('failed: b: exit 1');
    const json = await run(['--jsonl', '--json', '--', 'echo'], input);
    expect(json.code).to.equal(2);
    const [end] = json.stderr.split('\n').flatMap((line) => (line.startsWith('{"type":"end"') ? [JSON.parse(line)] : []));
    expect(end).to.deep.include({ status: 'stopped', reason: 'error', exitCode: 2 });
    expect([end.error.code, end.progress.completed]).to.deep.equal(['LOOPSTATE_BAD_OPTION', 1]);
    expect((await run(['--jsonl', '--quiet', '--', 'echo'], input)).stderr.split('\n')).to.have.length(2);
  });

  describe('--quiet', () => {
    it('says nothing of its own', async () => {
      expect(await run(['--quiet', '--', 'echo'], 'a\n')).to.include({ code: 0, stdout: 'a\n', stderr: '' });
    });
  });

  it('reports at the start what recovery found', async () => {
    await run(['--', 'true'], 'a\nb\n');
    writeFileSync(join(directory(), 'state.json'), '{\n "completed": [\n "a"');
    const again = await run(['--', 'echo'], 'a\nb\nc\n');
    expect(again).to.include({ code: 0, stdout: 'c\n' });
    expect(again.stderr).to.match(/^recovery: (info|warning): [a-z-]+(: | \()/m);
  });
});
