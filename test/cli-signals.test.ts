/**
 * However `loopstate run` is made to end, what was finished is recorded, what was not is run again, and no child is left behind.
 * Each test interrupts the real command in one way, then runs it again and looks at what was done twice.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories, runCli, startCli } from './support/cli.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';

const STATE = ['--state', './state.json'];

describe('loopstate run, interrupted', () => {
  const directory = freshDirectories();
  const start = (args: readonly string[], input: string) => startCli(['run', ...STATE, ...args], { cwd: directory(), input });
  const run = async (args: readonly string[], input: string) => (await start(args, input)).end;
  const lines = (name: string): string[] => readFileSync(join(directory(), name), 'utf8').trimEnd().split('\n');

  it('finishes what runs after the first Ctrl-C, and begins nothing more (130)', async () => {
    const slow = await start(['--', 'sh', '-c', 'echo begun $1; sleep 0.5; echo ended $1', 'sh'], 'a\nb\n');
    await slow.shows('begun a');
    slow.child.kill('SIGINT');
    expect(await slow.end).to.include({ code: 130, stdout: 'begun a\nended a\n' });
    expect(await run(['--', 'echo'], 'a\nb\n')).to.include({ code: 0, stdout: 'b\n' });
  });

  it('stops what runs after the second Ctrl-C, and runs it again next time (130)', async () => {
    const slow = await start(['-j', '2', '--', 'sh', '-c', 'echo begun $1; sleep 30 & wait; echo ended $1', 'sh'], 'a\nb\nc\n');
    await slow.shows('begun b');
    slow.child.kill('SIGINT');
    await slow.shows('once more');
    slow.child.kill('SIGINT');
    const end = await slow.end;
    expect(end.code).to.equal(130);
    expect(end.stdout).to.not.include('ended');
    expect(await run(['--', 'echo'], 'a\nb\nc\n')).to.include({ code: 0, stdout: 'a\nb\nc\n' });
  });

  it('kills what does not heed being stopped', async () => {
    const stubborn = await start(['--', 'sh', '-c', 'trap "" TERM; echo $$ > pid; echo begun; while :; do sleep 0.2; done'], 'a\n');
    await stubborn.shows('begun');
    stubborn.child.kill('SIGTERM');
    await stubborn.shows('once more');
    stubborn.child.kill('SIGTERM');
    expect(await stubborn.end).to.include({ code: 143 });
    expect(isAlive(Number(lines('pid')[0]))).to.equal(false);
  });

  it('is interrupted by SIGTERM likewise (143)', async () => {
    const slow = await start(['--', 'sh', '-c', 'echo begun; sleep 0.3'], 'a\nb\n');
    await slow.shows('begun');
    slow.child.kill('SIGTERM');
    expect((await slow.end).code).to.equal(143);
  });

  for (const [name, args] of [
    ['run', ['run', ...STATE, '--items', 'pipe', '--', 'true']],
    ['import', ['import', ...STATE, 'pipe']],
  ] as const) {
    it(`${name} ends when it is told to, though its input is a named pipe that nobody writes to (143)`, async () => {
      execFileSync('mkfifo', [join(directory(), 'pipe')]);
      const waiting = await startCli(args, { cwd: directory() });
      if (name === 'run') await waiting.shows('starts');
      await waitsForWriter(waiting.child.pid ?? 0);
      waiting.child.kill('SIGTERM');
      const kill = setTimeout(() => waiting.child.kill('SIGKILL'), 10_000);
      expect(await waiting.end).to.include({ code: 143, signal: null });
      clearTimeout(kill);
    }).timeout(30_000);
  }

  it('one-item: what the same signal ended that stopped the run is run again, as after the stop of a service (143)', async () => {
    const stopped = await start(['-j', '2', '--', 'sh', '-c', 'echo $$ >> pids; echo begun $1; exec sleep 30', 'sh'], 'a\nb\n');
    await Promise.all([stopped.shows('begun a'), stopped.shows('begun b')]);
    stopped.child.kill('SIGTERM');
    await stopped.shows('once more');
    for (const pid of lines('pids')) process.kill(-Number(pid), 'SIGTERM');
    expect((await stopped.end).code).to.equal(143);
    const next = await run(['--', 'echo'], 'a\nb\n');
    expect(next.code).to.equal(0);
    expect(next.stdout.trimEnd().split('\n')).to.have.members(['a', 'b']);
  });

  it('finishes what runs when its terminal goes away, and goes on next time (129)', async () => {
    const slow = await start(['--', 'sh', '-c', 'echo begun $1; sleep 0.5; echo ended $1', 'sh'], 'a\nb\n');
    await slow.shows('begun a');
    // One from the shell, one from the terminal itself.
    for (let times = 0; times < 2; times++) {
      slow.child.kill('SIGHUP');
      await sleep(50);
    }
    expect(await slow.end).to.include({ code: 129, stdout: 'begun a\nended a\n' });
    expect(await run(['--', 'echo'], 'a\nb\n')).to.include({ code: 0, stdout: 'b\n' });
  });

  it('ends while it waits for items on standard input', async () => {
    const waiting = await startCli(['run', ...STATE, '--', 'echo'], { cwd: directory(), input: 'open' });
    waiting.child.stdin?.write('a\n');
    await waiting.shows('a\n');
    waiting.child.kill('SIGINT');
    expect(await waiting.end).to.include({ code: 130, stdout: 'a\n' });
  });

  it('ends quietly when nobody reads its output any more, and what was not passed on runs again', async () => {
    const piped = await start(['--quiet', '--', 'sh', '-c', 'echo line $1; sleep 0.1', 'sh'], 'a\nb\nc\nd\ne\nf\n');
    await piped.shows('line a');
    piped.child.stdout?.destroy();
    expect(await piped.end).to.include({ code: 130, stderr: '' });
    const { stdout, code } = await run(['--', 'echo'], 'a\nb\nc\nd\ne\nf\n');
    expect(code).to.equal(0);
    expect(stdout).to.match(/^(b\n)?c\nd\ne\nf\n$/);
  });

  it('ends when it is told to twice, though the reader of its output has stopped reading', async () => {
    const blocked = await start(['--grace', '0.2', '--', 'sh', '-c', 'echo begun >&2; yes | head -c 4000000', 'sh'], 'a\nb\n');
    blocked.child.stdout?.pause();
    await blocked.shows('begun');
    await sleep(500);
    blocked.child.kill('SIGTERM');
    await blocked.shows('once more');
    blocked.child.kill('SIGTERM');
    const exited = await Promise.race([once(blocked.child, 'exit'), sleep(15_000)]);
    blocked.child.stdout?.resume();
    expect(exited).to.deep.equal([143, null]);
    expect(await run(['--quiet', '--', 'echo'], 'a\nb\n')).to.include({ code: 0, stdout: 'a\nb\n' });
  }).timeout(30_000);

  it('stops a command after --timeout, with all that it started, and records an error', async () => {
    const script = 'sleep 60 & echo $! > grandchild; echo $$ > child; echo waiting >&2; wait';
    const end = await run(['--timeout', '0.5', '--', 'sh', '-c', script], 'a\n');
    expect(end.code).to.equal(1);
    const state = await LoopState.open({ path: join(directory(), 'state.json') }, { access: 'read' });
    expect(await state.read('a')).to.include({ status: 'failed', reason: 'timeout after 0.5 s: waiting' });
    await state.close();
    await sleep(50);
    for (const name of ['child', 'grandchild']) expect(isAlive(Number(lines(name)[0])), name).to.equal(false);
  });

  it('stops what a command left behind, once it is told to, and records how the command itself ended', async () => {
    // What is left behind speaks only once the command itself has ended and was reaped.
    const leave = '(while kill -0 $$; do sleep 0.01; done 2>&-; while :; do echo tick; sleep 0.1; done) & echo $! > pid; exit 0';
    expect((await run(['--timeout', '1', '--', 'sh', '-c', leave, 'sh'], 'a\n')).code).to.equal(0);
    expect(isAlive(Number(lines('pid')[0]))).to.equal(false);
    const left = await start(['--', 'sh', '-c', leave, 'sh'], 'b\n');
    await left.shows('tick');
    left.child.kill('SIGTERM');
    await left.shows('once more');
    left.child.kill('SIGTERM');
    expect((await left.end).code).to.equal(143);
    expect(isAlive(Number(lines('pid')[0]))).to.equal(false);
    expect(await run(['--', 'echo'], 'a\nb\n')).to.include({ code: 0, stdout: '' });
  });

  it('goes on after SIGKILL: nothing that was recorded runs again, and at most one item per job runs twice', async function () {
    this.timeout(60_000);
    const seed = seedFromEnvironment();
    console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
    const random = seeded(seed);
    const input = Array.from({ length: 100 }, (_, index) => `${index}\n`).join('');
    const jobs = 3;
    const args = ['--quiet', '-j', `${jobs}`, '--', 'sh', '-c', 'echo $1 >> log; echo .; sleep 0.02', 'sh'];
    let kills = 0;
    for (let code: number | null = null; code === null; ) {
      const killed = await start(args, input);
      // So many that what was cut short last time is done: an item whose process dies three times is put aside as a killer.
      let linesLeft = 8 + Math.floor(random() * 8);
      killed.child.stdout?.on('data', () => {
        if (--linesLeft === 0) killed.child.kill('SIGKILL');
      });
      code = (await killed.end).code;
      if (code === null) kills += 1;
      if (kills > 60) throw new Error('It makes no headway.');
    }
    const runs = lines('log').map(Number);
    expect(new Set(runs).size).to.equal(100);
    expect(runs.length - 100).to.be.at.most(kills * jobs);
    expect(kills).to.be.greaterThan(0);
    const state = await LoopState.open({ path: join(directory(), 'state.json') }, { access: 'read' });
    expect(state.progress).to.include({ completed: 100, failed: 0, inProgress: 0 });
    await state.close();
  });

  it('shows with status, beside it, what is going on', async () => {
    const slow = await start(['-j', '2', '--', 'sh', '-c', 'echo begun $1; sleep 20', 'sh'], 'a\nb\nc\n');
    await slow.shows('begun b');
    const { stdout, code } = await runCli(['status', ...STATE, '--json'], { cwd: directory() });
    expect(code).to.equal(0);
    const status = JSON.parse(stdout) as { progress: object; runs: { held: object[] }[]; leftBehind: object[] };
    expect(status.progress).to.include({ completed: 0, inProgress: 2 });
    expect(status.runs[0]).to.include({ pid: slow.child.pid, holds: 2, process: 'alive' });
    expect(status.runs[0]?.held).to.have.length(2);
    expect(status.runs[0]?.held[0]).to.include({ id: 'a', attempt: 1 }).and.to.have.property('since');
    expect(status.leftBehind).to.deep.equal([]);
    slow.child.kill('SIGKILL');
    await slow.end;
    const after = await runCli(['status', ...STATE], { cwd: directory() });
    expect(after.stdout).to.match(new RegExp(`pid ${slow.child.pid} on .* gone.* holds 2\\n +a \\(attempt 1\\), since \\d{4}-.*\\n +b `));
  });
});

/**
 * Resolves once a process does nothing but wait for somebody who writes to a pipe, and has done so for a while; where the system does not show
 * that, when it must do so by now.
 */
async function waitsForWriter(pid: number): Promise<void> {
  const endMs = performance.now() + 5_000;
  const waitsOf = (task: string): string => readFileSync(`/proc/${pid}/task/${task}/wchan`, 'utf8');
  for (let looks = 0; looks < 10 && performance.now() < endMs; ) {
    await sleep(20);
    const isShown = existsSync(`/proc/${pid}/task`);
    const isWaiting = isShown && readdirSync(`/proc/${pid}/task`).some((task) => /fifo|partner/.test(waitsOf(task)));
    looks = isWaiting && /poll/.test(waitsOf(`${pid}`)) ? looks + 1 : 0;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    // What has ended and was not waited for yet is a zombie: it runs no more.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}
