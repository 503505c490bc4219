/**
 * `loopstate copy` moves a loop between all places and loses nothing of it: from file to SQLite to Redis to file, whole and in order, and also
 * when it is killed at random moments (from a seed) and run again. What it must not touch, it doesn't. Every claim of equality is checked by
 * the text of an export.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { prove } from '@loopstate/conformance';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories, runCli, startCli } from './support/cli.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { askRedis } from './support/resp.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';
import { countAt, exportAt, kindsAt, makeVariedLoop, variedEntries } from './support/varied-loop.js';

const ITEMS = 50_000;
const ITEMS_WHEN_KILLED = 2_000;
const KILLS_PER_LEG = 4;

describe('loopstate copy', () => {
  const directory = freshDirectories();
  const cli = (args: readonly string[]) => runCli(args, { cwd: directory() });
  const exportOf = async (state: string): Promise<string> => {
    const { code, stdout, stderr } = await cli(['export', '--state', state]);
    expect(code, stderr).to.equal(0);
    return stdout;
  };
  let server: RedisServer;
  let jobs = 0;
  const seed = seedFromEnvironment();
  before(async function () {
    this.timeout(120_000);
    console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
    server = await startRedis();
  });
  after(() => server.remove());
  const places = {
    file: () => `./state-${++jobs}.json`,
    sqlite: () => `sqlite:./state-${++jobs}.db?job=copy`,
    redis: () => `redis://127.0.0.1:${server.port}/0?job=copy-${++jobs}`,
  };
  type Kind = keyof typeof places;
  /** As this process, which has another directory, would name it. */
  const here = (place: string): string => place.replace(/^(sqlite:)?\.\//, (_, scheme = '') => `${scheme}${directory()}/`);

  it('says nothing to programs that a terminal would obey, nor do import and doctor', async () => {
    const hostile = '\u009b31m \u202e';
    const state = `./${hostile}.json`;
    await runCli(['run', '--state', state, '--quiet', '--', 'true'], { cwd: directory(), input: `${hostile}\n` });
    await runCli(['export', '--state', state, '-o', 'items.jsonl'], { cwd: directory() });
    await runCli(['run', '--state', 'other.json', '--quiet', '--', 'true'], { cwd: directory(), input: 'x\n' });
    for (const args of [
      ['copy', '--verify-only', '--json', state, 'other.json'],
      ['doctor', '--json', '--state', state],
      ['import', '--json', '--state', state, 'items.jsonl'],
    ]) {
      const { stdout } = await cli(args);
      expect(stdout, args[0]).to.not.match(/[\u009b\u202e]/);
      expect(JSON.stringify(JSON.parse(stdout)), args[0]).to.include(hostile);
    }
  });

  it(`acked-survives, once-recorded: ${ITEMS.toLocaleString('en')} items of all kinds, from file to SQLite to Redis to file, are equal and in order`, async () => {
    const source = places.file();
    await makeVariedLoop(here(source), ITEMS, seed);
    expect((await kindsAt(here(source))).size, 'kinds').to.be.at.least(11);
    const text = await exportOf(source);
    let from = source;
    for (const kind of ['sqlite', 'redis', 'file'] as const) {
      const to = places[kind]();
      const beganMs = performance.now();
      const { code, stdout, stderr } = await cli(['copy', from, to, '--json']);
      expect(code, stderr).to.equal(0);
      console.log(`      to ${kind}: ${((performance.now() - beganMs) / 1_000).toFixed(1)} s`);
      expect(JSON.parse(stdout)).to.include({
        isEqual: true,
        copied: ITEMS,
        present: 0,
        equal: ITEMS,
        inProgress: from === source ? 25 : 0,
      });
      expect((await exportOf(to)) === text, `the export of ${kind} is that of the source`).to.equal(true);
      from = to;
    }
    expect(await kindsAt(here(from)).then((kinds) => [...kinds].filter((kind) => kind.startsWith('claimed')))).to.deep.equal([]);
    prove({ test: 'M1 copies', backend: 'all', counts: { cases: 3 * ITEMS }, least: { cases: 3 * ITEMS } });
  }).timeout(600_000);

  for (const [from, to] of [
    ['file', 'sqlite'],
    ['sqlite', 'redis'],
    ['redis', 'file'],
  ] as const satisfies (readonly [Kind, Kind])[]) {
    it(`acked-survives: from ${from} to ${to}, killed ${KILLS_PER_LEG} times at random moments and run again, it ends equal`, async () => {
      const random = seeded(seed + to.length);
      const source = places[from]();
      await makeVariedLoop(here(source), ITEMS_WHEN_KILLED, seed);
      const text = await exportAt(here(source));
      /** Runs a copy, and kills it so many ms after it began; resolves to its exit code, and to how long it copied. */
      const copy = async (target: string, killAfterMs?: number): Promise<{ code: number | null; copyMs: number }> => {
        const running = await startCli(['copy', source, target], { cwd: directory() });
        await running.shows('copying ');
        const beganMs = performance.now();
        if (killAfterMs !== undefined) void sleep(killAfterMs).then(() => running.child.kill('SIGKILL'));
        await running.shows('comparing ').catch(() => undefined);
        const copyMs = performance.now() - beganMs;
        return { code: (await running.end).code, copyMs };
      };
      const { copyMs } = await copy(places[to]());
      let [kills, partial] = [0, 0];
      while (kills < KILLS_PER_LEG || (partial === 0 && kills < 5 * KILLS_PER_LEG)) {
        const target = places[to]();
        let code: number | null = null;
        for (let tries = 0; tries < 3 && code === null; tries++) {
          ({ code } = await copy(target, random() * copyMs));
          if (code === null) kills += 1;
          const count = await countAt(here(target));
          if (code === null && count > 0 && count < ITEMS_WHEN_KILLED) partial += 1;
        }
        expect(code ?? (await copy(target)).code).to.equal(0);
        expect((await exportAt(here(target))) === text, 'the export is that of the source').to.equal(true);
      }
      prove({ test: 'M2 killed copies', backend: to, counts: { kills, states: partial }, least: { kills: KILLS_PER_LEG, states: 1 } });
    }).timeout(600_000);
  }

  for (const kind of ['file', 'sqlite', 'redis'] as const) {
    describe(`to ${kind}`, () => {
      let [source, target] = ['', ''];
      beforeEach(async () => {
        [source, target] = [places.file(), places[kind]()];
        await makeVariedLoop(here(source), 60, seed);
      });

      it('once-recorded: a target that holds anything else is refused (2) and stays; one that holds a part of it is completed', async () => {
        const state = await LoopState.open(here(target));
        await state.putItems([{ id: '__proto__', item: { status: 'completed', attempt: 1, output: 'not that' } }], () => true);
        await state.close();
        const before = await exportOf(target);
        expect(await cli(['copy', source, target])).to.include({ code: 2, stdout: '' });
        expect(await exportOf(target)).to.equal(before);
        expect((await cli(['reset', '--state', target, '--yes'])).code).to.equal(0);
        expect((await cli(['copy', source, target])).code).to.equal(0);
        expect(JSON.parse((await cli(['copy', source, target, '--json'])).stdout)).to.include({ copied: 0, present: 60, isEqual: true });
        const other = await LoopState.open(here(target));
        await other.putItems([{ id: 'one more', item: { status: 'outstanding', attempt: 0 } }], () => true);
        await other.close();
        expect((await cli(['copy', source, target])).code).to.equal(2);
      });

      it('fenced: a target on which a run is alive is refused (5), and the run goes on', async () => {
        const state = await LoopState.open(here(target));
        const claim = await state.claim('mine');
        expect((await cli(['copy', source, target])).code).to.equal(5);
        expect(await claim?.end({ status: 'success' })).to.equal('completed');
        await state.close();
        expect((await exportOf(target)).split('\n')[1]).to.equal('{"id":"mine","status":"completed","attempt":1}');
      });

      it('what differs is found by --verify-only: missing, different, one too many, and costs from before (1)', async () => {
        await cli(['copy', source, target]);
        const state = await LoopState.open(here(target));
        const verify = async () => {
          const { code, stdout } = await cli(['copy', source, target, '--verify-only', '--json']);
          return { code, ...(JSON.parse(stdout) as object) };
        };
        await state.close();
        const change = async (by: (state: LoopState) => Promise<unknown>) => {
          const opened = await LoopState.open(here(target));
          await by(opened);
          await opened.close();
        };
        expect(await verify()).to.include({ code: 0, isEqual: true, equal: 60 });
        await change((opened) => opened.forget(['__proto__', '日本語 😀']));
        expect(await verify()).to.include({ code: 1, isEqual: false, equal: 58, missing: 2, different: 0, extra: 0 });
        await change((opened) => opened.retry(['constructor']));
        await change((opened) => opened.putItems([{ id: 'new\u001b', item: { status: 'completed', attempt: 1 } }], () => true));
        expect(await verify()).to.include({ code: 1, equal: 57, missing: 2, different: 1, extra: 1, isCarriedUsdEqual: true });
        await change((opened) => opened.putCarriedUsd(0));
        expect(await verify()).to.include({ code: 1, isCarriedUsdEqual: false });
        const { stdout } = await cli(['copy', source, target, '--verify-only']);
        expect(stdout).to.include('NOT equal').and.to.include('new\\e').and.to.not.include('\u001b');
      });
    });
  }

  it('always-starts: what is not there is not copied (6), and nothing is made of it; a loop copied onto itself is equal', async () => {
    expect((await cli(['copy', './nothing.json', './new.json'])).code).to.equal(6);
    expect((await cli(['copy', './nothing.json', './new.json', '--verify-only'])).code).to.equal(6);
    expect(await countAt(join(directory(), 'new.json'))).to.equal(0);
    expect((await cli(['export', '--state', './new.json'])).code).to.equal(6);
    const source = places.file();
    await makeVariedLoop(here(source), 60, seed);
    const copied = places.file();
    expect((await cli(['copy', source, copied])).code).to.equal(0);
    expect((await cli(['copy', copied, copied])).code).to.equal(0);
    expect(await exportOf(copied)).to.equal(await exportOf(source));
    // What is in memory ends with the command.
    for (const target of ['nonsense:x', 'memory:']) expect(await cli(['copy', source, target])).to.include({ code: 2, stdout: '' });
  });

  it('acked-survives: items stay in order on a server that has forgotten its scripts', async () => {
    const state = await LoopState.open(places.redis());
    const entries = variedEntries(2_000, seed).map(({ id }) => ({ id, item: { status: 'completed', attempt: 1 } as const }));
    await state.putCarriedUsd(1);
    await askRedis(server.port, 'SCRIPT', 'FLUSH');
    await state.putItems(entries, () => true);
    const found: string[] = [];
    for await (const [id] of state.items()) found.push(id);
    await state.close();
    expect(found).to.deep.equal(entries.map(({ id }) => id));
  });

  it('one-item: a signal stops it after what is in flight (130), and it can be run again', async () => {
    const source = places.file();
    await makeVariedLoop(here(source), ITEMS_WHEN_KILLED, seed);
    const target = places.redis();
    const running = await startCli(['copy', source, target], { cwd: directory() });
    await running.shows('copying ');
    running.child.kill('SIGINT');
    expect((await running.end).code).to.equal(130);
    expect((await cli(['copy', source, target])).code).to.equal(0);
    expect((await exportOf(target)) === (await exportOf(source))).to.equal(true);
  });
}).timeout(600_000);
