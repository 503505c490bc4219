/**
 * Proves what is said of a job in Redis and of its server, by facts that are made up where a real server can't be brought to show them.
 * The command that shows it is tested in test/cli-doctor-redis.test.ts, on real servers.
 */
import { LoopStateError, type StateRecord } from '@loopstate/core';
import { expect } from 'chai';
import { DURABLE, type RedisServer, startRedis } from '../../../test/support/redis-server.js';
import { askRedis } from '../../../test/support/resp.js';
import { diagnoseRedis } from '../src/diagnosis.js';
import { judgeRedis, REDIS_DIAGNOSES, type RedisFacts, type ServerCondition } from '../src/judge-redis.js';
import type { ServerFacts } from '../src/preflight.js';
import { DamagedJobError } from '../src/trouble.js';
import { closeAfterEach, codeOf, newJob, openHere, put } from './stores.js';

const setUp: ServerFacts = {
  version: '7.2.4',
  evictionPolicy: 'noeviction',
  isAppendOnly: true,
  appendFsync: 'always',
  isFsyncSkippedOnRewrite: false,
  replicas: 0,
};
const condition: ServerCondition = { mode: 'standalone', role: 'master', usedBytes: 1_000_000, memoryLimitBytes: 0, clockAheadMs: 3 };
const target: RedisFacts['target'] = {
  where: 'redis://one:6379?job=j',
  kind: 'server',
  job: 'j',
  wait: 0,
  isDurabilityRequired: false,
  isEvictionAllowed: false,
};

/** What a server's refusal becomes on its way. */
function refused(word: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_UNAVAILABLE', `It refused the call (${word}).`, { cause: new Error(`${word} for some reason`) });
}

describe('judgeRedis', () => {
  const reached = new Set<string>();
  const judge = (facts: Partial<RedisFacts>): string[] => {
    const findings = judgeRedis({ target, server: { setUp, condition }, job: { records: 3 }, ...facts });
    for (const { id, severity, where, found, remedy } of findings) {
      reached.add(id);
      expect(where).to.equal(target.where);
      expect(found, id).to.match(/^.+\.$/);
      if (severity !== 'ok') expect(remedy, id).to.match(/^.+\.$/);
    }
    return findings.filter(({ severity }) => severity !== 'ok').map(({ id, severity }) => `${severity} ${id}`);
  };
  const by = (facts: Partial<ServerFacts>): Partial<RedisFacts> => ({ server: { setUp: { ...setUp, ...facts }, condition } });
  const now = (facts: Partial<ServerCondition>): Partial<RedisFacts> => ({ server: { setUp, condition: { ...condition, ...facts } } });
  const failed = (failure: LoopStateError): Partial<RedisFacts> => ({ server: { failure }, job: undefined });
  const unread = (failure: LoopStateError): Partial<RedisFacts> => ({ job: { failure } });
  const asked = (...answers: readonly string[]): Partial<RedisFacts> => ({
    sentinels: new Map(answers.map((answer, index) => [`sentinel-${index}`, answer])),
  });
  const wanting = (more: Partial<RedisFacts['target']>, facts: Partial<RedisFacts> = {}): Partial<RedisFacts> => ({
    ...facts,
    target: { ...target, ...more },
  });

  const CASES: readonly [what: string, facts: Partial<RedisFacts>, said: string[]][] = [
    ['all is well', {}, []],
    ['not there', failed(new LoopStateError('LOOPSTATE_UNAVAILABLE', 'It cannot be reached.')), ['problem unreachable']],
    ['no password', failed(refused('NOAUTH')), ['problem access-denied']],
    ['a wrong password', failed(refused('WRONGPASS')), ['problem access-denied']],
    ['not allowed', failed(refused('NOPERM')), ['problem not-permitted']],
    ['still loading', failed(refused('LOADING')), ['problem loading']],
    ['a cluster that is down', failed(refused('CLUSTERDOWN')), ['problem cluster-down']],
    ['too old', by({ version: '6.0.16' }), ['problem server-too-old']],
    ['old enough', by({ version: '6.2.0' }), []],
    ['a version that is not told', by({ version: undefined }), []],
    ['eviction', by({ evictionPolicy: 'allkeys-lru' }), ['problem eviction-allowed']],
    ['eviction, accepted', wanting({ isEvictionAllowed: true }, by({ evictionPolicy: 'allkeys-lru' })), ['warning eviction-allowed']],
    ['a policy that is not told', by({ evictionPolicy: undefined }), ['warning eviction-unverified']],
    ['no append-only file', by({ isAppendOnly: false }), ['warning persistence-off']],
    ['the same, demanded', wanting({ isDurabilityRequired: true }, by({ isAppendOnly: false })), ['problem persistence-off']],
    ['persistence that is not told', by({ isAppendOnly: undefined }), ['warning persistence-unverified']],
    ['syncing that is not told', by({ appendFsync: undefined }), ['info persistence-unverified']],
    ['appendfsync everysec', by({ appendFsync: 'everysec' }), ['warning fsync-later']],
    ['no sync on rewrite', by({ isFsyncSkippedOnRewrite: true }), ['warning fsync-skipped-on-rewrite']],
    ['both', by({ appendFsync: 'no', isFsyncSkippedOnRewrite: true }), ['warning fsync-later', 'warning fsync-skipped-on-rewrite']],
    ['a disk that fails', now({ isAppendingFailing: true }), ['problem disk-write-failed']],
    ['a snapshot that failed', now({ isSnapshotFailing: true }), ['warning disk-write-failed']],
    ['little memory', now({ usedBytes: 95, memoryLimitBytes: 100 }), ['warning memory-nearly-full']],
    ['no memory', now({ usedBytes: 101, memoryLimitBytes: 100 }), ['problem memory-full']],
    ['enough memory', now({ usedBytes: 50, memoryLimitBytes: 100 }), []],
    ['too few replicas', wanting({ wait: 2 }, by({ replicas: 1 })), ['problem too-few-replicas']],
    ['replicas', by({ replicas: 2 }), ['info replicas-not-awaited']],
    ['replicas that are waited for', wanting({ wait: 2 }, by({ replicas: 2 })), []],
    ['a replica', now({ role: 'slave', master: 'other:6379', isMasterConnected: true }), ['problem is-replica']],
    ['a clock that is ahead', now({ clockAheadMs: 90_000 }), ['info clock-differs']],
    ['a clock that is behind', now({ clockAheadMs: -90_000 }), ['info clock-differs']],
    ['a clock that is not told', now({ clockAheadMs: undefined }), []],
    ['a Sentinel', now({ mode: 'sentinel' }), ['problem is-sentinel']],
    ['a node of a cluster', now({ mode: 'cluster', isClusterServing: true, slotsServed: 16_384 }), ['warning is-cluster']],
    ['a cluster', wanting({ kind: 'cluster' }, now({ mode: 'cluster', isClusterServing: true, slotsServed: 16_384 })), []],
    [
      'a cluster in part',
      wanting({ kind: 'cluster' }, now({ mode: 'cluster', isClusterServing: true, slotsServed: 9 })),
      ['warning cluster-down'],
    ],
    ['a cluster at rest', wanting({ kind: 'cluster' }, now({ mode: 'cluster', isClusterServing: false })), ['problem cluster-down']],
    ['Sentinels', asked('m:1', 'm:1', 'm:1'), []],
    ['a silent one', asked('m:1', 'silent', 'm:1'), ['warning sentinel-silent']],
    ['Sentinels that disagree', asked('m:1', 'n:1'), ['warning sentinels-disagree']],
    ['Sentinels that know no master', { ...asked('unknown', 'silent'), ...failed(refused('x')) }, ['problem master-unknown']],
    ['only silent ones', { ...asked('silent', 'silent'), ...failed(refused('x')) }, ['problem master-unknown']],
    ['a master that is named and not there', { ...asked('m:1'), ...failed(refused('x')) }, ['problem unreachable']],
    ['no job', { job: 'absent' }, ['info no-such-job']],
    ['a job on another node', unread(refused('MOVED')), ['problem is-cluster']],
    ['records that do not fit together', unread(new DamagedJobError('w', '')), ['problem records-incomplete']],
    ['a damaged record', unread(new DamagedJobError('w', 'item/a')), ['problem record-damaged']],
    ['foreign keys', unread(new LoopStateError('LOOPSTATE_FOREIGN', 'x')), ['problem foreign-keys']],
    ['a newer format', unread(new LoopStateError('LOOPSTATE_NEWER_FORMAT', 'x')), ['problem newer-format']],
    ['a user who may not read', unread(refused('NOPERM')), ['problem not-permitted']],
    ['a store that went backwards', unread(new LoopStateError('LOOPSTATE_WENT_BACKWARDS', 'It went backwards.')), ['problem job-not-read']],
  ];
  for (const [what, facts, said] of CASES) it(what, () => expect(judge(facts)).to.deep.equal(said));

  it('every id is reached', () => expect([...reached].sort()).to.deep.equal(Object.keys(REDIS_DIAGNOSES).sort()));
});

describe('diagnoseRedis', () => {
  let server: RedisServer;
  before(async () => {
    server = await startRedis(DURABLE);
  });
  after(() => server.remove());
  closeAfterEach();

  it('gives each record once, in the order of revisions, page after page', async () => {
    const url = `redis://127.0.0.1:${server.port}?job=${newJob()}`;
    const store = await openHere(url);
    const keys = Array.from({ length: 1_234 }, (_, n) => `item/${n}`);
    const revisions = await Promise.all(keys.map((key) => put(store, key)));
    // Those sent together get theirs in any order.
    const byRevision = keys.map((key, n) => ({ key, revision: revisions[n] ?? 0 })).sort((a, b) => a.revision - b.revision);
    const ordered = byRevision.map(({ key }) => key);
    await store.commit({ deletes: ['item/7'] });
    const records: StateRecord[] = [];
    const diagnosis = await diagnoseRedis(url, { onRecord: (record) => records.push(record) });
    expect(records.map(({ key }) => key)).to.deep.equal(ordered.filter((key) => key !== 'item/7'));
    expect(diagnosis).to.include({ backend: 'redis', reach: 'network' });
    expect(Math.abs(diagnosis.clockAheadMs ?? Number.NaN)).to.be.lessThan(60_000);
  });

  it('a server that does not answer is a finding', async () => {
    const url = `redis://127.0.0.1:${server.port}?job=${newJob()}&connectTimeoutMs=300`;
    await askRedis(server.port, 'CLIENT', 'PAUSE', 1_500);
    const { findings } = await diagnoseRedis(url);
    expect(findings.map(({ id }) => id)).to.deep.equal(['unreachable']);
    await askRedis(server.port, 'CLIENT', 'UNPAUSE').catch(() => undefined);
  });

  it('refuses what opening refuses', async () => {
    expect(await codeOf(diagnoseRedis('redis://:hunter2@host'))).to.equal('LOOPSTATE_BAD_OPTION');
  });
});
