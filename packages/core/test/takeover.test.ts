/**
 * Proves who may take over from whom, and when: several processes on several hosts, with clocks and deaths that the test decides,
 * share one store in memory that says of itself what a shared store says.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { realEnvironment } from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';
import { fleet, LEASE_MS } from './support/fleet.js';

describe('Takeover', () => {
  it('waits for a lease of silence from another host, by the observer alone', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b', { clockOffsetMs: 7_200_000 }));
    await a.state.begin('x');
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(LEASE_MS - 2_000);
    expect(await b.state.claim('x')).to.equal(undefined);
    await world.advance(12_000);
    expect((await b.state.claim('x'))?.attempt).to.equal(1);
    expect(b.events.map((event) => event.type)).to.deep.equal(['took-over']);
  });

  it('one-item: counts the crash against what a run claimed since the taker looked last', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-a'));
    await b.state.begin('own');
    await a.state.begin('y');
    await b.state.refresh();
    await a.state.begin('x');
    a.process.isDead = true;
    expect((await b.state.claim('y'))?.attempt).to.be.greaterThan(0);
    expect(await b.state.read('x')).to.include({ status: 'outstanding', crashes: 1 });
  });

  it('never takes over from a run that beats, however long', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    await a.state.begin('x');
    await b.state.begin('own');
    await world.advance(20 * LEASE_MS);
    expect(await b.state.claim('x')).to.equal(undefined);
    expect(await a.state.end('x', { status: 'success' })).to.equal('completed');
  });

  it('fenced: takes nobody over whose heartbeat comes between the judgement and the takeover', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    await a.state.begin('x');
    await b.state.begin('own');
    a.process.isPaused = true;
    let beats = 0;
    // Called before the commit goes to the store.
    b.backend.concerns = ({ deletes = [] }) => {
      if (!deletes.includes(`run/${a.state.runId}`)) return true;
      void a.backend.commit({ puts: [{ key: `beat/${a.state.runId}`, value: { by: `${a.state.runId}.beat-${++beats}` } }] });
      return true;
    };
    await world.advance(4 * LEASE_MS);
    expect(beats).to.be.greaterThan(0);
    expect(await b.state.claim('x')).to.equal(undefined);
    expect(b.events).to.deep.equal([]);
    expect(await a.state.end('x', { status: 'success' })).to.equal('completed');
  });

  it('starts the count anew after a gap in its own reading', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    await a.state.begin('x');
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(LEASE_MS / 2);
    b.process.isPaused = true;
    await world.advance(10 * LEASE_MS);
    b.process.isPaused = false;
    await world.advance(LEASE_MS / 2);
    expect(await b.state.claim('x')).to.equal(undefined);
    await world.advance(LEASE_MS);
    expect(await b.state.claim('x')).to.not.equal(undefined);
  });

  it('takes nobody over after an outage of three leases', async () => {
    const { world, open } = fleet();
    const runs = await Promise.all([open(world.process('host-a')), open(world.process('host-b')), open(world.process('host-c'))]);
    for (const [n, { state }] of runs.entries()) await state.begin(`item-${n}`);
    for (const { backend } of runs) backend.isAway = true;
    await world.advance(3 * LEASE_MS);
    for (const { backend } of runs) backend.isAway = false;
    await world.advance(3 * LEASE_MS);
    for (const [n, { state, events }] of runs.entries()) {
      expect(events.map((event) => event.type)).to.deep.equal(['lease-at-risk', 'lease-regained']);
      expect(await state.end(`item-${n}`, { status: 'success' })).to.equal('completed');
    }
  });

  it('refuses the worker that was taken over, aborts its work, and lets it go on with other items', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    const taken = (await a.state.claim('taken'))!;
    const untouched = (await a.state.claim('untouched'))!;
    const formerRunId = a.state.runId;
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(2 * LEASE_MS);
    const newer = (await b.state.claim('taken'))!;
    expect(newer.fence).to.be.greaterThan(taken.fence);
    await newer.end({ status: 'success', output: 'b' });
    expect(taken.signal.aborted).to.equal(false);

    a.process.isPaused = false;
    await world.advance(LEASE_MS / 3);
    expect(taken.signal.aborted).to.equal(true);
    expect(taken.signal.reason).to.have.property('code', 'LOOPSTATE_LEASE_LOST');
    expect(untouched.signal.aborted).to.equal(false);
    expect(await a.state.begin('taken')).to.equal(false);
    expect(await codeOf(taken.end({ status: 'success', output: 'a' }))).to.equal('LOOPSTATE_LEASE_LOST');
    expect((await a.state.read('taken'))?.output).to.equal('b');
    // Nobody took this one: it may still be recorded.
    expect(await untouched.end({ status: 'success', output: 'a' })).to.equal('completed');
    expect(await a.state.begin('next')).to.equal(true);
    expect(a.state.runId).to.not.equal(formerRunId);
    expect(a.events.map((event) => event.type)).to.deep.equal(['claim-lost', 'run-replaced']);
  });

  it('fenced: tells a run that was declared dead what is taken from it later, though it asks for nothing', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    const claim = (await a.state.claim('x'))!;
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(2 * LEASE_MS);
    a.process.isPaused = false;
    a.backend.isAway = true;
    await world.advance(LEASE_MS);
    a.backend.isAway = false;
    await world.advance(LEASE_MS);
    // As when the call of another part of the program brings the view up to date.
    await a.state.refresh();
    expect(a.events.map((event) => event.type)).to.deep.equal(['lease-at-risk', 'run-replaced', 'lease-regained']);
    expect(b.state.runs).to.have.length(2);
    expect(claim.signal.aborted).to.equal(false);
    await b.state.begin('x');
    await world.advance(LEASE_MS / 3);
    expect(claim.signal.aborted).to.equal(true);
  });

  it('refuses an end at once, even before the loser has looked at the store', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    const claim = (await a.state.claim('x'))!;
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(2 * LEASE_MS);
    await b.state.begin('x');
    expect(await codeOf(claim.end({ status: 'success' }))).to.equal('LOOPSTATE_LEASE_LOST');
    expect(claim.signal.aborted).to.equal(true);
    expect((await b.state.read('x'))?.status).to.equal('claimed');
  });

  it('does not let a run claim that was declared dead and does not know it: it registers anew first', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    await a.state.begin('x');
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(2 * LEASE_MS);
    await b.state.begin('x');
    const former = a.state.runId;
    expect(await a.state.begin('fresh')).to.equal(true);
    expect(a.state.runId).to.not.equal(former);
    const { runs, items } = await b.state.snapshot();
    expect(runs.map((run) => run.runId)).to.include(items.get('fresh')?.run);
    expect(await b.state.begin('fresh')).to.equal(false);
  });

  it('cannot end a newer claim of its own with an old one', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    const old = (await a.state.claim('x'))!;
    await b.state.begin('own');
    a.process.isPaused = true;
    await world.advance(2 * LEASE_MS);
    await (await b.state.claim('x'))!.release();
    a.process.isPaused = false;
    await world.advance(LEASE_MS / 3);
    expect(await a.state.begin('x')).to.equal(false);
    await old.release();
    expect(await a.state.begin('x')).to.equal(true);
    expect(await codeOf(old.end({ status: 'success' }))).to.equal('LOOPSTATE_LEASE_LOST');
    expect(await a.state.end('x', { status: 'success' })).to.equal('completed');
  });

  it('takes over at once on the same host, and counts the crash apart from the attempt', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-a'));
    await a.state.begin('x');
    a.process.isDead = true;
    const claim = (await b.state.claim('x'))!;
    expect(claim.attempt).to.equal(1);
    expect(await b.state.read('x')).to.include({ crashes: 1, attempt: 1 });
    expect(b.events).to.deep.include({ type: 'took-over', runId: a.state.runId, death: 'proven-gone', items: 1 });
  });

  it('flat-cost: asks after the others twice a second at most, however often the view is brought up to date, and finds the dead then', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-a'));
    await a.state.begin('x');
    await b.state.begin('own');
    let probes = 0;
    const { probe } = b.process;
    b.process.probe = (identity) => {
      probes += 1;
      return probe(identity);
    };
    for (let ms = 0; ms < 1_000; ms += 20) {
      await world.advance(20);
      await b.state.refresh();
    }
    expect(probes).to.be.within(1, 3);
    a.process.isDead = true;
    await world.advance(500);
    await b.state.refresh();
    expect(b.events).to.deep.include({ type: 'took-over', runId: a.state.runId, death: 'proven-gone', items: 1 });
  });

  it('does not judge by a pid of another pid namespace, nor by a host name', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a', { pidNamespace: 'container-1' }));
    const b = await open(world.process('host-a', { pidNamespace: 'container-2' }));
    await a.state.begin('x');
    await b.state.begin('own');
    a.process.isDead = true;
    expect(await b.state.claim('x')).to.equal(undefined);
    await world.advance(2 * LEASE_MS);
    expect(await b.state.claim('x')).to.not.equal(undefined);
    expect((await b.state.read('x'))?.crashes).to.equal(undefined);
  });

  it('knows that a process of another boot of this host is gone', async () => {
    const { world, open } = fleet('host');
    const a = await open(world.process('before the reboot'));
    const b = await open(world.process('after the reboot'));
    await a.state.begin('x');
    expect(await b.state.claim('x')).to.not.equal(undefined);
  });

  it('knows on a store that one process holds alone that every other process is gone, without heartbeats', async () => {
    const { world, open } = fleet('process');
    const a = await open(world.process('host-a'));
    await a.state.begin('x');
    await world.advance(10 * LEASE_MS);
    expect(a.backend.log).to.have.length(2);
    const b = await open(world.process('host-b'));
    expect(await b.state.claim('x')).to.not.equal(undefined);
    expect((await b.state.snapshot()).runs.map((run) => run.runId)).to.deep.equal([b.state.runId]);
  });

  it('always-starts: takes over from a run of its own process that could not say that it ended, and counts no crash', async () => {
    const { world, open } = fleet('process');
    const process = world.process();
    const a = await open(process);
    await a.state.begin('x');
    a.backend.isAway = true;
    expect(await codeOf(a.state.close())).to.equal('LOOPSTATE_UNAVAILABLE');
    const b = await open(process);
    expect((await b.state.claim('x'))?.attempt).to.equal(1);
    expect((await b.state.read('x'))?.crashes).to.equal(undefined);
    expect(b.events).to.deep.equal([{ type: 'took-over', runId: a.state.runId, death: 'ended', items: 1 }]);
    expect(b.state.runs).to.have.length(1);
  });

  it('returns all items of a dead run, also more than one commit may name', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-a'));
    for (let n = 0; n < 1_500; n++) await a.state.begin(`${n}`);
    a.process.isDead = true;
    await b.state.begin('own');
    expect(b.state.progress).to.include({ inProgress: 1, outstanding: 1_500 });
    expect(b.events).to.deep.include({ type: 'took-over', runId: a.state.runId, death: 'proven-gone', items: 1_500 });
  });

  it('costs one commit per heartbeat, however many claims are held', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    for (let n = 0; n < 50; n++) await a.state.begin(`${n}`);
    const before = a.backend.log.length;
    await world.advance(LEASE_MS);
    expect(a.backend.log.length - before).to.equal(3);
  });

  it('takes its records away on close, though the reply to its last heartbeat was lost', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    await a.state.begin('x');
    await a.backend.commit({ puts: [{ key: `beat/${a.state.runId}`, value: { by: `${a.state.runId}.beat` } }] });
    await a.state.close();
    expect((await b.state.snapshot()).runs).to.deep.equal([]);
    expect(await b.state.reset()).to.equal(1);
  });

  it('takes its records away on close, though no reply to its registration ever came', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    const b = await open(world.process('host-b'));
    a.backend.faults.push('reply-lost', 'away', 'away', 'away', 'away', 'away');
    expect(await codeOf(a.state.begin('x'))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect((await b.state.snapshot()).runs).to.have.length(1);
    await a.state.close();
    expect((await b.state.snapshot()).runs).to.deep.equal([]);
    expect(await b.state.reset()).to.equal(0);
  });

  it('forgets heartbeats after close, and keeps no timer', async () => {
    const { world, open } = fleet();
    const a = await open(world.process('host-a'));
    await a.state.begin('x');
    await a.state.close();
    const before = a.backend.log.length;
    await world.advance(3 * LEASE_MS);
    expect(a.backend.log.length).to.equal(before);
  });
});

describe('Crashes', () => {
  it('quarantine an item only when it crashes alone, after two crashes', async () => {
    const { world, open } = fleet();
    const crash = async (ids: readonly string[]): Promise<boolean[]> => {
      const { state, process } = await open(world.process('host-a'));
      const began: boolean[] = [];
      for (const id of ids) began.push(await state.begin(id));
      process.isDead = true;
      return began;
    };
    expect(await crash(['killer', 'bystander'])).to.deep.equal([true, true]);
    expect(await crash(['killer', 'bystander'])).to.deep.equal([true, true]);
    // Two crashes each: from here on each runs alone.
    expect(await crash(['bystander', 'killer', 'fresh'])).to.deep.equal([true, false, false]);
    const { state } = await open(world.process('host-a'));
    await state.begin('fresh');
    expect(await state.read('bystander')).to.include({ status: 'failed', quarantined: true, crashes: 3 });
    expect(await state.read('killer')).to.include({ status: 'outstanding', crashes: 2 });
    expect(await state.begin('killer')).to.equal(false);
    expect(state.standing('killer').standing).to.equal('must-run-alone');
    await state.end('fresh', { status: 'success' });
    expect(await state.begin('killer')).to.equal(true);
    expect(await state.begin('another')).to.equal(false);
    expect(await state.end('killer', { status: 'success' })).to.equal('completed');
    expect(await state.begin('another')).to.equal(true);
    expect(state.progress).to.include({ quarantined: 1, failed: 1, completed: 2 });
  });

  it('do not count a clean close, nor a run that is only presumed dead', async () => {
    const { world, open } = fleet();
    for (let n = 0; n < 4; n++) {
      const { state } = await open(world.process('host-a'));
      await state.begin('x');
      await state.close();
    }
    const silent = await open(world.process('host-a'));
    await silent.state.begin('x');
    silent.process.isPaused = true;
    const other = await open(world.process('host-b'));
    await other.state.begin('own');
    await world.advance(2 * LEASE_MS);
    await other.state.begin('x');
    expect((await other.state.read('x'))?.crashes).to.equal(undefined);
  });
});

describe('The real environment', () => {
  it('sees a child process alive, then gone, and is not fooled by a reused pid', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const { self } = realEnvironment;
    const identity = { ...self, process: 'another', pid: pidOf(child), startTime: startTimeOf(pidOf(child)) };
    expect(realEnvironment.probe(identity)).to.equal('alive');
    expect(realEnvironment.probe({ ...identity, startTime: '1' })).to.equal('gone');
    expect(realEnvironment.probe({ ...identity, bootId: 'another' })).to.equal('unknown');
    expect(realEnvironment.probe({ ...identity, pidNamespace: 'pid:[1]' })).to.equal('unknown');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(realEnvironment.probe(identity)).to.equal('gone');
    expect(realEnvironment.probe(self)).to.equal('alive');
  });
});

describe('A process that has ended', () => {
  it('one-item: is gone, also while its parent has not asked how it ended', async () => {
    // `exec` makes a parent that never asks of the shell.
    const parent = spawn('sh', ['-c', 'sleep 0.05 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(line.toString());
      const identity = { ...realEnvironment.self, process: 'another', pid, startTime: startTimeOf(pid) };
      const isZombie = () => realStat(pid).includes(') Z ');
      for (let tries = 0; tries < 500 && !isZombie(); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
      expect(isZombie()).to.equal(true);
      expect(realEnvironment.probe(identity)).to.equal('gone');
    } finally {
      parent.kill('SIGKILL');
    }
  });
});

function pidOf(child: ChildProcess): number {
  return child.pid ?? 0;
}

function startTimeOf(pid: number): string {
  const stat = realStat(pid);
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function realStat(pid: number): string {
  return readFileSync(`/proc/${pid}/stat`, 'utf8');
}
