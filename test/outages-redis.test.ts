/**
 * What happens to Redis while a fleet works: it is killed and comes back, is gone for long, another server takes its place, and the
 * network between loses and delays what is said. The loop finishes by itself, with what it promised.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fleet } from '@loopstate/conformance';
import { expect } from 'chai';
import { createRedisFixture } from './fixtures/redis.js';
import { startRedis, startRedisCluster, startSentinelGroup } from './support/redis-server.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';

const LEASE_MS = 1_500;

describe('Redis outages during a run', () => {
  let fleet: Fleet;
  const servers: { remove(): Promise<void> }[] = [];
  const remembered = <T extends { remove(): Promise<void> }>(server: T): T => {
    servers.push(server);
    return server;
  };
  beforeEach(() => {
    fleet = new Fleet(createRedisFixture());
  });
  afterEach(async () => {
    fleet.remove();
    for (const server of servers.splice(0)) await server.remove();
  });

  it('acked-survives, once-recorded: the server is killed and started again 8 times', async () => {
    const server = remembered(await startRedis());
    const url = `redis://127.0.0.1:${server.port}?job=killed`;
    const loop = { items: 1_600, workMs: 8 };
    await fleet.startAll(4, url, loop);
    for (let kills = 0; kills < 8; kills++) {
      await server.kill();
      await server.start();
      const before = fleet.completed;
      await fleet.until(() => fleet.completed > before + 20);
    }
    expect(fleet.completed, 'items left for the time after the last kill').to.be.below(loop.items);
    await fleet.finished();
    expect(fleet.events('unavailable')).to.not.deep.equal([]);
    expect(fleet.events('went-backwards', 'lost', 'claim-lost')).to.deep.equal([]);
    expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
    await fleet.expectAllRecorded(url, loop.items);
  }).timeout(180_000);

  it('fenced: an outage of three leases takes nobody’s claims', async () => {
    const server = remembered(await startRedis());
    const url = `redis://127.0.0.1:${server.port}?job=gone&commandTimeoutMs=500`;
    const loop = { items: 60, workMs: 200, leaseMs: LEASE_MS };
    await fleet.startAll(4, url, loop);
    await server.kill();
    await sleep(3 * LEASE_MS);
    expect(fleet.completed).to.be.below(loop.items);
    await server.start();
    await fleet.finished();
    expect(fleet.events('lease-at-risk')).to.not.deep.equal([]);
    expect(fleet.events('took-over', 'run-replaced', 'lost', 'claim-lost', 'aborted')).to.deep.equal([]);
    expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
    await fleet.expectAllRecorded(url, loop.items);
  }).timeout(90_000);

  it('acked-survives, once-recorded: a replica takes the place of a master behind Sentinels', async () => {
    const group = remembered(await startSentinelGroup());
    const hosts = group.sentinelPorts.map((port) => `127.0.0.1:${port}`).join(',');
    const url = `redis+sentinel://${hosts}/${group.masterName}?job=promoted&wait=1`;
    const loop = { items: 2_000, workMs: 8 };
    await fleet.startAll(3, url, loop);
    const former = group.master().port;
    await group.failOver();
    expect(group.master().port).to.not.equal(former);
    expect(fleet.completed, 'items left for the new master').to.be.below(loop.items);
    await fleet.finished();
    expect(fleet.events('went-backwards')).to.deep.equal([]);
    expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
    await fleet.expectAllRecorded(url, loop.items);
  }).timeout(180_000);

  it('once-recorded: a replica takes the place of a master of a cluster, which may lose the latest writes', async () => {
    const cluster = remembered(await startRedisCluster({ replicas: 1 }));
    const url = `redis+cluster://${cluster.ports.map((port) => `127.0.0.1:${port}`).join(',')}?job=moved`;
    const loop = { items: 2_000, workMs: 8 };
    await fleet.startAll(3, url, loop);
    const master = await cluster.holderOf('loopstate:{moved}:header');
    await master.kill();
    await fleet.finished();
    expect((await cluster.holderOf('loopstate:{moved}:header')).port).to.not.equal(master.port);
    console.log(`      ${fleet.events('went-backwards').length} workers found that writes were lost`);
    await fleet.expectAllRecorded(url, loop.items);
  }).timeout(180_000);

  it('commit/three-answers, once-recorded: replies are lost and commands land late, 16 times', async () => {
    const seed = seedFromEnvironment();
    const random = seeded(seed);
    console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
    const server = remembered(await startRedis());
    const proxy = await startTcpProxy(server.port);
    const url = `redis://127.0.0.1:${proxy.port}?job=disturbed&commandTimeoutMs=300&connectTimeoutMs=2000`;
    const loop = { items: 1_000, workMs: 8 };
    try {
      await fleet.startAll(3, url, loop);
      for (let faults = 0; faults < 16; faults++) {
        await disturb(proxy, random);
        const before = fleet.completed;
        await fleet.until(() => fleet.completed > before + 10);
      }
      expect(fleet.completed, 'items left for the time after the last fault').to.be.below(loop.items);
      await fleet.finished();
    } finally {
      await proxy.close();
    }
    const unknown = fleet.events('done').reduce((sum, event) => sum + (event.unknown ?? 0), 0);
    console.log(`      ${unknown} commits had an unknown outcome at first`);
    expect(unknown).to.be.above(0);
    expect(fleet.events('lost', 'claim-lost')).to.deep.equal([]);
    expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
    await fleet.expectAllRecorded(`redis://127.0.0.1:${server.port}?job=disturbed`, loop.items);
  }).timeout(120_000);
});

/** One fault of the network, and its end. */
async function disturb(proxy: TcpProxy, random: () => number): Promise<void> {
  const fault = Math.floor(random() * 4);
  if (fault === 0) return proxy.cut();
  if (fault === 1) {
    await proxy.loseReplies();
    await sleep(random() * 500);
    return proxy.cut();
  }
  await proxy.holdRequests();
  await sleep(random() * 500);
  if (fault === 2) proxy.cut();
  else proxy.releaseRequests();
}
