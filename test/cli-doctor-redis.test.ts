/**
 * `loopstate doctor` names what is wrong with a state in Redis and with its server, and changes no key. Each case has a job on a real server,
 * breaks one of the two, and has the program look at it; what can be repaired is, and looked at again.
 */
import { expect } from 'chai';
import { type Json, LoopState, openBackend } from 'loopstate';
import { doctor, gravityOf, idsOf, startHolder } from './support/doctor.js';
import { proveEach } from './support/prove-each.js';
import { DURABLE, type RedisServer, startRedis, startRedisCluster, startSentinelGroup, until } from './support/redis-server.js';
import { askRedis, infoOf, type Reply } from './support/resp.js';

const COUNT = 5;
const JUNK_BYTES = 20_000_000;

let jobs = 0;
const newJob = (): string => `doctor-${process.pid}-${++jobs}`;

async function makeJob(url: string): Promise<void> {
  const state = await LoopState.open(url);
  for (let n = 0; n < COUNT; n++) {
    await state.begin(`item-${n}`);
    await state.end(`item-${n}`, { status: 'success' });
  }
  await state.close();
}

async function put(url: string, puts: { key: string; value: Json }[]): Promise<void> {
  const backend = await openBackend(url, { access: 'write' });
  await backend.commit({ puts });
  await backend.close();
}

/** All that stands in the keys of a server. The fields of a hash come in an order that changes while the server makes its table anew. */
async function keysOf(port: number): Promise<{ readonly [key: string]: Reply | { readonly [field: string]: Reply } }> {
  const contents: [string, Reply | { readonly [field: string]: Reply }][] = [];
  for (const key of ((await askRedis(port, 'KEYS', '*')) as string[]).sort()) {
    const type = String(await askRedis(port, 'TYPE', key));
    const read: Record<string, string[]> = { hash: ['HGETALL', key], zset: ['ZRANGE', key, '0', '-1', 'WITHSCORES'] };
    const found = await askRedis(port, ...(read[type] ?? ['STRLEN', key]));
    contents.push([key, type === 'hash' ? fieldsOf(found as Reply[]) : found]);
  }
  return Object.fromEntries(contents);
}

function fieldsOf(found: readonly Reply[]): { readonly [field: string]: Reply } {
  const fields: { [field: string]: Reply } = {};
  for (let at = 0; at < found.length; at += 2) fields[String(found[at])] = found[at + 1] as Reply;
  return fields;
}

interface Case {
  readonly broken?: (port: number, job: string) => Promise<unknown>;
  /** What is added to the URL. */
  readonly more?: string;
  readonly user?: string;
  readonly ids: readonly string[];
  readonly gravity: 'ok' | 'info' | 'warning' | 'problem';
}

const set =
  (...config: readonly (string | number)[]) =>
  (port: number) =>
    askRedis(port, 'CONFIG', 'SET', ...config);

/** Sets how much memory there may be, so that `share` of it is used. */
async function fillMemory(port: number, share: number): Promise<void> {
  // So much that what a connection takes makes no difference.
  await askRedis(port, 'SETRANGE', 'junk', JUNK_BYTES, 'x');
  await set('maxmemory', Math.floor(Number(await infoOf(port, 'used_memory')) / share))(port);
}

const CASES: Readonly<Record<string, Case>> = {
  'a job as it should be': { ids: [], gravity: 'ok' },
  'no job': { broken: (port) => askRedis(port, 'FLUSHALL'), ids: ['no-such-job'], gravity: 'info' },
  'a policy that evicts': { broken: set('maxmemory-policy', 'allkeys-lru'), ids: ['eviction-allowed'], gravity: 'problem' },
  'a policy that evicts, accepted': {
    broken: set('maxmemory-policy', 'volatile-lru'),
    more: '&unsafe=eviction',
    ids: ['eviction-allowed'],
    gravity: 'warning',
  },
  'no append-only file': { broken: set('appendonly', 'no'), ids: ['persistence-off'], gravity: 'warning' },
  'no append-only file where one is demanded': {
    broken: set('appendonly', 'no'),
    more: '&durable=required',
    ids: ['persistence-off'],
    gravity: 'problem',
  },
  'appendfsync everysec': { broken: set('appendfsync', 'everysec'), ids: ['fsync-later'], gravity: 'warning' },
  'appendfsync no': { broken: set('appendfsync', 'no'), ids: ['fsync-later'], gravity: 'warning' },
  'no-appendfsync-on-rewrite': {
    broken: set('no-appendfsync-on-rewrite', 'yes'),
    ids: ['fsync-skipped-on-rewrite'],
    gravity: 'warning',
  },
  'fewer replicas than are waited for': { more: '&wait=1', ids: ['too-few-replicas'], gravity: 'problem' },
  'a replica without a master': { broken: (port) => askRedis(port, 'REPLICAOF', '127.0.0.1', 1), ids: ['is-replica'], gravity: 'problem' },
  'memory that is nearly full': { broken: (port) => fillMemory(port, 0.95), ids: ['memory-nearly-full'], gravity: 'warning' },
  'memory that is full': { broken: (port) => fillMemory(port, 1.1), ids: ['memory-full'], gravity: 'problem' },
  'a record that is gone': {
    broken: (port, job) => askRedis(port, 'HDEL', `loopstate:{${job}}:records`, 'item/item-2'),
    ids: ['records-incomplete'],
    gravity: 'problem',
  },
  'a key that is gone': {
    broken: (port, job) => askRedis(port, 'DEL', `loopstate:{${job}}:revisions`),
    ids: ['records-incomplete'],
    gravity: 'problem',
  },
  'a record that was changed': {
    async broken(port, job) {
      const records = `loopstate:{${job}}:records`;
      const record = String(await askRedis(port, 'HGET', records, 'item/item-2'));
      await askRedis(port, 'HSET', records, 'item/item-2', record.replace('completed', 'outstandin'));
    },
    ids: ['record-damaged'],
    gravity: 'problem',
  },
  'keys of somebody else': {
    async broken(port, job) {
      await askRedis(port, 'FLUSHALL');
      await askRedis(port, 'SET', `loopstate:{${job}}:header`, 'mine');
    },
    ids: ['foreign-keys'],
    gravity: 'problem',
  },
  'a newer format': {
    broken: (port, job) => askRedis(port, 'HSET', `loopstate:{${job}}:header`, 'format', 2),
    ids: ['newer-format'],
    gravity: 'problem',
  },
  'a wrong password': {
    broken: (port) => askRedis(port, 'ACL', 'SETUSER', 'operator', 'on', '>hunter2', '~*', '+@all'),
    user: 'operator:hunter3@',
    ids: ['access-denied'],
    gravity: 'problem',
  },
  'a user who may not run scripts': {
    broken: (port) => askRedis(port, 'ACL', 'SETUSER', 'guest', 'on', '>hunter2', '~*', '+@all', '-eval', '-evalsha'),
    user: 'guest:hunter2@',
    ids: ['not-permitted'],
    gravity: 'problem',
  },
  'a user who may not ask': {
    broken: (port) => askRedis(port, 'ACL', 'SETUSER', 'deaf', 'on', '>hunter2', '~*', '+@all', '-info'),
    user: 'deaf:hunter2@',
    ids: ['not-permitted'],
    gravity: 'problem',
  },
};

describe('loopstate doctor on a state in Redis', function () {
  this.timeout(60_000);
  proveEach({ test: 'D1 findings of doctor', backend: 'redis', least: { cases: 25 } });
  let server: RedisServer;
  let job = '';
  const url = ({ user = '', more = '' } = {}): string => `redis://${user}127.0.0.1:${server.port}?job=${job}${more}`;

  before(async () => {
    server = await startRedis();
  });
  after(() => server.remove());
  beforeEach(async () => {
    job = newJob();
    await makeJob(url());
  });
  afterEach(async () => {
    await askRedis(server.port, 'REPLICAOF', 'NO', 'ONE');
    await set('maxmemory', 0)(server.port);
    for (const [index, name] of DURABLE.entries())
      if (name.startsWith('--')) await set(name.slice(2), DURABLE[index + 1] ?? '')(server.port);
    await set('no-appendfsync-on-rewrite', 'no')(server.port);
    await askRedis(server.port, 'FLUSHALL');
  });

  for (const [name, { broken, ids, gravity, ...rest }] of Object.entries(CASES)) {
    it(`always-starts: ${name}: ${ids.join(', ') || 'all is well'}`, async () => {
      await broken?.(server.port, job);
      const before = await keysOf(server.port);
      const { findings } = await doctor(url(rest));
      expect(idsOf(findings)).to.deep.equal(ids);
      expect(gravityOf(findings)).to.equal(gravity);
      expect(await keysOf(server.port), 'the look changed something').to.deep.equal(before);
    });
  }

  it('always-starts: a server that is not there: unreachable', async () => {
    const gone = await startRedis();
    await gone.remove();
    const { findings } = await doctor(`redis://:hunter2@127.0.0.1:${gone.port}?job=j&connectTimeoutMs=300`);
    expect(idsOf(findings)).to.deep.equal(['unreachable']);
  });

  it('always-starts: a server that wants a password: access-denied without, and not shown with', async () => {
    const guarded = await startRedis([...DURABLE, '--protected-mode', 'no']);
    await askRedis(guarded.port, 'CONFIG', 'SET', 'requirepass', 'hunter2');
    expect(idsOf((await doctor(`redis://127.0.0.1:${guarded.port}?job=j`)).findings)).to.deep.equal(['access-denied']);
    expect(idsOf((await doctor(`redis://:hunter2@127.0.0.1:${guarded.port}?job=j`)).findings)).to.deep.equal(['no-such-job']);
    await guarded.remove();
  });

  it('acked-survives, always-starts: a process that was killed: run-gone, and a repair takes over from it', async () => {
    const holder = await startHolder(url(), { count: COUNT });
    expect(idsOf((await doctor(url())).findings)).to.deep.equal(['run-at-work']);
    await holder.kill();
    const before = await keysOf(server.port);
    expect(idsOf((await doctor(url())).findings)).to.deep.equal(['run-gone']);
    expect(await keysOf(server.port)).to.deep.equal(before);
    const { findings, repair } = await doctor(url(), '--repair');
    expect(idsOf(findings)).to.deep.equal([]);
    expect(repair?.tookOver.map(({ items }) => items)).to.deep.equal([1]);
    expect(findings.find(({ id }) => id === 'progress')?.found).to.match(/^5 completed, 0 failed, 0 in progress, 1 outstanding/);
  });

  it('fenced: a process that is paused, and one of another host that is silent: run-silent, and a repair leaves them alone', async () => {
    const holder = await startHolder(url(), { leaseMs: 1_000 });
    holder.child.kill('SIGSTOP');
    const run = {
      process: 'p',
      host: 'elsewhere',
      pid: 7,
      bootId: 'b',
      pidNamespace: 'n',
      startTime: '1',
      leaseMs: 1_000,
      since: 0,
      by: 'x.1',
    };
    await put(url(), [
      { key: 'run/x', value: run },
      { key: 'beat/x', value: { by: 'x.1' } },
    ]);
    await until(async () => (await doctor(url())).findings.filter(({ id }) => id === 'run-silent').length === 2, 'both to be silent');
    const before = await keysOf(server.port);
    const { findings } = await doctor(url(), '--repair');
    expect(idsOf(findings)).to.deep.equal(['run-silent']);
    expect(await keysOf(server.port)).to.deep.equal(before);
    holder.child.kill('SIGCONT');
    await holder.kill();
  });

  it('always-starts: a cluster, named as one, named as a server, and with a node that is gone', async function () {
    this.timeout(120_000);
    const cluster = await startRedisCluster();
    const nodes = cluster.ports.map((port) => `127.0.0.1:${port}`).join(',');
    const asCluster = `redis+cluster://${nodes}?job=${job}&connectTimeoutMs=2000`;
    await makeJob(asCluster);
    expect(idsOf((await doctor(asCluster)).findings)).to.deep.equal([]);
    const holder = await cluster.holderOf(`loopstate:{${job}}:header`);
    for (const { port } of cluster.servers) {
      const { findings } = await doctor(`redis://127.0.0.1:${port}?job=${job}`);
      expect(idsOf(findings)).to.deep.equal(['is-cluster']);
      expect(gravityOf(findings)).to.equal(port === holder.port ? 'warning' : 'problem');
    }
    const [other] = cluster.servers.filter((node) => node !== holder);
    await other?.kill();
    await until(async () => String(await askRedis(holder.port, 'CLUSTER', 'INFO')).includes('cluster_state:fail'), 'the cluster to fail');
    expect(idsOf((await doctor(asCluster)).findings)).to.include('cluster-down');
    await cluster.remove();
  });

  it('always-starts: Sentinels, named as such and as servers, silent ones, and a master that none knows', async function () {
    this.timeout(120_000);
    const group = await startSentinelGroup();
    const [first = 0, second = 0] = group.sentinelPorts;
    const behind = (ports: readonly number[], master = group.masterName): string =>
      `redis+sentinel://${ports.map((port) => `127.0.0.1:${port}`).join(',')}/${master}?job=${job}&connectTimeoutMs=1500`;
    await makeJob(behind(group.sentinelPorts));
    expect(idsOf((await doctor(behind(group.sentinelPorts))).findings)).to.deep.equal(['replicas-not-awaited']);
    expect(idsOf((await doctor(`${behind(group.sentinelPorts)}&wait=1`)).findings)).to.deep.equal([]);
    expect(idsOf((await doctor(behind(group.sentinelPorts, 'another'))).findings)).to.deep.equal(['master-unknown']);
    expect(idsOf((await doctor(behind([group.master().port]))).findings)).to.deep.equal(['master-unknown']);
    expect(idsOf((await doctor(`redis://127.0.0.1:${first}?job=${job}`)).findings)).to.deep.equal(['is-sentinel']);
    await askRedis(second, 'SHUTDOWN').catch(() => undefined);
    expect(idsOf((await doctor(behind(group.sentinelPorts))).findings)).to.deep.equal(['replicas-not-awaited', 'sentinel-silent']);
    await group.remove();
  });
});
