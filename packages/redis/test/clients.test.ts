/**
 * A client that the caller made is used and left as it was; replicas are waited for where that was asked; groups keep to their bounds;
 * deletions are forgotten in the end, and said to be. Proved on servers of our own.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import KeyvRedis, { createClient, createCluster, createSentinel } from '@keyv/redis';
import type { StateBackend } from '@loopstate/core';
import type { GivenClient } from '@loopstate/redis';
import { expect } from 'chai';
import { DURABLE, type RedisServer, startRedis, startRedisCluster, startSentinelGroup, until } from '../../../test/support/redis-server.js';
import { askRedis, infoOf } from '../../../test/support/resp.js';
import { changesOf, closeAfterEach, codeOf, errorOf, newJob, openHere, put } from './stores.js';

describe('redis: clients of the caller', () => {
  let server: RedisServer;

  before(async function () {
    this.timeout(120_000);
    server = await startRedis();
  });
  after(() => server.remove());
  closeAfterEach();

  it('a connected client is used, and still open when the handle is closed', async () => {
    const client = createClient({ url: `redis://127.0.0.1:${server.port}` });
    client.on('error', () => {});
    await client.connect();
    const store = await openHere({ client, job: newJob() });
    await commitsAndReads(store);
    await store.close();
    expect(await client.ping()).to.equal('PONG');
    client.destroy();
  });

  it('commit/three-answers: a client that makes other things of replies is understood', async () => {
    const durable = await startRedis();
    const url = `redis://127.0.0.1:${durable.port}`;
    const clients = [
      createClient({ url, RESP: 3 }),
      createClient({ url, commandOptions: { typeMapping: { ['$'.charCodeAt(0)]: Buffer } } }),
    ];
    for (const client of clients) {
      client.on('error', () => {});
      await client.connect();
      const store = await openHere({ client: client as GivenClient, job: newJob() });
      expect(store.traits.survives).to.equal('power-loss');
      expect(store.recovery).to.deep.equal([]);
      await commitsAndReads(store);
      await store.close();
      client.destroy();
    }
    await durable.remove();
  });

  it('a client that is asked again and again through an outage gets no more listeners by that', async () => {
    const own = await startRedis();
    const client = createClient({ socket: { port: own.port, reconnectStrategy: 50 } });
    client.on('error', () => {});
    await client.connect();
    const listeners = () => client.eventNames().reduce((sum, name) => sum + client.listenerCount(name), 0);
    const store = await openHere({ client, job: 'j', commandTimeoutMs: 50 });
    const before = listeners();
    process.kill(own.pid, 'SIGSTOP');
    for (let reads = 0; reads < 5; reads++) expect(await codeOf(store.read(['a']))).to.equal('LOOPSTATE_UNAVAILABLE');
    process.kill(own.pid, 'SIGCONT');
    await until(async () => (await store.read(['a'])).length === 1, 'the server to answer');
    expect(listeners()).to.equal(before);
    await store.close();
    client.destroy();
    await own.remove();
  });

  it('nobody is warned of a leak when many calls of one turn wait to be sent by a given client', async () => {
    const client = createClient({ url: `redis://127.0.0.1:${server.port}` });
    client.on('error', () => {});
    await client.connect();
    const warnings: Error[] = [];
    const take = (warning: Error): unknown => warnings.push(warning);
    process.on('warning', take);
    const store = await openHere({ client, job: newJob() });
    await Promise.all(Array.from({ length: 100 }, (_, n) => store.read([`${n}`])));
    process.off('warning', take);
    expect(warnings).to.deep.equal([]);
    await store.close();
    client.destroy();
  });

  it('close/final: a client that was made from options is ended, with the handle or when opening it fails', async () => {
    const url = `redis://127.0.0.1:${server.port}`;
    const clients = async () => Number(await infoOf(server.port, 'connected_clients'));
    const before = await clients();
    for (const client of [{ url }, url, { url, database: 1 }]) {
      const store = await openHere({ client, job: newJob() });
      await commitsAndReads(store);
      await store.close();
    }
    expect(await codeOf(openHere({ client: { url }, job: newJob(), wait: 9, connectTimeoutMs: 300 }))).to.equal('LOOPSTATE_UNAVAILABLE');
    await until(async () => (await clients()) === before, 'the clients to be gone');
  });

  it('close/final: changes whose next page comes after the close say that the handle was closed', async () => {
    const store = await openHere(`redis://127.0.0.1:${server.port}?job=${newJob()}`);
    for (let from = 0; from < 1_500; from += 500)
      await store.commit({ puts: Array.from({ length: 500 }, (_, index) => ({ key: `${from + index}`, value: 1 })) });
    let yielded = 0;
    const reading = async () => {
      // A page ends with the 500th.
      for await (const _ of store.changes(0)) if (++yielded === 500) await store.close();
    };
    expect(await codeOf(reading())).to.equal('LOOPSTATE_CLOSED');
    expect(yielded).to.equal(500);
  });

  it('a KeyvRedis is connected if need be, and still open when the handle is closed', async () => {
    const keyv = new KeyvRedis(`redis://127.0.0.1:${server.port}`);
    const store = await openHere({ keyv, job: newJob() });
    await commitsAndReads(store);
    await store.close();
    await keyv.set('mine', 'value');
    expect(await keyv.get('mine')).to.equal('value');
    await keyv.disconnect(true);
  });

  it('commit/three-answers: what a given client has not sent by the deadline is never sent', async () => {
    const own = await startRedis();
    const client = createClient({ socket: { port: own.port, reconnectStrategy: 50 } });
    client.on('error', () => {});
    await client.connect();
    const store = await openHere({ client, job: 'j', commandTimeoutMs: 150 });
    await put(store, 'first');
    await own.kill();
    await new Promise((resolve) => setTimeout(resolve, 50));
    // The client queues it until there is a connection.
    expect(await codeOf(put(store, 'late'))).to.equal('LOOPSTATE_UNAVAILABLE');
    await own.start();
    await until(async () => client.isReady, 'the client to be connected again');
    expect(await store.read(['late'])).to.deep.equal([undefined]);
    await put(store, 'late');
    await store.close();
    client.destroy();
    await own.remove();
  });

  it('commit/all-or-nothing: a user who may not be told of the server any more makes no half of a commit', async () => {
    const own = await startRedis();
    const allow = (what: string) => askRedis(own.port, 'ACL', 'SETUSER', 'guest', 'on', '>hunter2', '~*', '+@all', what);
    await allow('+info');
    const client = createClient({ url: `redis://guest:hunter2@127.0.0.1:${own.port}` });
    client.on('error', () => {});
    await client.connect();
    const store = await openHere({ client, job: 'j' });
    await put(store, 'first');
    await allow('-info');
    expect(await codeOf(put(store, 'a'))).to.equal('LOOPSTATE_UNAVAILABLE');
    await allow('+info');
    const other = await openHere(`redis://127.0.0.1:${own.port}?job=j`);
    expect(await other.read(['a'])).to.deep.equal([undefined]);
    await put(store, 'a');
    await store.close();
    client.destroy();
    await own.remove();
  });

  it('a client of a cluster and one of Sentinels serve as well, and a cluster of which a node accepts and never answers', async () => {
    const [cluster, group] = await Promise.all([startRedisCluster(), startSentinelGroup()]);
    const clients = [
      createCluster({ rootNodes: cluster.ports.map((port) => ({ socket: { host: '127.0.0.1', port } })) }),
      createSentinel({ name: group.masterName, sentinelRootNodes: group.sentinelPorts.map((port) => ({ host: '127.0.0.1', port })) }),
    ];
    for (const client of clients) {
      client.on('error', () => {});
      const store = await openHere({ client, job: newJob() });
      await commitsAndReads(store);
      await store.close();
      await client.destroy();
    }
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const ports = [(silent.address() as AddressInfo).port, cluster.ports[0]];
    const url = `redis+cluster://${ports.map((port) => `127.0.0.1:${port}`).join(',')}?job=${newJob()}&connectTimeoutMs=4000`;
    const { random } = Math;
    try {
      // The driver, given several nodes, begins at one by chance: here at the first.
      Math.random = () => 0;
      await commitsAndReads(await openHere(url));
    } finally {
      Math.random = random;
    }
    silent.close();
    await cluster.remove();
    await group.remove();
  }).timeout(60_000);
});

describe('redis: replicas', () => {
  closeAfterEach();

  it('wait=1: acknowledged when the replica has it; unknown without; written commits do not wait', async () => {
    const master = await startRedis([...DURABLE, '--repl-diskless-sync-delay', '0']);
    const url = `redis://127.0.0.1:${master.port}?job=j&wait=1&commandTimeoutMs=1000`;
    expect(await codeOf(openHere(`${url}&connectTimeoutMs=200`)), 'no replica').to.equal('LOOPSTATE_UNAVAILABLE');
    const replica = await startRedis([...DURABLE, '--replicaof', '127.0.0.1', `${master.port}`]);
    await until(async () => (await infoOf(master.port, 'connected_slaves')) === '1', 'the replica to connect');
    await until(async () => /state=online/.test((await infoOf(master.port, 'slave0')) ?? ''), 'the replica to follow');
    const store = await openHere(url);
    await until(async () => (await store.commit({ puts: [{ key: 'a', value: 'a' }] })).ok, 'the replica to acknowledge');
    expect(await askRedis(replica.port, 'HEXISTS', 'loopstate:{j}:records', 'a')).to.equal(1);
    process.kill(replica.pid, 'SIGSTOP');
    const commit = { checks: [{ key: 'b', revision: 0 }], puts: [{ key: 'b', value: 'own' }] };
    expect(await codeOf(store.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    // The commit stands, but a refusal that shows it is not acknowledged before the replica has what it shows: from a new connection too.
    expect(await codeOf(store.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    const other = await openHere(url);
    expect(await codeOf(other.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect((await store.commit({ puts: [{ key: 'c', value: 1 }], durability: 'written' })).ok).to.equal(true);
    process.kill(replica.pid, 'SIGCONT');
    // On a machine that does much else the replica may need longer than one call waits.
    await until(async () => (await store.commit({ puts: [{ key: 'd', value: 1 }] })).ok, 'the replica to catch up');
    const refused = await store.commit(commit);
    expect(refused).to.have.nested.property('conflicts[0].record.value', 'own');
    await replica.remove();
    const reader = await openHere(`${url}&connectTimeoutMs=1000`, { access: 'read' });
    expect((await reader.read(['d']))[0]).to.include({ value: 1 });
    await master.remove();
  }).timeout(60_000);

  it('commit/three-answers: wait=1 by a user who may not wait is refused by the opening, and later leaves the outcome unknown', async () => {
    const master = await startRedis([...DURABLE, '--repl-diskless-sync-delay', '0']);
    const replica = await startRedis([...DURABLE, '--replicaof', '127.0.0.1', `${master.port}`]);
    await until(async () => (await infoOf(master.port, 'connected_slaves')) === '1', 'the replica to connect');
    const allow = (what: string) => askRedis(master.port, 'ACL', 'SETUSER', 'guest', 'on', '>hunter2', '~*', '+@all', what);
    const url = `redis://guest:hunter2@127.0.0.1:${master.port}?job=j&wait=1&connectTimeoutMs=1000`;
    await allow('-wait');
    const refusal = await errorOf(openHere(url));
    expect(refusal).to.include({ code: 'LOOPSTATE_UNAVAILABLE', retryable: false });
    await allow('+wait');
    const store = await openHere(url);
    await allow('-wait');
    expect(await codeOf(put(store, 'a'))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(await askRedis(master.port, 'HEXISTS', 'loopstate:{j}:records', 'a')).to.equal(1);
    await replica.remove();
    await master.remove();
  }).timeout(60_000);

  it('wait=1 on a cluster: the replicas of the node that has the commit are asked, where its slot has moved as well', async () => {
    const cluster = await startRedisCluster({ replicas: 1 });
    const url = `redis+cluster://127.0.0.1:${cluster.ports[0]}?job=j&wait=1&commandTimeoutMs=6000`;
    const store = await openHere(url);
    expect(await store.commit({ puts: [{ key: 'a', value: 1 }] })).to.include({ ok: true });
    const key = 'loopstate:{j}:records';
    const from = await cluster.holderOf(key);
    const to = cluster.servers.slice(0, 3).findIndex((server) => server !== from);
    // From here on the node that the slot moves to has no replica, and the one that it leaves has one.
    await cluster.servers[3 + to]?.remove();
    await moveSlot(key, from.port, Number(cluster.ports[to]));
    const other = await openHere(`redis://127.0.0.1:${cluster.ports[to]}?job=j`);
    // The new node knows the script then.
    expect(await other.commit({ puts: [{ key: 'b', value: 1 }] })).to.include({ ok: true });
    expect(await codeOf(store.commit({ puts: [{ key: 'c', value: 1 }] }))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    await cluster.remove();
  }).timeout(60_000);
});

describe('redis: bounds', () => {
  let server: RedisServer;

  before(async function () {
    this.timeout(120_000);
    server = await startRedis();
  });
  after(() => server.remove());
  closeAfterEach();

  it('commit/check-now: hundreds of commits of one turn are judged one after another, in few calls', async () => {
    const store = await openHere(`redis://127.0.0.1:${server.port}?job=${newJob()}`);
    await put(store, 'first');
    const before = await scriptCalls();
    const commits = Array.from({ length: 300 }, (_, n) =>
      store.commit({ checks: [{ key: `key-${n % 100}`, revision: 0 }], puts: [{ key: `key-${n % 100}`, value: n }] }),
    );
    const results = await Promise.all(commits);
    expect(results.map(({ ok }) => ok)).to.deep.equal(results.map((_, n) => n < 100));
    expect((await scriptCalls()) - before).to.be.within(2, 20);
  });

  it('commit/shape: large commits of one turn are sent in groups of bounded size', async () => {
    const store = await openHere(`redis://127.0.0.1:${server.port}?job=${newJob()}`);
    const value = 'x'.repeat(1_000_000);
    const commits = Array.from({ length: 24 }, (_, n) => store.commit({ puts: [{ key: `key-${n}`, value }] }));
    expect((await Promise.all(commits)).every(({ ok }) => ok)).to.equal(true);
    expect(await changesOf(store)).to.have.lengthOf(24);
  });

  it('changes/no-gap: forgotten deletions are owned up to, and the tombstones stay bounded', async () => {
    const job = newJob();
    const store = await openHere(`redis://127.0.0.1:${server.port}?job=${job}`);
    const start = await put(store, 'stays');
    const keysOfRound = (round: number) => Array.from({ length: 1_000 }, (_, n) => `key-${round}-${n}`);
    for (let round = 0; round < 13; round++) await store.commit({ deletes: keysOfRound(round) });
    const cursor = await put(store, 'later');
    expect(await askRedis(server.port, 'ZCARD', `loopstate:{${job}}:tombstones`)).to.equal(10_000);
    expect(await codeOf(changesOf(store, start))).to.equal('LOOPSTATE_HISTORY_GONE');
    expect(await changesOf(store, cursor)).to.deep.equal([]);
    expect((await changesOf(store)).map(({ key }) => key)).to.deep.equal(['stays', 'later']);
    // What is put again is no longer among the deleted.
    await store.commit({ puts: keysOfRound(12).map((key) => ({ key, value: 1 })) });
    expect(await askRedis(server.port, 'ZCARD', `loopstate:{${job}}:tombstones`)).to.equal(9_000);
    // Alone, and with others in one group.
    await put(store, 'key-11-0');
    await Promise.all(['key-11-1', 'key-11-2'].map((key) => put(store, key)));
    expect(await askRedis(server.port, 'ZCARD', `loopstate:{${job}}:tombstones`)).to.equal(8_997);
  });

  it('changes/no-gap: one who reads from the start learns of deletions that are made meanwhile', async () => {
    const store = await openHere(`redis://127.0.0.1:${server.port}?job=${newJob()}`);
    for (let n = 0; n < 1_200; n += 400) {
      await store.commit({ puts: Array.from({ length: 400 }, (_, index) => ({ key: `key-${n + index}`, value: n })) });
    }
    const held = new Set<string>();
    for await (const { key, record } of store.changes(0)) {
      if (held.size === 0) await store.commit({ deletes: ['key-0', 'key-1100'] });
      if (record === undefined) held.delete(key);
      else held.add(key);
    }
    expect(held.size).to.equal(1_198);
  });

  it('several jobs on one server have nothing in common', async () => {
    const [one, two] = [
      await openHere(`redis://127.0.0.1:${server.port}?job=one`),
      await openHere(`redis://127.0.0.1:${server.port}?job=two`),
    ];
    await put(one, 'a');
    expect(await two.read(['a'])).to.deep.equal([undefined]);
    expect(await changesOf(two)).to.deep.equal([]);
  });

  async function scriptCalls(): Promise<number> {
    const stats = String(await askRedis(server.port, 'INFO', 'commandstats'));
    return Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(stats)?.[1] ?? 0);
  }
});

async function commitsAndReads(store: StateBackend): Promise<void> {
  const revision = await put(store, 'a', 1);
  const refused = await store.commit({ checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 2 }] });
  expect(refused.ok).to.equal(false);
  expect((await store.read(['a']))[0]).to.include({ value: 1, revision });
  expect(await changesOf(store)).to.have.lengthOf(1);
}

async function moveSlot(key: string, from: number, to: number): Promise<void> {
  const slot = Number(await askRedis(from, 'CLUSTER', 'KEYSLOT', key));
  const [fromId, toId] = await Promise.all([from, to].map(async (port) => String(await askRedis(port, 'CLUSTER', 'MYID'))));
  await askRedis(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', `${fromId}`);
  await askRedis(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', `${toId}`);
  const keys = (await askRedis(from, 'CLUSTER', 'GETKEYSINSLOT', slot, 10)) as string[];
  await askRedis(from, 'MIGRATE', '127.0.0.1', to, '', 0, 5_000, 'KEYS', ...keys);
  for (const port of [to, from]) await askRedis(port, 'CLUSTER', 'SETSLOT', slot, 'NODE', `${toId}`);
}
