/**
 * What a server refuses had no effect, and the error says so; a server that can lose state is refused or reported. Proved on servers
 * that are set up so, and by answers given in the server's place where a server can't be brought to give them.
 */
import { inspect } from 'node:util';
import type { StateBackend } from '@loopstate/core';
import { openRedisBackend } from '@loopstate/redis';
import { expect } from 'chai';
import { proveEach } from '../../../test/support/prove-each.js';
import { DURABLE, type RedisServer, startRedis } from '../../../test/support/redis-server.js';
import { askRedis } from '../../../test/support/resp.js';
import { startTcpProxy, type TcpProxy } from '../../../test/support/tcp-proxy.js';
import { judgeServer, type ServerFacts } from '../src/preflight.js';
import { closeAfterEach, codeOf, codesOf, errorOf, newJob, openHere, put } from './stores.js';

describe('redis: refusals', () => {
  proveEach({ test: 'S11 refusals', backend: 'redis', least: { cases: 20 } });
  let server: RedisServer;
  let proxy: TcpProxy;
  let store: StateBackend;

  before(async function () {
    this.timeout(120_000);
    server = await startRedis();
    proxy = await startTcpProxy(server.port);
  });
  after(async () => {
    await proxy.close();
    await server.remove();
  });
  beforeEach(async () => {
    store = await openHere(`redis://127.0.0.1:${proxy.port}?job=${newJob()}`);
    await put(store, 'first');
  });
  closeAfterEach();

  const replies: readonly [reply: string, retryable: boolean][] = [
    ['LOADING Redis is loading the dataset in memory', true],
    ['MASTERDOWN Link with MASTER is down', true],
    ['CLUSTERDOWN The cluster is down', true],
    ['TRYAGAIN Multiple keys request during rehashing of slot', true],
    ['BUSY Redis is busy running a script', true],
    ['MISCONF Errors writing to the AOF file: No space left on device', true],
    ["READONLY You can't write against a read only replica. script: abc, on @user_script:1.", true],
    ['ERR Error running script (call to f_abc): @user_script:1: @user_script: 1: -OOM command not allowed', true],
    ['NOAUTH Authentication required.', false],
    ['NOPERM this user has no permissions to run the evalsha command', false],
    ['ERR ACL failure in script: this user has no permissions to run the hset command', false],
  ];
  for (const [reply, retryable] of replies) {
    it(`commit/three-answers: «${reply.slice(0, 40)}» had no effect`, async () => {
      proxy.answerNext(`-${reply}\r\n`);
      const error = await errorOf(put(store, 'a'));
      expect(error).to.include({ code: 'LOOPSTATE_UNAVAILABLE', retryable });
      expect(await store.read(['a'])).to.deep.equal([undefined]);
      await put(store, 'a');
    });
  }

  it('commit/three-answers: a group is refused as a whole when the memory is full, whatever it begins with', async () => {
    const revision = await put(store, 'a');
    await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory', '1');
    const commits = [
      store.commit({ deletes: ['a', 'b'] }),
      store.commit({ puts: [{ key: 'c', value: 1 }], deletes: ['d'] }),
      store.commit({ deletes: ['e'] }),
    ];
    const codes = await Promise.all(commits.map(codeOf));
    await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory', '0');
    expect(new Set(codes)).to.deep.equal(new Set(['LOOPSTATE_UNAVAILABLE']));
    const records = await store.read(['a', 'c']);
    expect(records.map((record) => record?.revision)).to.deep.equal([revision, undefined]);
    await put(store, 'c');
  });

  it('commit/three-answers: too few replicas for min-replicas-to-write: refused, without effect', async () => {
    await askRedis(server.port, 'CONFIG', 'SET', 'min-replicas-to-write', '1');
    expect(await codeOf(put(store, 'a'))).to.equal('LOOPSTATE_UNAVAILABLE');
    await askRedis(server.port, 'CONFIG', 'SET', 'min-replicas-to-write', '0');
    expect(await store.read(['a'])).to.deep.equal([undefined]);
  });

  it('commit/three-answers: a server that became a replica refuses, and serves again when it is a master', async () => {
    await askRedis(server.port, 'REPLICAOF', '127.0.0.1', '1');
    expect(await codeOf(put(store, 'a'))).to.equal('LOOPSTATE_UNAVAILABLE');
    await askRedis(server.port, 'REPLICAOF', 'NO', 'ONE');
    await put(store, 'a');
  });

  it('commit/three-answers: scripts that were flushed are sent again', async () => {
    await askRedis(server.port, 'SCRIPT', 'FLUSH');
    await Promise.all(['a', 'b', 'c'].map((key) => put(store, key)));
    await askRedis(server.port, 'SCRIPT', 'FLUSH');
    expect((await store.read(['a']))[0]?.value).to.equal('a');
  });

  it('a user who may not do all that commits need is refused at opening', async () => {
    await askRedis(server.port, 'ACL', 'SETUSER', 'half', 'on', '>hunter2', '~*', '+@all', '-zadd');
    const error = await errorOf(openHere(`redis://half:hunter2@127.0.0.1:${server.port}?job=${newJob()}`));
    expect(error).to.include({ code: 'LOOPSTATE_UNAVAILABLE', retryable: false });
  });

  it('commit/all-or-nothing: what a user may not do is refused before anything is written, in a commit of deletions too', async () => {
    const job = newJob();
    const revision = await put(await openHere(`redis://127.0.0.1:${server.port}?job=${job}`), 'a');
    await askRedis(server.port, 'ACL', 'SETUSER', 'most', 'on', '>hunter2', '~*', '+@all', '-hset');
    const limited = await openHere(`redis://most:hunter2@127.0.0.1:${server.port}?job=${job}`);
    expect(await codeOf(limited.commit({ deletes: ['a'] }))).to.equal('LOOPSTATE_UNAVAILABLE');
    const found = await limited.read(['a']).then(
      ([record]) => record?.revision,
      (error: { code: string }) => error.code,
    );
    expect(found).to.equal(revision);
  });

  it('a wrong password is refused at once, and never shown', async () => {
    const wrong = `redis://half:hunter3@127.0.0.1:${server.port}?job=${newJob()}`;
    await askRedis(server.port, 'ACL', 'SETUSER', 'half', 'on', '>hunter2');
    const startMs = performance.now();
    const error = await errorOf(openHere(wrong));
    expect(performance.now() - startMs).to.be.lessThan(4_000);
    expect(error).to.include({ code: 'LOOPSTATE_UNAVAILABLE', retryable: false });
    expect(inspect(error, { depth: 9, showHidden: true })).not.to.include('hunter3');
  });

  it('a password is never shown by a handle, its findings or its errors', async () => {
    await askRedis(server.port, 'ACL', 'SETUSER', 'whole', 'on', '>hunter2', '~*', '+@all');
    const own = await startTcpProxy(server.port);
    const handle = await openHere(`redis://whole:hunter2@127.0.0.1:${own.port}?job=${newJob()}&commandTimeoutMs=100&connectTimeoutMs=5000`);
    const shown: unknown[] = [handle, handle.recovery, handle.traits];
    void own.loseReplies();
    shown.push(await errorOf(put(handle, 'a')));
    await own.close();
    shown.push(await errorOf(handle.read(['a'])), await errorOf(put(handle, 'a')));
    shown.push(await errorOf(openHere(`redis+sentinel://whole:hunter2@127.0.0.1:${server.port}/m?job=j&connectTimeoutMs=100`)));
    shown.push(await errorOf(openHere(`redis+cluster://whole:hunter2@127.0.0.1:${server.port}?job=j&connectTimeoutMs=100`)));
    expect(inspect(shown, { depth: 12, showHidden: true })).not.to.include('hunter2');
  });

  it('a handle for reading makes nothing, and its commits are refused', async () => {
    // Longer than this test may take: that there is nothing is an answer, and not waited for.
    const url = `redis://127.0.0.1:${server.port}?job=${newJob()}&connectTimeoutMs=600000`;
    expect(await codeOf(openHere(url, { access: 'read' }))).to.equal('LOOPSTATE_ABSENT');
    await put(await openHere(url), 'a');
    const reader = await openHere(url, { access: 'read' });
    expect((await reader.read(['a']))[0]?.value).to.equal('a');
    expect(await codeOf(put(reader, 'a'))).to.equal('LOOPSTATE_READ_ONLY');
  });

  it('a newer format and keys of somebody else are refused, untouched', async () => {
    const [newer, foreign] = [newJob(), newJob()];
    await put(await openHere(`redis://127.0.0.1:${server.port}?job=${newer}`), 'a');
    await askRedis(server.port, 'HSET', `loopstate:{${newer}}:header`, 'format', '2');
    expect(await codeOf(openHere(`redis://127.0.0.1:${server.port}?job=${newer}`))).to.equal('LOOPSTATE_NEWER_FORMAT');
    await askRedis(server.port, 'SET', `loopstate:{${foreign}}:header`, 'mine');
    expect(await codeOf(openHere(`redis://127.0.0.1:${server.port}?job=${foreign}`))).to.equal('LOOPSTATE_FOREIGN');
    expect(await askRedis(server.port, 'GET', `loopstate:{${foreign}}:header`)).to.equal('mine');
  });
});

describe('redis: what a server must be', () => {
  const fit: ServerFacts = {
    version: '7.0.15',
    evictionPolicy: 'noeviction',
    isAppendOnly: true,
    appendFsync: 'always',
    isFsyncSkippedOnRewrite: false,
    replicas: 0,
  };
  const demands = { where: 'redis://one:6379', wait: 0, isDurabilityRequired: false, isEvictionAllowed: false };

  const claims: readonly [what: string, facts: Partial<ServerFacts>, survives: string, findings: string[]][] = [
    ['appendfsync always', {}, 'power-loss', []],
    ['appendfsync everysec', { appendFsync: 'everysec' }, 'process-crash', []],
    ['no fsync while the file is rewritten', { isFsyncSkippedOnRewrite: true }, 'process-crash', []],
    ['CONFIG forbidden', { appendFsync: undefined, isFsyncSkippedOnRewrite: undefined }, 'process-crash', ['persistence-unverified']],
    ['no append-only file', { isAppendOnly: false }, 'nothing', ['persistence-off']],
    ['a server that tells nothing', { isAppendOnly: undefined }, 'nothing', ['persistence-unverified']],
    ['an unknown maxmemory-policy', { evictionPolicy: undefined }, 'power-loss', ['eviction-unverified']],
  ];
  for (const [what, facts, survives, findings] of claims) {
    it(`${what}: survives ${survives}`, () => {
      const fitness = judgeServer({ ...fit, ...facts }, demands);
      expect(fitness.survives).to.equal(survives);
      expect(codesOf(fitness.findings)).to.deep.equal(findings);
    });
  }

  it('an old version, eviction, and less than was demanded are refused', () => {
    const refused = (facts: Partial<ServerFacts>, more = {}) => expect(() => judgeServer({ ...fit, ...facts }, { ...demands, ...more }));
    refused({ version: '6.0.16' }).to.throw();
    refused({ version: '5.0.3' }).to.throw();
    refused({ evictionPolicy: 'allkeys-lru' }).to.throw();
    refused({ evictionPolicy: 'volatile-lru' }).to.throw();
    refused({ isAppendOnly: false }, { isDurabilityRequired: true }).to.throw();
    refused({ evictionPolicy: 'allkeys-lru' }, { isDurabilityRequired: true, isEvictionAllowed: true }).to.throw();
    refused({ replicas: 1 }, { wait: 2 }).to.throw();
    expect(judgeServer({ ...fit, version: '6.2.0' }, demands).survives).to.equal('power-loss');
    const allowed = judgeServer({ ...fit, evictionPolicy: 'allkeys-lru' }, { ...demands, isEvictionAllowed: true });
    expect(allowed.survives).to.equal('nothing');
    expect(codesOf(allowed.findings)).to.deep.equal(['eviction-allowed']);
  });

  it('is asked of the server itself', async () => {
    const server = await startRedis(['--save', '', '--maxmemory-policy', 'allkeys-lru']);
    const url = `redis://127.0.0.1:${server.port}?job=j`;
    expect(await codeOf(openRedisBackend(url))).to.equal('LOOPSTATE_UNAVAILABLE');
    const evicting = await openRedisBackend(`${url}&unsafe=eviction`);
    expect(evicting.traits.survives).to.equal('nothing');
    expect(codesOf(evicting.recovery)).to.deep.equal(['eviction-allowed', 'persistence-off']);
    await evicting.close();
    await askRedis(server.port, 'CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    expect(await codeOf(openRedisBackend(`${url}&durable=required`))).to.equal('LOOPSTATE_UNAVAILABLE');
    await server.remove();
  });

  it('where CONFIG is forbidden, no more is claimed than INFO tells', async () => {
    const server = await startRedis([...DURABLE, '--rename-command', 'CONFIG', '']);
    const store = await openRedisBackend(`redis://127.0.0.1:${server.port}?job=j&durable=required`);
    expect(store.traits.survives).to.equal('process-crash');
    expect(codesOf(store.recovery)).to.deep.equal(['persistence-unverified']);
    await store.close();
    await server.remove();
  });
});
