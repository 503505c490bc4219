/**
 * `loopstate status` shows a state without touching it, and `loopstate reset` starts a loop anew without losing what it forgets.
 */
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { keepCopy } from '../packages/loopstate/src/cli/state-copy.js';
import { freshDirectories, runCli } from './support/cli.js';

const STATE = ['--state', 'state.json'];

describe('loopstate status and reset', () => {
  const directory = freshDirectories();
  const cli = (args: readonly string[], input = '') => runCli(args, { cwd: directory(), input });

  beforeEach(async () => {
    const state = await LoopState.open({ path: join(directory(), 'state.json') });
    for (const [id, status] of [
      ['a', 'success'],
      ['b', 'success'],
      ['c', 'error'],
      ['d', 'glitch'],
    ] as const) {
      await state.begin(id);
      await state.end(id, { status, reason: 'no reason', cost: { usd: 0.125 } });
    }
    await state.close();
  });

  it('status counts, and changes nothing', async () => {
    const before = files(directory());
    const { code, stdout } = await cli(['status', ...STATE]);
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^completed +2$/m)
      .and.to.match(/^failed +1$/m)
      .and.to.match(/^outstanding +1 \(1 glitched\)$/m);
    expect(stdout).to.match(/^cost +\$0\.50$/m);
    expect(files(directory())).to.deep.equal(before);
  });

  it('status --json says the same to programs', async () => {
    const status = JSON.parse((await cli(['status', ...STATE, '--json'])).stdout) as { [name: string]: object };
    expect(status.progress).to.include({ completed: 2, failed: 1, glitched: 1, outstanding: 1, inProgress: 0, costUsd: 0.5 });
    expect(status.runs).to.deep.equal([]);
    expect(status.recovery).to.deep.equal([]);
  });

  it('status tells how many outcomes came lately, and what was claimed first', async () => {
    const state = await LoopState.open({ path: join(directory(), 'state.json') });
    await state.begin('first\u001b[2J');
    await state.begin('second');
    const json = JSON.parse((await cli(['status', ...STATE, '--json'])).stdout) as { [name: string]: object };
    expect(json.rate).to.deep.equal({ lastMinute: 3, lastHour: 3 });
    expect(json.oldestClaim).to.include({ id: 'first\u001b[2J', attempt: 1, run: state.runId });
    const text = (await cli(['status', ...STATE])).stdout;
    expect(text)
      .to.match(/^rate +3 outcomes in the last minute, 3 in the last hour$/m)
      .and.to.match(/^oldest claim +first\\e\[2J, since /m);
    expect(text).to.match(/^run +[0-9a-f]{16}, pid \d+ on .+, alive, .+, holds 2$/m);
    await state.close();
  });

  it('status --check ends with 1 while an item that is known failed, waits or is held, and with 0 after', async () => {
    const state = await LoopState.open({ path: join(directory(), 'state.json') });
    const check = async () => (await cli(['status', ...STATE, '--check'])).code;
    expect(await check()).to.equal(1);
    await state.forget(['d']);
    expect(await check(), 'failed').to.equal(1);
    await state.retry(['c']);
    expect(await check(), 'outstanding').to.equal(1);
    await state.begin('c');
    expect(await check(), 'in progress').to.equal(1);
    await state.end('c', { status: 'success' });
    const { code, stdout } = await cli(['status', ...STATE, '--check', '--json']);
    expect([code, (JSON.parse(stdout) as { oldestClaim: unknown }).oldestClaim]).to.deep.equal([0, null]);
    await state.close();
    expect((await cli(['status', '--state', 'missing.json', '--check'])).code).to.equal(6);
  });

  it('status reports damage that it sees, and leaves it', async () => {
    const whole = readFileSync(join(directory(), 'state.json'));
    writeFileSync(join(directory(), 'state.json'), whole.subarray(0, whole.length / 2));
    const before = files(directory());
    const { code, stdout } = await cli(['status', ...STATE]);
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^completed +2$/m)
      .and.to.match(/^recovery: /m);
    expect(files(directory())).to.deep.equal(before);
  });

  it('reset forgets everything and keeps a copy that is a state itself', async () => {
    const end = await cli(['reset', ...STATE, '--yes']);
    expect(end.code).to.equal(0);
    expect(end.stdout).to.include('4 items forgotten');
    expect((await cli(['status', ...STATE])).stdout).to.match(/^completed +0$/m);
    const copy = readdirSync(directory()).find((name) => name.startsWith('state.json.reset-'));
    expect(end.stdout).to.include(copy);
    expect((await cli(['status', '--state', `./${copy}`])).stdout).to.match(/^completed +2$/m);
    expect(await cli(['run', ...STATE, '--', 'echo'], 'a\n')).to.include({ code: 0, stdout: 'a\n' });
  });

  it('reset keeps a copy each time, also twice within a second', async () => {
    const target = join(directory(), 'state.json');
    const copies = [await keepCopy(target, new Date(1_700_000_000_001)), await keepCopy(target, new Date(1_700_000_000_002))];
    for (const copy of copies) expect(readFileSync(copy ?? '')).to.deep.equal(readFileSync(target));
    expect(new Set(copies).size).to.equal(2);
  });

  it('reset keeps what a killed run left in its journal', async () => {
    const state = await LoopState.open({ path: join(directory(), 'open.json') });
    await (await state.claim('a'))?.end({ status: 'success' });
    // The files of an open state are what a SIGKILL leaves of it.
    for (const name of readdirSync(directory()).filter((file) => file.startsWith('open.json')))
      copyFileSync(join(directory(), name), join(directory(), name.replace('open', 'killed')));
    await state.close();
    const copy = await keepCopy(join(directory(), 'killed.json'), new Date());
    const kept = await LoopState.open({ path: copy ?? '' }, { access: 'read' });
    expect(kept.progress.completed).to.equal(1);
    await kept.close();
  });

  it('reset asks before it does anything, and without a terminal to ask at needs --yes (2)', async () => {
    const before = files(directory());
    expect(await cli(['reset', ...STATE], 'y\n')).to.include({ code: 2, stdout: '' });
    expect(files(directory())['state.json']).to.equal(before['state.json']);
  });
});

/** The files of a directory, with their content. */
function files(directory: string): { [name: string]: string } {
  return Object.fromEntries(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'latin1')]));
}
