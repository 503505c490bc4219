/** What is to be said of a job in Redis and of its server: pure, from facts to findings. */
import { bytesText, type DiagnosisFinding, type LoopStateError, type Severity } from '@loopstate/core';
import { isTooOld, type ServerFacts, VERSION_LEAST } from './preflight.js';
import type { Endpoint, Target } from './target.js';
import { DamagedJobError, refusalOf } from './trouble.js';

const NEARLY_FULL = 0.9;
const CLOCK_TOLERANCE_MS = 2_000;
const CLUSTER_SLOTS = 16_384;

/** How a server is now, beside how it is set up; what it doesn't tell is left out. */
export interface ServerCondition {
  readonly mode?: 'standalone' | 'cluster' | 'sentinel' | undefined;
  readonly role?: 'master' | 'slave' | undefined;
  /** Of a replica: its master, as `host:port`, and whether it is connected to it. */
  readonly master?: string | undefined;
  readonly isMasterConnected?: boolean | undefined;
  readonly usedBytes?: number | undefined;
  /** 0: as much as the machine has. */
  readonly memoryLimitBytes?: number | undefined;
  readonly isAppendingFailing?: boolean | undefined;
  readonly isSnapshotFailing?: boolean | undefined;
  /** By how much its clock is ahead of this machine's. */
  readonly clockAheadMs?: number | undefined;
  /** Of a cluster: whether it serves, and how many slots are served. */
  readonly isClusterServing?: boolean | undefined;
  readonly slotsServed?: number | undefined;
}

/** What the Sentinels of a URL answer: the address of the master, `unknown` or `silent`, by their own addresses. */
export type SentinelAnswers = ReadonlyMap<string, string>;

/** What {@link judgeRedis} judges. */
export interface RedisFacts {
  readonly target: Pick<Target, 'where' | 'job' | 'wait' | 'isDurabilityRequired' | 'isEvictionAllowed'> & {
    readonly kind: Endpoint['kind'];
  };
  readonly sentinels?: SentinelAnswers | undefined;
  readonly server: { readonly setUp: ServerFacts; readonly condition: ServerCondition } | { readonly failure: LoopStateError };
  /** Missing: it was not asked for. */
  readonly job?: { readonly records: number } | 'absent' | { readonly failure: LoopStateError } | undefined;
}

/** The ids of {@link judgeRedis}, each with what it means. */
export const REDIS_DIAGNOSES = {
  unreachable: 'The server can not be reached, or gives no answer.',
  'access-denied': 'The server wants a password, or another one.',
  'not-permitted': 'The user may not do what is needed.',
  loading: 'The server is still loading its data.',
  'master-unknown': 'No Sentinel names the master.',
  'sentinel-silent': 'A Sentinel does not answer.',
  'sentinels-disagree': 'The Sentinels name different masters.',
  'is-sentinel': 'A Sentinel answers where a server was named.',
  'is-cluster': 'The server is a node of a cluster, and was named like one that stands alone.',
  'cluster-down': 'The cluster does not serve, or not all of its slots.',
  'is-replica': 'The server is a replica, which takes no commits.',
  'server-too-old': 'The version of the server is too old.',
  server: 'The server answers.',
  persistence: 'Every commit is on the disk before it is acknowledged.',
  'persistence-off': 'The server keeps no append-only file.',
  'persistence-unverified': 'The server does not tell how it persists.',
  'fsync-later': 'The server syncs its append-only file later than it acknowledges.',
  'fsync-skipped-on-rewrite': 'The server does not sync while it rewrites its append-only file.',
  'disk-write-failed': 'The server can not write to its disk.',
  'eviction-allowed': 'The server may evict records when its memory is full.',
  'eviction-unverified': 'The server does not tell its maxmemory-policy.',
  memory: 'There is memory left.',
  'memory-nearly-full': 'There is little memory left.',
  'memory-full': 'There is no memory left, so that commits are refused.',
  'too-few-replicas': 'Fewer replicas are connected than wait=… demands.',
  'replicas-not-awaited': 'There are replicas, and commits do not wait for them.',
  'clock-differs': 'The clock of the server differs from that of this machine. Nothing depends on it.',
  'no-such-job': 'There is no such job yet.',
  'records-incomplete': 'Records of the job are missing.',
  'record-damaged': 'A record of the job is not what was written.',
  'foreign-keys': 'The keys of the job hold something that loopstate did not write.',
  'newer-format': 'A newer loopstate wrote the job.',
  'job-not-read': 'The job could not be read.',
  records: 'How many records the job has.',
} as const;

/** The id of a finding of {@link judgeRedis}. */
export type RedisDiagnosisId = keyof typeof REDIS_DIAGNOSES;

/** What is found, before it is said where. */
type Draft = Omit<DiagnosisFinding, 'where'> & { readonly id: RedisDiagnosisId };

/** See the file's comment. */
export function judgeRedis({ target, sentinels, server, job }: RedisFacts): DiagnosisFinding[] {
  const drafts = [
    ...(sentinels === undefined ? [] : judgeSentinels(sentinels)),
    ...('failure' in server ? judgeFailure(server.failure, sentinels) : judgeServer(server.setUp, server.condition, target)),
    ...(job === undefined ? [] : judgeJob(job, target.job)),
  ];
  return drafts.map(({ id, severity, ...rest }) => ({ id, severity, where: target.where, ...rest }));
}

function draft(id: RedisDiagnosisId, severity: Severity, found: string, remedy?: string): Draft {
  return { id, severity, found, ...(remedy === undefined ? {} : { remedy }) };
}

/** The addresses that Sentinels name. */
function mastersOf(sentinels: SentinelAnswers): Set<string> {
  return new Set([...sentinels.values()].filter((answer) => answer !== 'silent' && answer !== 'unknown'));
}

function judgeSentinels(sentinels: SentinelAnswers): Draft[] {
  const masters = mastersOf(sentinels);
  const silent = [...sentinels].filter(([, answer]) => answer === 'silent').map(([sentinel]) => sentinel);
  if (masters.size === 0) {
    const why =
      silent.length === sentinels.size ? 'None of the Sentinels answers.' : 'No Sentinel that answers knows a master of that name.';
    return [draft('master-unknown', 'problem', why, 'Look whether they run, and at the name of the master in the URL.')];
  }
  const drafts: Draft[] = [];
  if (silent.length > 0)
    drafts.push(draft('sentinel-silent', 'warning', `No answer came from ${silent.join(', ')}.`, 'Look whether they run.'));
  if (masters.size > 1) {
    const found = `The Sentinels name different masters: ${[...masters].join(', ')}.`;
    drafts.push(draft('sentinels-disagree', 'warning', found, 'Wait until a failover that is under way is over, and look again.'));
  }
  return drafts;
}

function judgeFailure(failure: LoopStateError, sentinels?: SentinelAnswers): Draft[] {
  if (sentinels !== undefined && mastersOf(sentinels).size === 0) return []; // Said already, and why.
  switch (refusalOf(failure)) {
    case 'NOAUTH':
      return [draft('access-denied', 'problem', 'The server wants a password.', 'Give it in the URL, before the @.')];
    case 'WRONGPASS':
      return [
        draft('access-denied', 'problem', 'The server refuses the user name or the password.', 'Put it right in the URL, before the @.'),
      ];
    case 'NOPERM':
      return [draft('not-permitted', 'problem', failure.message, 'Allow it to this user, or name another one in the URL.')];
    case 'LOADING':
      return [draft('loading', 'problem', 'The server is still loading its data.', 'Wait: a loop that runs goes on by itself.')];
    case 'MOVED':
    case 'CROSSSLOT':
      return [draft('is-cluster', 'problem', 'Another node of the cluster holds the job.', 'Use a redis+cluster: URL.')];
    case 'CLUSTERDOWN':
      return [draft('cluster-down', 'problem', 'The cluster does not serve this job.', 'Bring back the nodes that are missing.')];
    default: {
      const remedy = 'Look whether it runs and can be reached from here; a loop that runs goes on by itself.';
      return [draft('unreachable', 'problem', failure.message, remedy)];
    }
  }
}

function judgeServer(setUp: ServerFacts, condition: ServerCondition, target: RedisFacts['target']): Draft[] {
  if (condition.mode === 'sentinel') {
    const remedy = 'Use a redis+sentinel: URL, with the name of the master.';
    return [draft('is-sentinel', 'problem', 'What answers is a Sentinel, not a server.', remedy)];
  }
  return [
    ...judgeVersion(setUp),
    ...judgeCluster(condition, target),
    ...judgeRole(condition),
    ...judgeEviction(setUp, target),
    ...judgeDisk(condition),
    ...judgePersistence(setUp, target),
    ...judgeMemory(condition),
    ...judgeReplicas(setUp, condition, target),
    ...judgeClock(condition),
  ];
}

function judgeVersion({ version }: ServerFacts): Draft[] {
  if (!isTooOld(version)) return [draft('server', 'ok', `A server of version ${version ?? 'unknown'} answers.`)];
  const found = `The server has version ${version}, and at least ${VERSION_LEAST.join('.')} is needed.`;
  return [draft('server-too-old', 'problem', found, 'Update the server.')];
}

function judgeCluster({ mode, isClusterServing, slotsServed = CLUSTER_SLOTS }: ServerCondition, { kind }: RedisFacts['target']): Draft[] {
  const drafts: Draft[] = [];
  if (mode === 'cluster' && kind === 'server') {
    const found = 'The server is a node of a cluster, which holds only some of the jobs.';
    drafts.push(draft('is-cluster', 'warning', found, 'Use a redis+cluster: URL.'));
  }
  if (isClusterServing === false || slotsServed < CLUSTER_SLOTS) {
    const found = `The cluster serves ${slotsServed} of ${CLUSTER_SLOTS} slots.`;
    const severity = isClusterServing === false ? 'problem' : 'warning';
    drafts.push(draft('cluster-down', severity, found, 'Bring back the nodes that are missing.'));
  }
  return drafts;
}

function judgeRole({ mode, role, master, isMasterConnected }: ServerCondition): Draft[] {
  // In a cluster, the driver asks a master.
  if (role !== 'slave' || mode === 'cluster') return [];
  const connected = isMasterConnected === true ? '' : ', and is not connected to it';
  const found = `The server is a replica of ${master ?? 'another'}${connected}: it takes no commits.`;
  const remedy = 'Name its master, or let Sentinels do so with a redis+sentinel: URL; if there is no master, promote one.';
  return [draft('is-replica', 'problem', found, remedy)];
}

function judgeEviction({ evictionPolicy }: ServerFacts, { isEvictionAllowed }: RedisFacts['target']): Draft[] {
  if (evictionPolicy === 'noeviction') return [];
  const remedy = 'Set maxmemory-policy to noeviction.';
  if (evictionPolicy === undefined)
    return [draft('eviction-unverified', 'warning', 'The server does not tell its maxmemory-policy.', remedy)];
  const found = `The maxmemory-policy is ${evictionPolicy}, so records may vanish when the memory is full.`;
  return [draft('eviction-allowed', isEvictionAllowed ? 'warning' : 'problem', found, remedy)];
}

function judgeDisk({ isAppendingFailing, isSnapshotFailing }: ServerCondition): Draft[] {
  const remedy = 'Look at the log of the server, and at its disk.';
  if (isAppendingFailing === true) {
    const found = 'The server could not write its append-only file, and refuses commits.';
    return [draft('disk-write-failed', 'problem', found, remedy)];
  }
  if (isSnapshotFailing !== true) return [];
  const found = 'The server could not write its last snapshot, and may refuse commits for that.';
  return [draft('disk-write-failed', 'warning', found, remedy)];
}

function judgePersistence(setUp: ServerFacts, { isDurabilityRequired }: RedisFacts['target']): Draft[] {
  const { isAppendOnly, appendFsync, isFsyncSkippedOnRewrite } = setUp;
  const severity = isDurabilityRequired ? 'problem' : 'warning';
  if (isAppendOnly === undefined) {
    const found = 'The server does not tell whether it keeps an append-only file.';
    return [draft('persistence-unverified', severity, found, 'Make sure that appendonly is yes.')];
  }
  if (!isAppendOnly) {
    const found = 'The server keeps no append-only file: a restart loses commits.';
    return [draft('persistence-off', severity, found, 'Set appendonly to yes.')];
  }
  if (appendFsync === undefined) {
    const remedy = 'Make sure that appendfsync is always, if commits must survive a power loss.';
    return [draft('persistence-unverified', 'info', 'The server does not tell its appendfsync.', remedy)];
  }
  return judgeSyncing(appendFsync, isFsyncSkippedOnRewrite);
}

function judgeSyncing(appendFsync: string, isFsyncSkippedOnRewrite: boolean | undefined): Draft[] {
  const drafts: Draft[] = [];
  if (appendFsync !== 'always') {
    const time = appendFsync === 'everysec' ? 'the last second or two' : 'half a minute or more';
    const found = `The appendfsync is ${appendFsync}: a power loss of the server loses ${time} of commits.`;
    drafts.push(draft('fsync-later', 'warning', found, 'Set appendfsync to always, if they must survive that.'));
  }
  if (isFsyncSkippedOnRewrite !== false) {
    const found = 'While the append-only file is rewritten, nothing is synced (no-appendfsync-on-rewrite).';
    drafts.push(draft('fsync-skipped-on-rewrite', 'warning', found, 'Set no-appendfsync-on-rewrite to no.'));
  }
  return drafts.length > 0 ? drafts : [draft('persistence', 'ok', 'Every commit is synced before it is acknowledged.')];
}

function judgeMemory({ usedBytes, memoryLimitBytes = 0 }: ServerCondition): Draft[] {
  if (usedBytes === undefined) return [];
  if (memoryLimitBytes === 0) return [draft('memory', 'ok', `${bytesText(usedBytes)} of memory are used, and there is no limit.`)];
  const found = `${bytesText(usedBytes)} of ${bytesText(memoryLimitBytes)} of memory are used`;
  const remedy = 'Raise maxmemory, or remove what nobody needs.';
  if (usedBytes >= memoryLimitBytes) return [draft('memory-full', 'problem', `${found}: commits are refused.`, remedy)];
  if (usedBytes >= NEARLY_FULL * memoryLimitBytes) return [draft('memory-nearly-full', 'warning', `${found}.`, remedy)];
  return [draft('memory', 'ok', `${found}.`)];
}

function judgeReplicas({ replicas }: ServerFacts, { role }: ServerCondition, { wait }: RedisFacts['target']): Draft[] {
  if (role === 'slave') return [];
  const connected = `${replicas} ${replicas === 1 ? 'replica is' : 'replicas are'} connected`;
  if (replicas < wait) {
    const remedy = 'Bring back the replicas that are missing, or ask for fewer.';
    return [draft('too-few-replicas', 'problem', `${connected}, and wait=${wait} demands ${wait}.`, remedy)];
  }
  if (replicas === wait) return [];
  const found = `${connected}, and commits wait for ${wait === 0 ? 'none' : wait} of them.`;
  return [draft('replicas-not-awaited', 'info', found, `If a failover must lose nothing, add wait=${replicas} to the URL.`)];
}

function judgeClock({ clockAheadMs = 0 }: ServerCondition): Draft[] {
  if (Math.abs(clockAheadMs) <= CLOCK_TOLERANCE_MS) return [];
  const seconds = Math.round(Math.abs(clockAheadMs) / 1_000);
  const found = `The clock of the server is ${seconds} s ${clockAheadMs > 0 ? 'ahead of' : 'behind'} that of this machine.`;
  return [draft('clock-differs', 'info', found, 'Nothing depends on it, but times are easier to read when clocks agree.')];
}

function judgeJob(job: Exclude<RedisFacts['job'], undefined>, name: string): Draft[] {
  const shown = JSON.stringify(name);
  if (job === 'absent') {
    const remedy = 'If there should be one, look for a misspelt name or another database.';
    return [draft('no-such-job', 'info', `There is no job ${shown} here yet.`, remedy)];
  }
  return 'records' in job ? [draft('records', 'ok', `The job ${shown} has ${job.records} records.`)] : judgeUnread(job.failure, name);
}

function judgeUnread(failure: LoopStateError, name: string): Draft[] {
  const keys = `loopstate:{${name}}:*`;
  if (failure instanceof DamagedJobError) {
    const remedy = `Restore the keys ${keys} from a backup or a replica, or remove them to begin anew.`;
    if (failure.key === '')
      return [draft('records-incomplete', 'problem', `Records of the job ${JSON.stringify(name)} are missing.`, remedy)];
    const found = `The record ${JSON.stringify(failure.key.slice(0, 200))} is not what was written.`;
    return [draft('record-damaged', 'problem', found, remedy)];
  }
  if (failure.code === 'LOOPSTATE_NEWER_FORMAT')
    return [draft('newer-format', 'problem', `A newer loopstate wrote the job ${JSON.stringify(name)}.`, 'Update @loopstate/redis.')];
  if (failure.code === 'LOOPSTATE_FOREIGN') {
    const found = `The keys ${keys} hold something that loopstate did not write.`;
    return [draft('foreign-keys', 'problem', found, 'Name another job or another database.')];
  }
  if (refusalOf(failure) !== undefined) return judgeFailure(failure);
  return [draft('job-not-read', 'problem', failure.message, 'Put that right, and look again.')];
}
