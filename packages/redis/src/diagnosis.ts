/** Looks at a job in Redis and at its server, and changes nothing; what is found is judged in `judge-redis.ts`. */
import { type DiagnoseOptions, type Diagnosis, isLoopStateError, type LoopStateError, type StateRecord } from '@loopstate/core';
import { Deadlines } from './deadline.js';
import { askSentinel } from './find-master.js';
import { JobStore } from './job-store.js';
import { judgeRedis, type RedisFacts, type SentinelAnswers, type ServerCondition } from './judge-redis.js';
import { Link } from './link.js';
import { connectOf } from './open-redis-backend.js';
import { isTooOld, learnFacts, lineOfInfo } from './preflight.js';
import { type RedisOptions, readTarget, showAddress, type Target } from './target.js';
import { plainCause } from './trouble.js';

/** Looks at what a `redis:` URL means; see {@link diagnoseRedis}. */
export async function diagnose(url: string, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  return await diagnoseRedis(url, options);
}

/**
 * Says what the server and the job that `target` names are like, without changing anything. All records are read and held against their
 * check sums. It takes at most `connectTimeoutMs` to find out that nobody answers.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`. Whatever else is wrong is a finding, and none holds a password.
 */
export async function diagnoseRedis(
  target: string | RedisOptions,
  { onRecord = () => undefined }: DiagnoseOptions = {},
): Promise<Diagnosis> {
  const wanted = readTarget(target);
  const { where, connectTimeoutMs, commandTimeoutMs } = wanted;
  const link = new Link({ connect: connectOf(wanted), where, connectTimeoutMs, commandTimeoutMs, random: Math.random });
  try {
    const facts = await gather(link, wanted, onRecord);
    const clockAheadMs = 'failure' in facts.server ? undefined : facts.server.condition.clockAheadMs;
    return {
      backend: 'redis',
      reach: 'network',
      where,
      findings: judgeRedis(facts),
      ...(clockAheadMs === undefined ? {} : { clockAheadMs }),
    };
  } finally {
    link.close();
  }
}

async function gather(link: Link, target: Target, onRecord: (record: StateRecord) => void): Promise<RedisFacts> {
  const about = { target: { ...target, kind: target.endpoint.kind }, sentinels: await askSentinels(target) };
  const server = await learnServer(link, target).catch(asFailure);
  if ('failure' in server || server.condition.mode === 'sentinel' || isTooOld(server.setUp.version)) return { ...about, server };
  return { ...about, server, job: await readJob(link, target, onRecord).catch(asFailure) };
}

async function askSentinels({ endpoint, connectTimeoutMs }: Target): Promise<SentinelAnswers | undefined> {
  if (endpoint.kind !== 'sentinel') return undefined;
  const { nodes, masterName, sentinelSettings: settings } = endpoint;
  // By deadlines that keep the process alive, as those of a link do.
  const deadlines = new Deadlines();
  const silent = { onLate: () => new Error('no answer came in time'), onFailure: plainCause };
  const answers = nodes.map(async (node): Promise<[string, string]> => {
    const asked = askSentinel(node, { nodes, masterName, settings }, connectTimeoutMs);
    const answer = await deadlines.keep(asked, performance.now() + connectTimeoutMs, silent).then(
      (master) => (master === undefined ? 'unknown' : showAddress(master)),
      () => 'silent',
    );
    return [showAddress(node), answer];
  });
  return new Map(await Promise.all(answers));
}

async function learnServer(
  link: Link,
  { connectTimeoutMs: timeoutMs }: Target,
): Promise<Exclude<RedisFacts['server'], { failure: unknown }>> {
  const condition = await learnCondition(link, timeoutMs);
  return { condition, setUp: await learnFacts(link, timeoutMs) };
}

async function learnCondition(link: Link, timeoutMs: number): Promise<ServerCondition> {
  return await link.run(
    async (connection) => {
      const askedMs = Date.now();
      const [info, time] = await Promise.all([connection.send(['INFO']), connection.send(['TIME']).catch(() => undefined)]);
      const told = (name: string): string | undefined => lineOfInfo(info, name);
      const numberTold = (name: string): number | undefined => (told(name) === undefined ? undefined : Number(told(name)));
      const mode = told('redis_mode');
      const cluster = mode === 'cluster' ? await connection.send(['CLUSTER', 'INFO']).catch(() => undefined) : undefined;
      const role = told('role');
      const slots = lineOfInfo(cluster, 'cluster_slots_ok');
      return {
        mode: mode === 'standalone' || mode === 'cluster' || mode === 'sentinel' ? mode : undefined,
        role: role === 'master' || role === 'slave' ? role : undefined,
        master: told('master_host') && `${told('master_host')}:${told('master_port')}`,
        isMasterConnected: told('master_link_status') === 'up',
        usedBytes: numberTold('used_memory'),
        memoryLimitBytes: numberTold('maxmemory'),
        isAppendingFailing: told('aof_last_write_status') === 'err',
        isSnapshotFailing: told('rdb_last_bgsave_status') === 'err',
        clockAheadMs: Array.isArray(time) ? Number(time[0]) * 1_000 + Number(time[1]) / 1_000 - (askedMs + Date.now()) / 2 : undefined,
        isClusterServing: cluster === undefined ? undefined : lineOfInfo(cluster, 'cluster_state') === 'ok',
        slotsServed: slots === undefined ? undefined : Number(slots),
      };
    },
    { isWrite: false, timeoutMs },
  );
}

async function readJob(link: Link, target: Target, onRecord: (record: StateRecord) => void): Promise<RedisFacts['job']> {
  const { where, job, connectTimeoutMs } = target;
  const store = new JobStore(link, { where, job, access: 'read', wait: 0, waitTimeoutMs: 0, onTrouble: () => undefined });
  try {
    await store.open(connectTimeoutMs);
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_ABSENT')) return 'absent';
    throw error;
  }
  let records = 0;
  let until: number | undefined;
  for (let after = 0; ; ) {
    const page = await store.changes(after, { known: undefined, isLast: false });
    until ??= page.revision;
    for (const { revision, record } of page.changes) {
      after = revision;
      if (record === undefined) continue;
      records += 1;
      onRecord(record);
    }
    if (!page.hasMore || after >= until) return { records };
  }
}

/** Trouble is what is looked for. */
function asFailure(error: unknown): { readonly failure: LoopStateError } {
  if (isLoopStateError(error)) return { failure: error };
  throw error;
}
