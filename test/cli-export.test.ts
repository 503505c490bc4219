/**
 * `loopstate export` and `loopstate import` carry a loop through a file or a pipe on every backend, and nothing that is there already is lost by
 * it: not by a second import, not by one that is killed (at moments from a seed), not by one of something else.
 */
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { prove } from '@loopstate/conformance';
import { expect } from 'chai';
import { LoopState, type MovableItem } from 'loopstate';
import { type CliOptions, freshDirectories, runCli, startCli } from './support/cli.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';
import { countAt, exportAt, makeVariedLoop } from './support/varied-loop.js';

const ITEMS = 300;
const KILLS = 4;
const ITEMS_WHEN_KILLED = 2_000;

describe('loopstate export and import', () => {
  const directory = freshDirectories();
  const cli = (args: readonly string[], options: Partial<CliOptions> = {}) => runCli(args, { cwd: directory(), ...options });
  const seed = seedFromEnvironment();
  let server: RedisServer;
  let jobs = 0;
  before(async function () {
    this.timeout(120_000);
    console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
    server = await startRedis();
  });
  after(() => server.remove());
  const path = (name: string): string => join(directory(), name);
  /** A varied loop in `state.json`, with its export. */
  const source = async (count = ITEMS): Promise<string> => {
    await makeVariedLoop(path('state.json'), count, seed);
    const { code, stdout, stderr } = await cli(['export', '--state', 'state.json']);
    expect(code, stderr).to.equal(0);
    return stdout;
  };
  const withState = async <T>(url: string, use: (state: LoopState) => Promise<T>): Promise<T> => {
    const state = await LoopState.open(url);
    try {
      return await use(state);
    } finally {
      await state.close();
    }
  };
  const put = (url: string, id: string, item: MovableItem) => withState(url, (state) => state.putItems([{ id, item }], () => true));

  for (const kind of ['file', 'sqlite', 'redis'] as const) {
    describe(`on ${kind}`, () => {
      const urls = {
        file: () => path('target.json'),
        sqlite: () => `sqlite:${path('target.db')}`,
        redis: () => `redis://127.0.0.1:${server.port}/0?job=import-${++jobs}`,
      };
      let url = '';
      beforeEach(() => {
        url = urls[kind]();
      });

      it('acked-survives, once-recorded: export | import is the loop again, and a second import changes nothing', async () => {
        const text = await source();
        const first = await cli(['import', '--state', url, '-', '--json'], { input: text });
        expect(first.code, first.stderr).to.equal(0);
        expect(JSON.parse(first.stdout)).to.include({ format: 'jsonl', imported: ITEMS, skipped: 0, replaced: 0, isWhole: true });
        expect((await cli(['export', '--state', url])).stdout).to.equal(text);
        writeFileSync(path('again.jsonl'), text);
        for (const more of [[], ['--replace']]) {
          const again = await cli(['import', '--state', url, 'again.jsonl', '--json', ...more]);
          expect(JSON.parse(again.stdout)).to.include({ imported: 0, skipped: ITEMS, replaced: 0 });
        }
        expect(await exportAt(url)).to.equal(text);
      });

      it('once-recorded: what has an outcome stays, what has none gives way to one; --replace replaces', async () => {
        const outcome: MovableItem = { status: 'completed', attempt: 1, output: 'mine' };
        await put(url, 'done', outcome);
        await put(url, 'back', { status: 'outstanding', attempt: 2 });
        await put(url, 'still', { status: 'outstanding', attempt: 2 });
        const other: MovableItem = { status: 'failed', attempt: 1, reason: 'other' };
        await put(path('other.json'), 'done', other);
        await put(path('other.json'), 'back', other);
        await put(path('other.json'), 'still', { status: 'outstanding', attempt: 1 });
        await put(path('other.json'), 'new', { status: 'outstanding', attempt: 1 });
        const text = await exportAt(path('other.json'));
        const { code, stdout } = await cli(['import', '--state', url, '-'], { input: text });
        expect(code).to.equal(0);
        expect(stdout).to.include(': 2 imported, 2 skipped, 0 replaced\n');
        await withState(url, async (state) => {
          expect(await state.read('done')).to.deep.include(outcome);
          expect(await state.read('back')).to.deep.include(other);
          expect((await state.read('still'))?.attempt).to.equal(2);
        });
        expect((await cli(['import', '--state', url, '-', '--replace'], { input: text })).stdout).to.include(
          ': 1 imported, 2 skipped, 1 replaced\n',
        );
        await withState(url, async (state) => expect(await state.read('done')).to.deep.include(other));
      });

      it('fenced: nothing is put into a loop on which a run is alive (5)', async () => {
        const text = await source(50);
        const state = await LoopState.open(url);
        const claim = await state.claim('a');
        expect(await cli(['import', '--state', url, '-'], { input: text })).to.include({ code: 5, stdout: '' });
        expect(await claim?.end({ status: 'success' })).to.equal('completed');
        await state.close();
        expect(await countAt(url)).to.equal(1);
      });

      it(`acked-survives: an import that is killed ${KILLS} times can be run again, and ends equal`, async () => {
        const text = await source(ITEMS_WHEN_KILLED);
        writeFileSync(path('x.jsonl'), text);
        const random = seeded(seed + kind.length);
        const run = async (killAfterMs?: number) => {
          const running = await startCli(['import', '--state', url, 'x.jsonl'], { cwd: directory() });
          if (killAfterMs !== undefined) void sleep(killAfterMs).then(() => running.child.kill('SIGKILL'));
          return await running.end;
        };
        const another = (): string => `${urls[kind]()}${kind === 'redis' ? '' : `-${++jobs}`}`;
        const beganMs = performance.now();
        expect((await run()).code).to.equal(0);
        let withinMs = performance.now() - beganMs;
        url = another();
        let [kills, partial] = [0, 0];
        for (let tries = 0; (kills < KILLS || partial === 0) && tries < 60; tries++) {
          // It takes a while until anything is put.
          if ((await run((0.4 + 0.6 * random()) * withinMs)).code === null) kills += 1;
          const count = await countAt(url);
          if (count > 0 && count < ITEMS_WHEN_KILLED) partial += 1;
          withinMs *= count === 0 ? 1.2 : count < ITEMS_WHEN_KILLED ? 1 : 0.9;
          if (count < ITEMS_WHEN_KILLED) continue;
          expect((await exportAt(url)) === text, 'the export is that of the source').to.equal(true);
          url = another();
        }
        expect((await run()).code).to.equal(0);
        expect((await exportAt(url)) === text, 'the export is that of the source').to.equal(true);
        prove({ test: 'M5 killed imports', backend: kind, counts: { kills, states: partial }, least: { kills: KILLS, states: 1 } });
      }).timeout(300_000);
    });
  }

  it('acked-survives: a file appears whole or not at all, and one that was there keeps its mode and its link', async () => {
    const text = await source();
    writeFileSync(path('real.jsonl'), 'before', { mode: 0o640 });
    symlinkSync('real.jsonl', path('link.jsonl'));
    const { code, stdout } = await cli(['export', '--state', 'state.json', '-o', 'link.jsonl']);
    expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'state.json: exported to link.jsonl\n' });
    expect(readFileSync(path('real.jsonl'), 'utf8')).to.equal(text);
    expect(statSync(path('real.jsonl')).mode & 0o777).to.equal(0o640);
    expect((await cli(['export', '--state', 'state.json', '-o', 'new.jsonl'])).code).to.equal(0);
    expect(statSync(path('new.jsonl')).mode & 0o777).to.equal(0o600);
    expect((await cli(['export', '--state', 'state.json', '-o', '/dev/null'])).code).to.equal(0);
    const before = readFileSync(path('state.json'));
    for (const bad of ['state.json', './state.json', '.', 'nowhere/x.jsonl'])
      expect(await cli(['export', '--state', 'state.json', '-o', bad]), bad).to.include({ code: 2, stdout: '' });
    expect(readFileSync(path('state.json')).equals(before)).to.equal(true);
    expect(readdirSync(directory()).filter((name) => name.endsWith('.tmp'))).to.deep.equal([]);
  });

  it('acked-survives: an export that is killed or interrupted leaves the file as it was', async () => {
    await source(20_000);
    let [kept, interrupted] = [0, 0];
    const random = seeded(seed);
    for (let n = 0; n < 8; n++) {
      writeFileSync(path('out.jsonl'), 'before');
      const temporaries = () => readdirSync(directory()).filter((name) => name.endsWith('.tmp')).length;
      const before = temporaries();
      const running = await startCli(['export', '--state', 'state.json', '-o', 'out.jsonl'], { cwd: directory() });
      // Until there is something to interrupt.
      while (temporaries() === before && running.child.exitCode === null) await sleep(1);
      await sleep(random() * 20);
      running.child.kill(n % 2 === 0 ? 'SIGKILL' : 'SIGINT');
      const { code } = await running.end;
      const text = readFileSync(path('out.jsonl'), 'utf8');
      if (text === 'before') kept += 1;
      else expect(text.trimEnd().split('\n')).to.have.length(20_002);
      if (code === 130) interrupted += 1;
      if (code === 130) expect(text).to.equal('before');
    }
    expect(kept, 'kept').to.be.at.least(3);
    expect(interrupted, 'interrupted').to.be.at.least(1);
    expect(readdirSync(directory()).filter((name) => name.endsWith('.tmp')).length, 'left by SIGKILL only').to.be.at.most(5);
  }).timeout(120_000);

  it('an export that nobody reads to its end ends quietly (130)', async () => {
    await source(20_000);
    const running = await startCli(['export', '--state', 'state.json'], { cwd: directory() });
    await running.shows('"loopstate":"export"');
    running.child.stdout?.destroy();
    expect(await running.end).to.include({ code: 130, stderr: '' });
  });

  it('always-starts: a cut or damaged export is refused (6) and changes nothing; --partial takes the rest of it, and says so', async () => {
    const text = await source(50);
    writeFileSync(path('cut.jsonl'), text.slice(0, text.lastIndexOf('{')));
    expect(await cli(['import', '--state', 'new.json', 'cut.jsonl'])).to.include({ code: 6, stdout: '' });
    expect(await cli(['import', '--state', 'new.json', '-'], { input: text.replace('"attempt":1', '"attempt":2') })).to.include({
      code: 6,
    });
    expect(await cli(['import', '--state', 'new.json', '-'], { input: text.replace('"format":1', '"format":2') })).to.include({ code: 6 });
    expect(readdirSync(directory()).filter((name) => name.startsWith('new.json'))).to.deep.equal([]);
    const { code, stdout, stderr } = await cli(['import', '--state', 'new.json', '--partial', 'cut.jsonl', '--json']);
    expect(code).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ imported: 50, isWhole: false });
    expect(stderr).to.include('not whole');
    expect(await exportAt(path('new.json'))).to.equal(text);
    const state = await cli(['import', '--state', 'new.json', 'state.json']);
    expect(state.code).to.equal(6);
    expect(state.stderr).to.include('loopstate copy');
    for (const bad of [['nothing.jsonl'], ['cut.jsonl', '--items', 'x'], ['cut.jsonl', '--format', 'csv'], []])
      expect((await cli(['import', '--state', 'new.json', ...bad])).code, bad.join()).to.equal(2);
  });

  it('the second older format is written so that older programs, the file backend and import read it', async () => {
    await source(200);
    const { stdout } = await cli(['export', '--state', 'state.json', '--format', 'v2']);
    const document = JSON.parse(stdout) as {
      results: { [id: string]: { status: string } };
      claims: object;
      totalUsd: number;
      version: number;
    };
    const { progress, items } = await withState(path('state.json'), (state) => state.snapshot());
    expect(Object.keys(document)).to.deep.equal(['version', 'results', 'claims', 'totalUsd']);
    expect(document).to.deep.include({ version: 2, claims: {}, totalUsd: progress.costUsd });
    const outcomes = [...items].filter(([, { status }]) => status === 'completed' || status === 'failed');
    expect(Object.keys(document.results)).to.have.members(outcomes.map(([id]) => id));
    for (const [id, { status, reason, cost }] of outcomes) {
      const expected = {
        status: status === 'completed' ? 'success' : 'error',
        ...(reason && { reason }),
        ...(cost === undefined ? {} : { cost }),
      };
      expect(document.results[id], id).to.deep.equal(expected);
    }
    writeFileSync(path('old.json'), stdout);
    expect((await cli(['import', '--state', 'sqlite:new.db', 'old.json'])).code).to.equal(0);
    for (const url of [`sqlite:${path('new.db')}`, path('old.json')]) {
      const { completed, failed, costUsd } = await withState(url, async (state) => state.progress);
      expect({ completed, failed, costUsd }, url).to.deep.equal({
        completed: progress.completed,
        failed: progress.failed,
        costUsd: progress.costUsd,
      });
    }
  });

  it('once-recorded: the arguments of a job log may come from a pipe', async () => {
    const fields = (n: number): string => `${n}\t:\t1\t1\t0\t0\t0\t0\techo ${n}\n`;
    writeFileSync(path('log'), `Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n${fields(1)}${fields(2)}`);
    const end = await cli(['import', '--state', 'new.json', '--partial', '--json', '--items', '/dev/stdin', 'log'], {
      under: ['sh', '-c', 'printf "a\\nb\\n" | "$@"', 'sh'],
    });
    expect(end.code, end.stderr).to.equal(0);
    expect(JSON.parse(end.stdout)).to.include({ imported: 2, leftOut: 0, isWhole: true });
  });

  it('once-recorded: the job log of GNU parallel goes on as a loop', async () => {
    const log = [
      'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand',
      '2\t:\t1795540391.329\t     0.006\t0\t0\t3\t0\tconvert b.wav',
      '1\t:\t1795540391.317\t     0.000\t0\t0\t0\t0\tconvert a.wav',
      '3\t:\t1795540391.350\t     0.015\t0\t0\t0\t9\tconvert c.wav',
    ];
    writeFileSync(path('log.tsv'), `${log.join('\n')}\n`);
    writeFileSync(path('items.txt'), 'a.wav\nb.wav\nc.wav\nd.wav\n');
    const imported = await cli(['import', '--state', 'state.json', '--items', 'items.txt', 'log.tsv']);
    expect(imported).to.include({ code: 0, stdout: 'state.json: 3 imported, 0 skipped, 0 replaced\n' });
    const run = await cli(['run', '--state', 'state.json', '--items', 'items.txt', '--quiet', '--', 'echo']);
    expect(run).to.include({ code: 1, stdout: 'd.wav\n' });
    await withState(path('state.json'), async (state) => {
      expect(await state.read('b.wav')).to.include({ status: 'failed', reason: 'exit 3' });
      expect(await state.read('c.wav')).to.include({ status: 'failed', reason: 'signal SIGKILL' });
    });
    expect((await cli(['import', '--state', 'commands.json', '-'], { input: `${log.join('\n')}\n` })).code).to.equal(0);
    await withState(path('commands.json'), async (state) => expect(await state.read('convert a.wav')).to.include({ status: 'completed' }));
  });

  it('what was spent before is imported once, and never over another amount', async () => {
    const old = (totalUsd: number) =>
      JSON.stringify({ version: 2, results: { a: { status: 'success', cost: { usd: 1 } } }, claims: {}, totalUsd });
    const costOf = async () => await withState(path('new.json'), async (state) => state.progress.costUsd);
    for (const _ of [1, 2]) expect((await cli(['import', '--state', 'new.json', '-'], { input: old(3) })).code).to.equal(0);
    expect(await costOf()).to.equal(3);
    expect((await cli(['import', '--state', 'new.json', '-'], { input: old(5) })).stderr).to.include('--replace');
    expect(await costOf()).to.equal(3);
    expect((await cli(['import', '--state', 'new.json', '--replace', '-'], { input: old(5) })).code).to.equal(0);
    expect(await costOf()).to.equal(5);
  });
}).timeout(300_000);
