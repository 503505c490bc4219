/**
 * Proves that the command shares its work by URL: two of them on one SQLite database run each item once, and `status` tells of both.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { startCli } from './support/cli.js';

describe('loopstate run, shared', () => {
  let cwd = '';
  beforeEach(() => {
    cwd = mkdtempSync(join(tmpdir(), 'loopstate-shared-'));
  });
  afterEach(() => rmSync(cwd, { recursive: true, force: true }));

  it('shares the items between two commands; LOOPSTATE_URL stands in for --state', async () => {
    const ids = Array.from({ length: 60 }, (_, n) => `item-${n}`);
    writeFileSync(join(cwd, 'items'), `${ids.join('\n')}\n`);
    const env = { LOOPSTATE_URL: 'sqlite:./state.db?job=shared' };
    const run = ['run', '--items', 'items', '-j', '2', '--', 'sh', '-c', 'sleep 0.05; echo "$0" >> done'];
    const both = await Promise.all([startCli(run, { cwd, env }), startCli(run, { cwd, env })]);
    const ends = await Promise.all(both.map(({ end }) => end));
    expect(ends.map(({ code, stderr }) => [code, code === 0 ? '' : stderr])).to.deep.equal([
      [0, ''],
      [0, ''],
    ]);
    expect(readFileSync(join(cwd, 'done'), 'utf8').trim().split('\n').sort()).to.deep.equal([...ids].sort());
    const status = await (await startCli(['status', '--json'], { cwd, env })).end;
    expect(JSON.parse(status.stdout)).to.have.nested.property('progress.completed', 60);
  }).timeout(60_000);

  it('status tells what each of several runs holds, and since when', async () => {
    const ids = Array.from({ length: 8 }, (_, n) => `item-${n}`).join('\n');
    const env = { LOOPSTATE_URL: 'sqlite:./state.db?job=shared' };
    const run = ['run', '-j', '4', '--', 'sh', '-c', 'echo begun; sleep 20'];
    const both = [await startCli(run, { cwd, env, input: ids }), await startCli(run, { cwd, env, input: ids })];
    await Promise.all(both.map((each) => each.shows('begun\nbegun\nbegun\nbegun')));
    const { stdout } = await (await startCli(['status', '--json'], { cwd, env })).end;
    const { runs } = JSON.parse(stdout) as { runs: { pid: number; holds: number; held: { id: string; since: string }[] }[] };
    expect(runs.map(({ pid }) => pid).sort()).to.deep.equal(both.map(({ child }) => child.pid).sort());
    expect(runs.map(({ holds }) => holds)).to.deep.equal([4, 4]);
    expect(
      runs
        .flatMap(({ held }) => held)
        .map(({ id }) => id)
        .sort(),
    ).to.deep.equal(ids.split('\n'));
    const text = await (await startCli(['status'], { cwd, env })).end;
    expect(text.stdout.match(/^run /gm)).to.have.length(2);
    expect(text.stdout.match(/\(attempt 1\), since \d{4}-/g)).to.have.length(6);
    expect(text.stdout.match(/ and 1 more/g)).to.have.length(2);
    for (const { child } of both) child.kill('SIGKILL');
    await Promise.all(both.map(({ end }) => end));
  }).timeout(60_000);

  it('ends with 6 within the connect deadline when there is no Redis', async () => {
    const url = 'redis://someone:secret@127.0.0.1:1/0?job=x';
    const { end } = await startCli(['run', '--state', url, '--', 'true'], { cwd, input: 'a\n' });
    const { code, stderr, stdout } = await end;
    expect(code).to.equal(6);
    expect(stdout + stderr).to.not.contain('secret');
  }).timeout(30_000);
});
