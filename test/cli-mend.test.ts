/**
 * `loopstate retry`, `forget` and `release` mend a loop: each changes what it was told to and nothing else, says how much that was, beside
 * the running loop where the store is shared and not at all where a file is held.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState, type Progress } from 'loopstate';
import { type CliEnd, freshDirectories, type RunningCli, runCli, startCli } from './support/cli.js';
import { HOSTILE_IDS } from './support/hostile-ids.js';
import { type RedisServer, startRedis } from './support/redis-server.js';

describe('loopstate retry, forget and release', function () {
  this.timeout(60_000);
  const directory = freshDirectories();
  let redis: RedisServer | undefined;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.remove());
  const cli = (args: readonly string[], input: string | Buffer = '') => runCli(args, { cwd: directory(), input });

  let jobs = 0;
  const STORES: readonly (readonly [name: string, newUrl: () => string])[] = [
    ['file', () => join(directory(), 'state.json')],
    ['sqlite', () => `sqlite:${join(directory(), 'state.db')}?job=mend`],
    ['redis', () => `redis://127.0.0.1:${redis?.port}/0?job=mend-${++jobs}`],
  ];

  for (const [name, newUrl] of STORES) {
    it(`once-recorded: retry puts back what is named, all that failed or all that is quarantined, on ${name}`, async () => {
      const url = newUrl();
      await makeItems(url, { a: 'error', b: 'error', c: 'success', d: 'glitch' });
      expect(told(await cli(['retry', '--state', url, 'a', 'c']))).to.deep.equal([0, 2]);
      expect(await progressOf(url)).to.include({ completed: 0, failed: 1, outstanding: 3 });
      expect(told(await cli(['retry', '--state', url, 'a', 'b', 'd', 'unknown']))).to.deep.equal([1, 1]);
      expect(await progressOf(url)).to.include({ failed: 0, outstanding: 4 });
      await makeItems(url, { a: 'error', b: 'success' });
      expect(told(await cli(['retry', '--state', url, '--quarantined']))).to.deep.equal([0, 0]);
      expect(told(await cli(['retry', '--state', url, '--failed']))).to.deep.equal([0, 1]);
      expect(await progressOf(url)).to.include({ completed: 1, failed: 0, outstanding: 3 });
      const { stdout } = await cli(['show', '--state', url, '--json', 'a']);
      expect(JSON.parse(stdout)).to.include({ status: 'outstanding', attempt: 0, round: 3, lastError: 'no reason' });
    });

    it(`fenced: forget takes what is named or failed, and leaves what a live run holds, on ${name}`, async () => {
      const url = newUrl();
      await makeItems(url, { a: 'error', b: 'error', c: 'success', d: 'success' });
      expect(told(await cli(['forget', '--state', url, 'c', 'unknown']))).to.deep.equal([1, 1]);
      expect(told(await cli(['forget', '--state', url, '--failed']))).to.deep.equal([0, 2]);
      expect(await progressOf(url)).to.include({ completed: 1, failed: 0, outstanding: 0 });
      if (name === 'file') return;
      const run = await hold(url, 'held\n');
      expect(told(await cli(['forget', '--state', url, 'held', 'd']))).to.deep.equal([1, 1]);
      expect(await progressOf(url)).to.include({ completed: 0, inProgress: 1 });
      await end(run);
    });

    it(`acked-survives: what a quarantined or killed run left is put back and runs, on ${name}`, async () => {
      const url = newUrl();
      for (let crash = 0; crash < 3; crash++) await end(await hold(url, 'deadly\n'));
      // The next run finds the last one dead, and has nothing else to do.
      await cli(['run', '--state', url, '--', 'true'], 'other\n');
      expect(await progressOf(url)).to.include({ quarantined: 1, completed: 1 });
      expect((await cli(['list', '--state', url, '--quarantined', '--ids'])).stdout).to.equal('deadly\n');
      expect(told(await cli(['retry', '--state', url, '--quarantined']))).to.deep.equal([0, 1]);
      expect(await cli(['run', '--state', url, '--', 'echo'], 'deadly\n')).to.include({ code: 0, stdout: 'deadly\n' });
    });

    it(`value/exact: ids of every kind go through a pipe and come back, on ${name}`, async () => {
      const url = newUrl();
      await makeItems(url, Object.fromEntries([...HOSTILE_IDS, 'kept'].map((id) => [id, id === 'kept' ? 'success' : 'error'])));
      const { stdout } = await cli(['list', '--state', url, '--failed', '--ids', '--null']);
      const retried = await cli(['retry', '--state', url, '--null', '-'], stdout);
      expect([told(retried), retried.stderr]).to.deep.equal([[0, HOSTILE_IDS.length], '']);
      expect(await progressOf(url)).to.include({ completed: 1, failed: 0, outstanding: HOSTILE_IDS.length });
      const forgotten = await cli(['forget', '--state', url, '--', ...HOSTILE_IDS]);
      expect([told(forgotten), forgotten.stderr]).to.deep.equal([[0, HOSTILE_IDS.length], '']);
      expect(await progressOf(url)).to.include({ completed: 1, outstanding: 0 });
    });

    it(`fenced: release takes back what a run holds, by the beginning of its id, on ${name}`, async () => {
      const url = newUrl();
      const run = await hold(url, 'a\nb\nc\n', '-j', '3');
      const runId = await runIdOf(url);
      // A file is changed only while no loop holds it; and one that lives would claim them again at once.
      await end(run);
      expect(await cli(['release', '--state', url, 'no-such-run'])).to.include({ code: 1, stdout: '' });
      const released = await cli(['release', '--state', url, runId.slice(0, 6)]);
      expect([told(released), released.stderr]).to.deep.equal([[0, 3], '']);
      expect(released.stdout).to.include(runId).and.to.include(`pid ${run.child.pid}`);
      expect(await progressOf(url)).to.include({ inProgress: 0, outstanding: 3 });
      expect(await cli(['release', '--state', url, '-'], `${runId}\n`)).to.include({ code: 1, stdout: '' });
    });
  }

  it('fenced: a run that was released while it lives records nothing of what it held', async () => {
    const url = `sqlite:${join(directory(), 'state.db')}?job=mend`;
    const script = 'echo begun; echo begun >> begun; until [ -e go ]; do sleep 0.05; done';
    const run = await startCli(['run', '--state', url, '--', 'sh', '-c', script], { cwd: directory(), input: 'a\n' });
    await run.shows('begun');
    expect(told(await cli(['release', '--state', url, await runIdOf(url)]))).to.deep.equal([0, 1]);
    writeFileSync(join(directory(), 'go'), '');
    // It goes on under another id, finds the item free, and runs it again.
    expect((await run.end).code).to.equal(0);
    expect(await progressOf(url)).to.include({ completed: 1, outstanding: 0, inProgress: 0 });
    expect(readFileSync(join(directory(), 'begun'), 'utf8')).to.equal('begun\nbegun\n');
    const { stdout } = await cli(['show', '--state', url, '--json', 'a']);
    expect(JSON.parse(stdout)).to.not.have.property('crashes');
  });

  it('2: a beginning that fits several runs releases none of them', async () => {
    const url = `sqlite:${join(directory(), 'state.db')}?job=mend`;
    const runs: RunningCli[] = [];
    // Ids are hexadecimal: of 17 runs two begin alike, mostly of far fewer.
    for (let starts = new Set<string>(); runs.length === starts.size; ) {
      runs.push(await hold(url, `item-${runs.length}\n`));
      starts = new Set((await runIdsOf(url)).map((runId) => runId.slice(0, 1)));
    }
    const ids = (await runIdsOf(url)).map((runId) => runId.slice(0, 1));
    const shared = ids.find((start, index) => ids.indexOf(start) !== index) ?? '';
    expect(await cli(['release', '--state', url, shared])).to.include({ code: 2, stdout: '' });
    expect(await progressOf(url)).to.include({ inProgress: runs.length });
    for (const run of runs) await end(run);
  });

  it('5: a file that a running loop holds is left as it is, and who holds it is said', async () => {
    const url = join(directory(), 'state.json');
    const run = await hold(url, 'a\n');
    for (const args of [
      ['retry', '--failed'],
      ['retry', 'a'],
      ['forget', 'a'],
      ['release', await runIdOf(url)],
    ]) {
      const refused = await cli([...args, '--state', url]);
      expect(refused, args.join(' ')).to.include({ code: 5, stdout: '' });
      expect(refused.stderr).to.include(`process ${run.child.pid} on `);
    }
    expect(await progressOf(url)).to.include({ inProgress: 1 });
    await end(run);
  });

  it('2: wrong usage; 6: there is no such state; and nothing is made or changed', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'error' });
    const wrong: [args: string[], input?: string | Buffer][] = [
      [['retry']],
      [['retry', '--failed', 'a']],
      [['retry', '--null', 'a']],
      [['retry', '--completed']],
      [['retry', '']],
      [['retry', 'x'.repeat(1_025)]],
      [['forget']],
      [['forget', '--failed', '-']],
      [['release']],
      [['release', '']],
      [['retry', '-'], Buffer.from([0x61, 0xff, 0x0a])],
      [['retry', '-'], `${'x'.repeat(5_000)}`],
      [['retry', '--null', '-'], `${'x'.repeat(5_000)}`],
      [['retry', '--null', '-'], Buffer.from([0xff, 0x00])],
    ];
    for (const [[command = '', ...args], input] of wrong) {
      const refused = await cli([command, '--state', url, ...args], input);
      expect(refused, `${command} ${args.join(' ')}`).to.include({ code: 2 });
      expect(refused.stderr).to.not.match(/^ +at /m);
    }
    expect(await progressOf(url)).to.include({ failed: 1, outstanding: 0 });
    const before = readdirSync(directory());
    for (const state of ['missing.json', 'missing/state.json', 'sqlite:missing.db', `redis://127.0.0.1:${redis?.port}/0?job=missing`]) {
      for (const args of [
        ['retry', '--failed'],
        ['forget', 'a'],
        ['release', 'a'],
      ])
        expect(await cli([...args, '--state', state]), `${args.join(' ')} ${state}`).to.include({ code: 6, stdout: '' });
    }
    expect(readdirSync(directory())).to.deep.equal(before);
  });

  it('0: nothing that is of the kind, and nothing on standard input, is nothing to do', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'success' });
    expect(told(await cli(['retry', '--state', url, '--failed']))).to.deep.equal([0, 0]);
    expect(told(await cli(['forget', '--state', url, '-'], ''))).to.deep.equal([0, 0]);
    expect(await cli(['release', '--state', url, '-'], '\n\n')).to.include({ code: 0, stdout: '' });
    expect(told(await cli(['retry', '--state', url, '-'], 'a\r\n\na\n'))).to.deep.equal([0, 1]);
  });

  it('always-starts: a damaged file is repaired, told of, and mended', async () => {
    const url = join(directory(), 'state.json');
    await makeItems(url, { a: 'error' });
    writeFileSync(url, '');
    const retried = await cli(['retry', '--state', url, '--failed']);
    expect(told(retried)).to.deep.equal([0, 1]);
    expect(retried.stderr).to.match(/^recovery: /m);
  });

  it('once-recorded: 3,000 items are put back through a pipe, beside a loop that goes on with them', async () => {
    const url = `sqlite:${join(directory(), 'state.db')}?job=mend`;
    const state = await LoopState.open(url);
    const ids = Array.from({ length: 3_000 }, (_, n) => `item-${n}`);
    for (let from = 0; from < ids.length; from += 500) {
      await Promise.all(
        ids.slice(from, from + 500).map(async (id) => {
          await state.begin(id);
          await state.end(id, { status: 'error' });
        }),
      );
    }
    await state.close();
    const run = await hold(url, 'other\n');
    const { stdout } = await cli(['list', '--state', url, '--failed', '--ids']);
    expect(told(await cli(['retry', '--state', url, '-'], stdout))).to.deep.equal([0, 3_000]);
    expect(await progressOf(url)).to.include({ failed: 0, outstanding: 3_000, inProgress: 1 });
    await end(run);
  });

  /** The exit code, and to how many items it was done, as it says. */
  function told({ code, stdout }: CliEnd): [code: number | null, count: number] {
    return [code, Number(/: ([\d,]+) items? /.exec(stdout)?.[1]?.replaceAll(',', ''))];
  }

  async function progressOf(url: string): Promise<Progress> {
    return ((await statusOf(url)) as { progress: Progress }).progress;
  }

  async function runIdsOf(url: string): Promise<string[]> {
    return ((await statusOf(url)) as { runs: { runId: string }[] }).runs.map(({ runId }) => runId);
  }

  async function runIdOf(url: string): Promise<string> {
    const runIds = await runIdsOf(url);
    expect(runIds).to.have.lengthOf(1);
    return runIds[0] ?? '';
  }

  async function statusOf(url: string): Promise<unknown> {
    return JSON.parse((await cli(['status', '--state', url, '--json'])).stdout);
  }

  async function makeItems(url: string, results: Readonly<Record<string, 'success' | 'error' | 'glitch'>>): Promise<void> {
    const state = await LoopState.open(url);
    for (const [id, status] of Object.entries(results)) {
      await state.begin(id);
      await state.end(id, { status, reason: 'no reason' });
    }
    await state.close();
  }

  /** Starts a loop whose commands do not end by themselves, and waits until they have begun. */
  async function hold(url: string, input: string, ...options: string[]): Promise<RunningCli> {
    const run = await startCli(['run', '--state', url, ...options, '--', 'sh', '-c', 'echo begun; exec sleep 30'], {
      cwd: directory(),
      input,
    });
    await run.shows('begun\n'.repeat(input.split('\n').length - 1));
    return run;
  }

  async function end({ child }: RunningCli): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
