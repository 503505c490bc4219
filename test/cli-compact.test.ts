/**
 * `loopstate compact` gives back room and loses nothing: on files and databases, beside a loop not at all, and however often it is killed.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { prove } from '@loopstate/conformance';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories, runCli, startCli } from './support/cli.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';

/** How often a compaction is killed, on each store. */
const ROUNDS = 7;

describe('loopstate compact', function () {
  this.timeout(120_000);
  const directory = freshDirectories();
  const cli = (...args: string[]) => runCli(args, { cwd: directory() });

  it('acked-survives: a file that a killed loop left is whole by itself then, and takes less room', async () => {
    await killLoopAfter('state.json', 400);
    const { code, stdout, stderr } = await cli('compact', '--state', 'state.json');
    expect([code, stderr]).to.deep.equal([0, '']);
    const [before = 0, after = 0] = bytesIn(stdout);
    expect(after).to.be.below(before).and.above(0);
    const known = await idsOf('state.json');
    expect(known.length).to.be.at.least(400);
    for (const name of readdirSync(directory())) {
      if (name === 'state.json') writeFileSync(join(directory(), 'alone.json'), readFileSync(join(directory(), name)));
    }
    expect(await idsOf('alone.json')).to.deep.equal(known);
  });

  it('acked-survives: a database gives back what was forgotten, and has a copy of all', async () => {
    const url = 'sqlite:./state.db';
    await makeItems(join(directory(), 'state.db'), 400);
    await cli('forget', '--state', url, ...Array.from({ length: 390 }, (_, n) => `item-${n}`));
    const { code, stdout, stderr } = await cli('compact', '--state', url);
    expect([code, stderr]).to.deep.equal([0, '']);
    const [before = 0, after = 0] = bytesIn(stdout);
    expect(after)
      .to.equal(statSync(join(directory(), 'state.db')).size)
      .and.to.be.below(before);
    expect(await idsOf(url)).to.have.lengthOf(10);
    writeFileSync(join(directory(), 'state.db'), '');
    expect(await cli('run', '--state', url, '--', 'true')).to.include({ code: 0 });
    expect(await idsOf(url)).to.have.lengthOf(10);
  });

  for (const url of ['./state.json', 'sqlite:./state.db']) {
    it(`5: beside a loop it is refused and changes nothing, on ${url}`, async () => {
      const run = await startCli(['run', '--state', url, '--', 'sh', '-c', 'echo begun; exec sleep 30'], {
        cwd: directory(),
        input: 'a\n',
      });
      await run.shows('begun');
      expect(await cli('compact', '--state', url)).to.include({ code: 5, stdout: '' });
      expect(await idsOf(url)).to.deep.equal(['a']);
      run.child.kill('SIGKILL');
      await once(run.child, 'exit');
      expect(await cli('compact', '--state', url)).to.include({ code: 0 });
      expect(await idsOf(url)).to.deep.equal(['a']);
    });
  }

  it('0: in Redis and in memory there is nothing to do, and nothing is asked; no password is shown', async () => {
    const wrong = ['redis:someone:secret@127.0.0.1?job=x', 'redis://someone:secret/2@127.0.0.1/0', 'redis://someone:secret?2@127.0.0.1/0'];
    for (const url of ['memory:', 'redis://someone:secret@127.0.0.1:1/0?job=x', ...wrong]) {
      const { code, stdout, stderr } = await cli('compact', '--state', url);
      expect([code, stderr]).to.deep.equal([0, '']);
      expect(stdout)
        .to.match(/nothing to compact/)
        .and.to.not.include('secret');
    }
  });

  it('2: wrong usage; 6: there is no such state, or it is foreign, and nothing is made', async () => {
    writeFileSync(join(directory(), 'foreign.json'), '{"mine": true}');
    expect(await cli('compact')).to.include({ code: 2, stdout: '' });
    expect(await cli('compact', '--state', 'gopher:x')).to.include({ code: 2, stdout: '' });
    for (const url of ['missing.json', 'sqlite:missing.db', 'foreign.json', 'sqlite:foreign.json']) {
      expect(await cli('compact', '--state', url), url).to.include({ code: 6, stdout: '' });
    }
    expect(readdirSync(directory())).to.deep.equal(['foreign.json']);
  });

  for (const url of ['./state.json', 'sqlite:./state.db']) {
    it(`acked-survives: whenever it is killed, all items are there (seeded), on ${url}`, async () => {
      const seed = seedFromEnvironment();
      console.log(`      LOOPSTATE_SEED=${seed}`);
      const random = seeded(seed);
      await makeItems(join(directory(), url.replace('sqlite:', '')), 2_000);
      const known = await idsOf(url);
      let kills = 0;
      let states = 0;
      for (; states < ROUNDS; states++) {
        const { child, end } = await startCli(['compact', '--state', url], { cwd: directory() });
        await sleep(50 + random() * 300);
        if (child.kill('SIGKILL')) kills += 1;
        await end;
        expect(await idsOf(url)).to.deep.equal(known);
      }
      expect(await cli('compact', '--state', url)).to.include({ code: 0, stderr: '' });
      expect(await idsOf(url)).to.deep.equal(known);
      prove({
        test: 'C1 killed compactions',
        backend: url.startsWith('sqlite') ? 'sqlite' : 'file',
        counts: { kills, states },
        least: { states: ROUNDS },
      });
    });
  }

  function bytesIn(text: string): number[] {
    return [...text.matchAll(/([\d,]+) bytes/g)].map(([, digits = '']) => Number(digits.replaceAll(',', '')));
  }

  async function idsOf(url: string): Promise<string[]> {
    const { code, stdout } = await cli('list', '--state', url, '--ids');
    expect(code).to.equal(0);
    return stdout.split('\n').slice(0, -1).sort();
  }

  async function makeItems(path: string, count: number): Promise<void> {
    const state = await LoopState.open(path.endsWith('.db') ? `sqlite:${path}` : { path });
    const ids = Array.from({ length: count }, (_, n) => `item-${n}`);
    await Promise.all(
      ids.map(async (id) => {
        await state.begin(id);
        await state.end(id, { status: 'success', output: 'x'.repeat(300) });
      }),
    );
    await state.close();
  }

  async function killLoopAfter(url: string, items: number): Promise<void> {
    const lines = Array.from({ length: 10_000 }, (_, n) => `item-${n}\n`).join('');
    const run = await startCli(['run', '--state', url, '-j', '4', '--', 'echo'], { cwd: directory(), input: lines });
    await run.shows(`item-${items + 10}\n`);
    run.child.kill('SIGKILL');
    await run.end;
  }
});
