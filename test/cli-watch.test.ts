/**
 * `loopstate watch` follows a loop beside it without disturbing it, and ends when all is done, or when it is told to. Driven from the outside, where
 * there is no terminal; what it draws on one, and how it leaves it, is proved in packages/loopstate/test/watch-*.test.ts.
 */
import { existsSync, readdirSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories, type RunningCli, runCli, startCli } from './support/cli.js';
import { HOSTILE_IDS } from './support/hostile-ids.js';
import { type RedisServer, startRedis } from './support/redis-server.js';

interface Line {
  readonly progress: { readonly completed: number; readonly failed: number; readonly inProgress: number };
  readonly runs: readonly { readonly pid: number; readonly condition: string; readonly holds: number }[];
  readonly failures: readonly { readonly reason: string; readonly count: number }[];
  readonly trouble: string | null;
  readonly isOver: boolean;
}

describe('loopstate watch', function () {
  this.timeout(60_000);
  const directory = freshDirectories();
  let redis: RedisServer | undefined;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.remove());
  const watch = (url: string, ...args: string[]): Promise<RunningCli> =>
    startCli(['watch', '--state', url, '--interval', '0.05', ...args], { cwd: directory() });

  const STORES: readonly (readonly [name: string, url: () => string])[] = [
    ['file', () => join(directory(), 'state.json')],
    ['sqlite', () => `sqlite:${join(directory(), 'state.db')}?job=watch`],
    ['redis', () => `redis://127.0.0.1:${redis?.port}/0?job=watch`],
  ];

  for (const [name, urlOf] of STORES) {
    it(`read/fresh: follows a loop to its end, 1 since items failed, and the loop does not notice, on ${name}`, async () => {
      const url = urlOf();
      const input = Array.from({ length: 60 }, (_, n) => `item-${n}\n`).join('');
      const script = 'echo "did $0"; case $0 in *7) echo "can not do $0" >&2; exit 3;; esac; until [ -e go ]; do sleep 0.05; done';
      const loop = await startCli(['run', '--state', url, '-j', '3', '--quiet', '--', 'sh', '-c', script], { cwd: directory(), input });
      await loop.shows('did item-0');
      const watching = await watch(url, '--json', '--total', '60');
      await watching.shows('"condition":"alive","holds":3');
      writeFileSync(join(directory(), 'go'), '');
      const [{ code, stdout, stderr }, loopEnd] = await Promise.all([watching.end, loop.end]);
      expect([code, stderr, loopEnd.code]).to.deep.equal([1, '', 1]);
      const lines = linesOf(stdout);
      expect(lines.at(-1)?.progress).to.include({ completed: 54, failed: 6, inProgress: 0 });
      expect(lines.at(-1)?.failures).to.deep.equal([{ reason: 'exit 3: can not do {}', count: 6 }]);
      expect(lines.map(({ isOver }) => isOver)).to.deep.equal([...Array(lines.length - 1).fill(false), true]);
      const done = lines.map(({ progress: { completed, failed } }) => completed + failed);
      expect(done).to.deep.equal([...done].sort((a, b) => a - b));
      expect(lines[0]?.runs.map(({ pid }) => pid)).to.deep.equal([loop.child.pid]);
    });
  }

  it('0: ends at once where all is done; plain lines tell the same', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'success', b: 'success' });
    const { code, stdout, stderr } = await (await watch(url)).end;
    expect([code, stderr]).to.deep.equal([0, '']);
    expect(stdout).to.match(/^\d{4}-\S+Z {2}2 of 2 \(100 %\), 0 in progress, \d\.\d\/s, 0 runs\n$/);
    const before = writtenAt(directory());
    await (await watch(url, '--json')).end;
    expect(writtenAt(directory())).to.deep.equal(before);
  });

  it('goes on while somebody is at work or more is to come, and ends when that was killed', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'success' });
    const loop = await startCli(['run', '--state', url, '--', 'echo'], { cwd: directory(), input: 'open' });
    loop.child.stdin?.write('b\n');
    await loop.shows('b');
    const watching = await watch(url);
    await watching.shows('2 of 2 (100 %), 0 in progress');
    await watching.shows(', 1 run\n');
    loop.child.kill('SIGKILL');
    expect((await watching.end).code).to.equal(0);
    const more = await watch(url, '--total', '3');
    await more.shows('2 of 3 (66 %)');
    await more.shows('2 of 3 (66 %), 0 in progress');
    more.child.kill('SIGINT');
    expect(await more.end).to.include({ code: 130, signal: null, stderr: '' });
  });

  it('130 after SIGINT, 143 after SIGTERM, 130 when nobody reads it, each without a word', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'glitch' });
    for (const [how, code] of [
      [(running: RunningCli) => running.child.kill('SIGINT'), 130],
      [(running: RunningCli) => running.child.kill('SIGTERM'), 143],
      [(running: RunningCli) => running.child.stdout?.destroy(), 130],
    ] as const) {
      const watching = await watch(url);
      await watching.shows('1 outstanding');
      how(watching);
      expect(await watching.end).to.include({ code, signal: null, stderr: '' });
    }
  });

  it('says that the state is out of reach, and goes on when it is back; on redis', async () => {
    const server = await startRedis();
    try {
      const url = `redis://127.0.0.1:${server.port}/0?job=away`;
      const state = await LoopState.open(url);
      await state.begin('a');
      const watching = await watch(url, '--json');
      await watching.shows('"inProgress":1');
      await server.kill();
      await watching.shows('the state is out of reach: ');
      await server.start();
      await watching.shows('"trouble":null,"isOver":false}\n');
      await state.end('a', { status: 'success' });
      await state.close();
      const { code, stdout } = await watching.end;
      expect(code).to.equal(0);
      const troubles = linesOf(stdout).map(({ trouble }) => trouble !== null);
      expect([troubles[0], troubles.includes(true), troubles.at(-1)]).to.deep.equal([false, true, false]);
    } finally {
      await server.remove();
    }
  });

  it('changes/no-gap: what is forgotten, put back and begun anew is followed too', async () => {
    const url = `sqlite:${join(directory(), 'state.db')}?job=watch`;
    await makeItems(url, { a: 'success', b: 'error', c: 'glitch' });
    const watching = await watch(url);
    await watching.shows('2 of 3 (66 %), 0 in progress, 1 failed, 1 outstanding');
    const state = await LoopState.open(url);
    await state.retry(['b']);
    await watching.shows('1 of 3 (33 %), 0 in progress, 2 outstanding');
    await state.forget(['c']);
    await watching.shows('1 of 2 (50 %), 0 in progress, 1 outstanding');
    await state.begin('b');
    await watching.shows('1 of 2 (50 %), 1 in progress');
    await state.end('b', { status: 'success' });
    await state.close();
    expect((await watching.end).code).to.equal(0);
  });

  it('value/exact: nothing that a terminal obeys comes out, whatever ids and reasons are; NO_COLOR or not', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, Object.fromEntries(HOSTILE_IDS.map((id) => [id, 'error'])));
    for (const args of [[], ['--json']]) {
      for (const NO_COLOR of ['1', '']) {
        const { end } = await startCli(['watch', '--state', url, ...args], { cwd: directory(), env: { NO_COLOR } });
        const { code, stdout, stderr } = await end;
        expect([code, stderr]).to.deep.equal([1, '']);
        expect(stdout).to.match(/^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]+\n$/u);
      }
    }
  });

  it('2: wrong usage; 6: there is no such state; and nothing is made', async () => {
    for (const args of [
      [],
      ['--state', 'state.json', '--interval', '0'],
      ['--state', 'state.json', '--total', 'x'],
      ['--state', 'gopher:x'],
    ]) {
      expect(await runCli(['watch', ...args], { cwd: directory() }), args.join(' ')).to.include({ code: 2, stdout: '' });
    }
    for (const url of ['missing.json', 'sqlite:missing.db', `redis://127.0.0.1:${redis?.port}/0?job=missing`]) {
      expect(await (await watch(url)).end, url).to.include({ code: 6, stdout: '' });
    }
    expect(readdirSync(directory())).to.deep.equal([]);
  });

  it('6: a state that another took the place of while it was watched', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'glitch' });
    const watching = await watch(url);
    await watching.shows('1 outstanding');
    // The state file last, and at once: without it the rest would be recovered to an older state, in which nothing is left to do.
    for (const name of readdirSync(directory())) if (name !== 'state.json') unlinkSync(join(directory(), name));
    writeFileSync(join(directory(), 'mine.json'), '{"mine": true}');
    renameSync(join(directory(), 'mine.json'), url);
    expect((await watching.end).code).to.equal(6);
    expect(existsSync(`${url}.lock`)).to.equal(false);
  });

  function linesOf(text: string): Line[] {
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  }

  /** The files of a directory, and when each was last written. */
  function writtenAt(path: string): string[] {
    return readdirSync(path).map((name) => `${name} ${statSync(join(path, name)).mtimeMs}`);
  }

  async function makeItems(url: string, results: Readonly<Record<string, 'success' | 'error' | 'glitch'>>): Promise<void> {
    const state = await LoopState.open(url);
    for (const [id, status] of Object.entries(results)) {
      await state.begin(id);
      await state.end(id, { status, reason: `because of ${id}` });
    }
    await state.close();
  }
});
