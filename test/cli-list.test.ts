/**
 * `loopstate list` and `show` tell what a state knows of its items, on every kind of store, and whatever an item is called: what is
 * shown on a terminal is harmless, what is piped comes back as it was.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories, runCli, startCli } from './support/cli.js';
import { HOSTILE_IDS } from './support/hostile-ids.js';
import { type RedisServer, startRedis } from './support/redis-server.js';

describe('loopstate list and show', () => {
  const directory = freshDirectories();
  let redis: RedisServer | undefined;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.remove());
  const cli = (args: readonly string[], input: string | Buffer = '') => runCli(args, { cwd: directory(), input });

  const STORES: readonly (readonly [name: string, url: () => string])[] = [
    ['file', () => join(directory(), 'state.json')],
    ['sqlite', () => `sqlite:${join(directory(), 'state.db')}?job=list`],
    ['redis', () => `redis://127.0.0.1:${redis?.port}/0?job=list`],
  ];

  for (const [name, urlOf] of STORES) {
    it(`read/fresh: each kind of item is found, on ${name}`, async () => {
      const url = urlOf();
      const run = await makeItems(url);
      const ids = async (...args: string[]) =>
        (await cli(['list', '--state', url, '--ids', ...args])).stdout.split('\n').slice(0, -1).sort();
      expect(await ids('--completed')).to.deep.equal(['completed']);
      expect(await ids('--failed')).to.deep.equal(['failed']);
      expect(await ids('--quarantined')).to.deep.equal([]);
      expect(await ids('--in-progress')).to.deep.equal(['held']);
      expect(await ids('--glitched')).to.deep.equal(['glitched']);
      expect(await ids('--outstanding')).to.deep.equal(['given-back', 'glitched']);
      expect(await ids('--failed', '--glitched')).to.deep.equal(['failed', 'glitched']);
      expect(await ids()).to.deep.equal(['completed', 'failed', 'given-back', 'glitched', 'held']);
      const text = await cli(['list', '--state', url]);
      expect(text).to.include({ code: 0, stderr: '' });
      expect(text.stdout)
        .to.match(/^failed .+ failed {2}no reason$/m)
        .and.to.match(/^in progress .+ held$/m);
      const lines = (await cli(['list', '--state', url, '--json', '--failed'])).stdout.split('\n');
      expect(lines).to.have.lengthOf(2);
      expect(JSON.parse(lines[0] ?? '')).to.include({ id: 'failed', status: 'failed', attempt: 1, reason: 'no reason', costUsd: 0.5 });
      const held = await cli(['show', '--state', url, 'held']);
      expect(held.code).to.equal(0);
      expect(held.stdout)
        .to.match(/^standing +in progress$/m)
        .and.to.include(`pid ${run.pid} on `)
        .and.to.match(/, alive$/m);
      run.kill('SIGKILL');
      await once(run, 'exit');
      expect((await cli(['show', '--state', url, 'held'])).stdout).to.match(/, gone$/m);
    }).timeout(60_000);
  }

  it('show tells all that is known, as text and as JSON', async () => {
    await makeItem('the item', 'success', { output: { a: ['\u001b[31m', 1] }, cost: { usd: 0.25, tokens: 7 } });
    const text = (await cli(['show', '--state', 'state.json', 'the item'])).stdout;
    expect(text)
      .to.match(/^standing +completed$/m)
      .and.to.match(/^cost +\$0\.25/m)
      .and.to.match(/^last cost +\{"usd":0\.25,"tokens":7\}$/m);
    expect(text).to.match(/^output +\{"a":\["\\u001b\[31m",1\]\}$/m);
    const json = JSON.parse((await cli(['show', '--state', 'state.json', '--json', 'the item'])).stdout) as object;
    expect(json).to.deep.include({ id: 'the item', status: 'completed', output: { a: ['\u001b[31m', 1] }, cost: { usd: 0.25, tokens: 7 } });
    expect(json)
      .to.have.property('at')
      .match(/^\d{4}-.+Z$/);
  });

  it('show ends with 1 and nothing on standard output for an item that is not known, 2 for what can be none', async () => {
    await makeItem('a', 'success');
    expect(await cli(['show', '--state', 'state.json', 'b'])).to.include({ code: 1, stdout: '' });
    expect(await cli(['show', '--state', 'state.json', ''])).to.include({ code: 2, stdout: '' });
    expect(await cli(['show', '--state', 'state.json', 'x'.repeat(1_025)])).to.include({ code: 2, stdout: '' });
  });

  it('2: wrong usage; 6: there is no such state, or it is foreign; and nothing is made', async () => {
    await makeItem('a', 'success');
    writeFileSync(join(directory(), 'foreign.json'), '{"mine": true}');
    for (const args of [
      ['list', '--json', '--ids'],
      ['list', '--null'],
      ['list', '--json', '--null'],
      ['list', 'a'],
      ['show'],
      ['show', 'a', 'b'],
    ]) {
      expect(await cli([...args, '--state', 'state.json']), args.join(' ')).to.include({ code: 2, stdout: '' });
    }
    for (const state of ['missing.json', 'sqlite:missing.db', 'foreign.json']) {
      for (const args of [['list'], ['show', 'a'], ['status', '--check']]) {
        const end = await cli([...args, '--state', state]);
        expect(end, `${args.join(' ')} ${state}`).to.include({ code: 6, stdout: '' });
        expect(end.stderr).to.not.match(/^ +at /m);
      }
    }
    expect(execFileSync('ls', [directory()], { encoding: 'utf8' })).to.not.include('missing');
  }).timeout(60_000);

  for (const [name, urlOf] of STORES.slice(0, 2)) {
    it(`value/exact: ids of every kind are shown harmless, and piped as they are, on ${name}`, async () => {
      const url = urlOf();
      const state = await LoopState.open(url);
      for (const id of HOSTILE_IDS) {
        await state.begin(id);
        await state.end(id, { status: 'error', reason: `because of ${id}` });
      }
      await state.close();
      const raw = await cli(['list', '--state', url, '--failed', '--ids', '--null']);
      expect(raw.stdout.split('\0').slice(0, -1).sort()).to.deep.equal([...HOSTILE_IDS].sort());
      for (const args of [['list'], ['list', '--json'], ['status'], ...HOSTILE_IDS.map((id) => ['show', '--', id])]) {
        const [command = '', ...rest] = args;
        const { code, stdout, stderr } = await cli([command, '--state', url, ...rest]);
        expect([code, stderr], args.join(' ')).to.deep.equal([0, '']);
        // Nothing that a terminal obeys but the ends of lines.
        expect(stdout, args.join(' ')).to.match(/^(?:[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]|\n)+$/u);
        if (command === 'list') expect(stdout.split('\n')).to.have.lengthOf(HOSTILE_IDS.length + 1);
      }
      const json = (await cli(['list', '--state', url, '--json'])).stdout.split('\n').slice(0, -1);
      expect(json.map((line) => (JSON.parse(line) as { id: string }).id).sort()).to.deep.equal([...HOSTILE_IDS].sort());
    }).timeout(60_000);
  }

  it('value/exact: an id that a line, or a NUL, would cut is refused rather than given out as another', async () => {
    for (const [id, args, code] of [
      ['a\nb', ['--ids'], 2],
      ['a\r', ['--ids'], 2],
      ['\ufeffa', ['--ids'], 2],
      ['a\nb', ['--ids', '--null'], 0],
      ['a\0b', ['--ids'], 0],
      ['a\0b', ['--ids', '--null'], 2],
    ] as const) {
      await makeItem(id, 'success');
      const end = await cli(['list', '--state', 'state.json', ...args]);
      expect(end, JSON.stringify(id)).to.include({ code });
      if (code === 2) expect(end.stdout).to.equal('');
      await forget(id);
    }
  });

  it('a reader that has had enough ends it quietly, and it holds nothing', async () => {
    const state = await LoopState.open({ path: join(directory(), 'state.json') });
    const ids = Array.from({ length: 20_000 }, (_, n) => `item-${n}-${'x'.repeat(80)}`);
    await Promise.all(ids.map((id) => state.begin(id)));
    await state.close();
    for (const args of [['--ids'], ['--json'], []]) {
      const { child, end, shows } = await startCli(['list', '--state', 'state.json', ...args], { cwd: directory() });
      await shows('item-');
      child.stdout?.destroy();
      const { code, stderr } = await end;
      expect([code, stderr]).to.deep.equal([130, '']);
    }
  }).timeout(60_000);

  it('shows the loop beside which it runs, as it is at that moment', async () => {
    const script = 'echo "did $0"; if [ "$0" = slow ]; then exec sleep 20; fi';
    const run = await startCli(['run', '--state', 'state.json', '-j', '2', '--', 'sh', '-c', script], {
      cwd: directory(),
      input: 'quick\nslow\n',
    });
    await run.shows('did quick');
    await run.shows('did slow');
    const states: string[] = [];
    // The outcome is recorded after the child has ended.
    while (!states.includes('completed quick')) {
      const { stdout } = await cli(['list', '--state', 'state.json', '--json']);
      states.splice(
        0,
        states.length,
        ...stdout
          .split('\n')
          .slice(0, -1)
          .map((line) => {
            const { id, status } = JSON.parse(line) as { id: string; status: string };
            return `${status} ${id}`;
          }),
      );
    }
    expect(states).to.include('claimed slow');
    run.child.kill('SIGKILL');
    await run.end;
  }).timeout(60_000);

  async function makeItem(id: string, status: 'success' | 'error', more: object = {}): Promise<void> {
    const state = await LoopState.open({ path: join(directory(), 'state.json') });
    await state.begin(id);
    await state.end(id, { status, ...more });
    await state.close();
  }

  async function forget(id: string): Promise<void> {
    const state = await LoopState.open({ path: join(directory(), 'state.json') });
    await state.forget([id]);
    await state.close();
  }

  /** One item of each kind; the process that holds `held` is alive. */
  async function makeItems(url: string) {
    const state = await LoopState.open(url);
    for (const [id, status] of [
      ['completed', 'success'],
      ['failed', 'error'],
      ['glitched', 'glitch'],
    ] as const) {
      await state.begin(id);
      await state.end(id, { status, reason: 'no reason', cost: { usd: 0.5 } });
    }
    await state.begin('given-back');
    await state.release('given-back');
    await state.close();
    const run = await startCli(['run', '--state', url, '--', 'sh', '-c', 'echo begun; sleep 60'], { cwd: directory(), input: 'held\n' });
    await run.shows('begun');
    return run.child;
  }
});
