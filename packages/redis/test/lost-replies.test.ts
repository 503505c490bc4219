/**
 * A call is answered yes, no or «unknown», whatever the network does, and never hangs; what is unknown is found out by sending the same
 * conditional commit again. Proved through a proxy that holds, drops, cuts and answers in the server's place.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { createSentinel } from '@keyv/redis';
import type { Commit, StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { proveEach } from '../../../test/support/prove-each.js';
import { MASTER_NAME, type RedisServer, startRedis, startSentinel } from '../../../test/support/redis-server.js';
import { askRedis } from '../../../test/support/resp.js';
import { startTcpProxy, type TcpProxy } from '../../../test/support/tcp-proxy.js';
import { closeAfterEach, codeOf, errorOf, newJob, openHere, put } from './stores.js';

const COMMAND_MS = 400;

describe('redis: lost replies', () => {
  proveEach({ test: 'S11 lost replies', backend: 'redis', least: { cases: 14 } });
  let server: RedisServer;
  let proxy: TcpProxy;
  let direct: StateBackend;
  let through: StateBackend;
  const commit: Commit = { checks: [{ key: 'item', revision: 0 }], puts: [{ key: 'item', value: { by: 'run.1' } }] };

  before(async function () {
    this.timeout(120_000);
    server = await startRedis();
  });
  after(() => server.remove());
  beforeEach(async () => {
    proxy = await startTcpProxy(server.port);
    const job = newJob();
    direct = await openHere(`redis://127.0.0.1:${server.port}?job=${job}`);
    through = await openHere(`redis://127.0.0.1:${proxy.port}?job=${job}&commandTimeoutMs=${COMMAND_MS}&connectTimeoutMs=1000`);
    // The first of all commits is refused, and sent again with the text of its script: the tests are about what comes after.
    await put(direct, 'first');
  });
  closeAfterEach();
  afterEach(() => proxy.close());

  /** Sends the same commit again; it is refused by its own record, or applies now. */
  async function resolved(): Promise<'the first applied' | 'the second applied'> {
    const result = await through.commit(commit).catch((error: unknown) => error as Error & { code: string });
    // Without effect: it took too long to come back to the server.
    if (!('ok' in result)) return result.code === 'LOOPSTATE_UNAVAILABLE' ? resolved() : Promise.reject(result);
    if (result.ok) return 'the second applied';
    expect(result.conflicts[0]?.record?.value).to.deep.equal({ by: 'run.1' });
    return 'the first applied';
  }

  it('commit/three-answers: cut after the commit was made, before its reply: unknown, and it was made', async () => {
    const lost = proxy.loseReplies();
    const call = codeOf(through.commit(commit));
    await lost;
    proxy.cut();
    expect(await call).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(await resolved()).to.equal('the first applied');
  });

  it('commit/three-answers: a client of Sentinels, which sends again by itself, has nothing to send again', async () => {
    const sentinel = await startSentinel(proxy.port);
    const client = createSentinel({ name: MASTER_NAME, sentinelRootNodes: [{ host: '127.0.0.1', port: sentinel.port }] });
    client.on('error', () => {});
    const job = newJob();
    const store = await openHere({ client, job });
    await put(store, 'item', 'first');
    const lost = proxy.loseReplies();
    const call = codeOf(store.commit({ puts: [{ key: 'item', value: 'second' }] }));
    await lost;
    const other = await openHere(`redis://127.0.0.1:${server.port}?job=${job}`);
    const [made] = await other.read(['item']);
    expect(made).to.include({ value: 'second' });
    proxy.cut();
    expect(await call).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(await store.read(['item'])).to.deep.equal([made]);
    await store.close();
    await client.destroy();
    await sentinel.remove();
  });

  it('commit/three-answers: cut before the commit reached the server: unknown, and it was not made', async () => {
    const held = proxy.holdRequests();
    const call = codeOf(through.commit(commit));
    await held;
    proxy.cut();
    expect(await call).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(await resolved()).to.equal('the second applied');
  });

  it('commit/three-answers: no reply in time: unknown within the deadline, and the connection is not used again', async () => {
    void proxy.loseReplies();
    const startMs = performance.now();
    expect(await codeOf(through.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(performance.now() - startMs).to.be.within(COMMAND_MS - 20, COMMAND_MS + 3_000);
    proxy.cut();
    expect(await resolved()).to.equal('the first applied');
  });

  it('commit/three-answers: a first command that lands late is refused, or refuses the second: one of the two applies', async () => {
    void proxy.holdRequests();
    expect(await codeOf(through.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    // A read that does not show it proves nothing.
    expect(await direct.read(['item'])).to.deep.equal([undefined]);
    const second = await direct.commit({ ...commit, puts: [{ key: 'item', value: { by: 'run.2' } }] });
    expect(second.ok).to.equal(true);
    proxy.releaseRequests();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await direct.read(['item']))[0]?.value).to.deep.equal({ by: 'run.2' });
  });

  it('commit/three-answers: a command that lands after its deadline, with nothing in between, counts once', async () => {
    void proxy.holdRequests();
    expect(await codeOf(through.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    proxy.releaseRequests();
    while ((await direct.read(['item']))[0] === undefined) await new Promise(setImmediate);
    expect(await resolved()).to.equal('the first applied');
  });

  for (const reply of ['+OK\r\n', '*2\r\n+OK\r\n:1\r\n', ':0\r\n', '$-1\r\n', '-ERR something nobody has seen\r\n', '?what\r\n']) {
    it(`commit/three-answers: the reply ${JSON.stringify(reply)} leaves the outcome unknown`, async () => {
      proxy.answerNext(reply);
      expect(await codeOf(through.commit(commit))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
      expect(await resolved()).to.equal('the second applied');
    });
  }

  it('a read whose reply is lost rejects as unavailable, and the next one succeeds', async () => {
    await put(direct, 'a', 1);
    const lost = proxy.loseReplies();
    const call = errorOf(through.read(['a']));
    await lost;
    proxy.cut();
    expect(await call).to.include({ code: 'LOOPSTATE_UNAVAILABLE', retryable: true });
    expect((await through.read(['a']))[0]?.value).to.equal(1);
  });

  it('a call waits for a connection, and nothing of it is sent before there is one', async () => {
    await server.kill();
    await noticed();
    const calls = [through.commit(commit), through.commit({ puts: [{ key: 'other', value: 1 }] })];
    const codes = Promise.all(calls.map(codeOf));
    expect(await codes).to.deep.equal(['LOOPSTATE_UNAVAILABLE', 'LOOPSTATE_UNAVAILABLE']);
    await server.start();
    expect(await direct.read(['item', 'other'])).to.deep.equal([undefined, undefined]);
    expect(await resolved()).to.equal('the second applied');
  });

  it('a server that comes back within the deadline is used without an error', async () => {
    const patient = await openHere(`redis://127.0.0.1:${server.port}?job=${newJob()}`);
    await server.kill();
    await noticed();
    const call = put(patient, 'a', 1);
    await server.start();
    expect(await call).to.be.greaterThan(0);
  });

  it('a connection that breaks while nothing is in flight costs no call an error', async () => {
    for (let round = 0; round < 3; round++) {
      proxy.cut();
      await noticed();
      await put(through, `key-${round}`);
    }
  });
});

describe('redis: a server that is not there', () => {
  closeAfterEach();

  it('opening fails within the connect deadline', async () => {
    const startMs = performance.now();
    const error = await errorOf(openHere('redis://user:hunter2@127.0.0.1:1?job=j&connectTimeoutMs=300'));
    expect(error).to.include({ code: 'LOOPSTATE_UNAVAILABLE', retryable: true });
    expect(performance.now() - startMs).to.be.lessThan(2_000);
  });

  it('opening fails within the connect deadline at one that accepts and says nothing', async () => {
    const listener = await listen();
    const { port } = listener.address() as { port: number };
    for (const target of [`redis://127.0.0.1:${port}`, `redis+cluster://127.0.0.1:${port}`, `redis+sentinel://127.0.0.1:${port}/m`]) {
      const startMs = performance.now();
      expect(await codeOf(openHere(`${target}?job=j&connectTimeoutMs=300`)), target).to.equal('LOOPSTATE_UNAVAILABLE');
      expect(performance.now() - startMs, target).to.be.lessThan(2_000);
    }
    listener.close();
  });

  it('a paused server is unavailable for reads and unknown for commits, within the deadline', async () => {
    const server = await startRedis();
    const store = await openHere(`redis://127.0.0.1:${server.port}?job=j&commandTimeoutMs=200`);
    await put(store, 'first');
    process.kill(server.pid, 'SIGSTOP');
    expect(await codeOf(put(store, 'a'))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
    expect(await codeOf(store.read(['a']))).to.equal('LOOPSTATE_UNAVAILABLE');
    process.kill(server.pid, 'SIGCONT');
    await askRedis(server.port, 'PING');
    expect((await store.read(['a']))[0]?.value).to.equal('a');
    await server.remove();
  });
});

/** Until then a call is sent on the connection that is lost already. */
async function noticed(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Accepts connections and never says a word. */
async function listen(): Promise<Server> {
  const listener = createServer((socket) => socket.on('error', () => {}).unref());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return listener.unref();
}
