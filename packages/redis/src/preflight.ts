/**
 * What a server must be before it is trusted with a loop, and what it can promise. Judged from what it says of itself.
 */
import { type BackendTraits, LoopStateError, type RecoveryFinding } from '@loopstate/core';
import type { FindingCode } from './findings.js';
import type { Link } from './link.js';
import { unavailable, unfit } from './trouble.js';

/** `ZMSCORE`, by which a read compares a record with its revision in one step, came with 6.2. */
export const VERSION_LEAST = [6, 2] as const;

/** What a server says of itself; `undefined` where it doesn't tell. */
export interface ServerFacts {
  readonly version: string | undefined;
  readonly evictionPolicy: string | undefined;
  readonly isAppendOnly: boolean | undefined;
  readonly appendFsync: string | undefined;
  readonly isFsyncSkippedOnRewrite: boolean | undefined;
  readonly replicas: number;
}

/** What the user demands. */
export interface Demands {
  readonly where: string;
  readonly wait: number;
  readonly isDurabilityRequired: boolean;
  readonly isEvictionAllowed: boolean;
}

/** What may be claimed of the server, and what the user should know. */
export interface Fitness {
  readonly survives: BackendTraits['survives'];
  readonly findings: readonly RecoveryFinding[];
}

/** Asks the server; what it forbids to ask stays unknown. Errors: those of `Link#run`. */
export async function learnFacts(link: Link, timeoutMs: number): Promise<ServerFacts> {
  return await link.run(
    async (connection) => {
      const configured = async (name: string): Promise<string | undefined> => {
        // Managed servers forbid CONFIG; that is an answer as well.
        const reply = await connection.send(['CONFIG', 'GET', name]).catch(() => undefined);
        return Array.isArray(reply) && reply.length === 2 ? String(reply[1]) : undefined;
      };
      const [info, policy, appendFsync, noFsyncOnRewrite] = await Promise.all([
        connection.send(['INFO']),
        configured('maxmemory-policy'),
        configured('appendfsync'),
        configured('no-appendfsync-on-rewrite'),
      ]);
      const told = (name: string): string | undefined => lineOfInfo(info, name);
      const isAppendOnly = told('aof_enabled');
      return {
        version: told('redis_version'),
        evictionPolicy: policy ?? told('maxmemory_policy'),
        isAppendOnly: isAppendOnly === undefined ? undefined : isAppendOnly === '1',
        appendFsync,
        isFsyncSkippedOnRewrite: noFsyncOnRewrite === undefined ? undefined : noFsyncOnRewrite === 'yes',
        replicas: Number(told('connected_slaves') ?? 0),
      };
    },
    { isWrite: false, timeoutMs },
  );
}

/** What a line of the answer to INFO says. */
export function lineOfInfo(info: unknown, name: string): string | undefined {
  return new RegExp(`^${name}:(?<value>[^\\r\\n]*)`, 'm').exec(String(info))?.groups?.value;
}

/** Errors: `LOOPSTATE_UNAVAILABLE`, with the remedy; it is retryable only where the server may become fit by itself. */
export function judgeServer(facts: ServerFacts, demands: Demands): Fitness {
  const { where, wait } = demands;
  if (isTooOld(facts.version)) throw unfit(`${where} runs version ${facts.version}: at least ${VERSION_LEAST.join('.')} is needed.`);
  const findings: RecoveryFinding[] = [];
  const report = (code: FindingCode, severity: RecoveryFinding['severity'], message: string): void => {
    findings.push({ code, severity, where, message });
  };
  const isKept = judgeEviction(facts, demands, report);
  const survives = judgePersistence(facts, report);
  if (demands.isDurabilityRequired && (survives === 'nothing' || !isKept)) {
    throw new LoopStateError(
      'LOOPSTATE_UNAVAILABLE',
      `${where} is not known to keep what it acknowledges, which durable=required demands: set appendonly yes.`,
    );
  }
  if (facts.replicas < wait) throw unavailable(`${where} has ${facts.replicas} replicas connected, and wait=${wait} demands ${wait}.`);
  return { survives: isKept ? survives : 'nothing', findings };
}

type Report = (code: FindingCode, severity: RecoveryFinding['severity'], message: string) => void;

/** False: records may vanish. */
function judgeEviction({ evictionPolicy }: ServerFacts, { where, isEvictionAllowed }: Demands, report: Report): boolean {
  if (evictionPolicy === 'noeviction') return true;
  if (evictionPolicy === undefined) {
    report('eviction-unverified', 'warning', 'The server does not tell its maxmemory-policy: make sure that it is noeviction.');
    return true;
  }
  const message = `The maxmemory-policy is ${evictionPolicy}, so records may vanish when the memory is full`;
  if (!isEvictionAllowed) {
    throw new LoopStateError('LOOPSTATE_UNAVAILABLE', `${where}: ${message}. Set it to noeviction, or accept that with unsafe=eviction.`);
  }
  report('eviction-allowed', 'warning', `${message}. Set it to noeviction.`);
  return false;
}

function judgePersistence(facts: ServerFacts, report: Report): BackendTraits['survives'] {
  if (facts.isAppendOnly === undefined) {
    report('persistence-unverified', 'warning', 'The server does not tell whether it keeps an append-only file: make sure that it does.');
    return 'nothing';
  }
  if (!facts.isAppendOnly) {
    report('persistence-off', 'warning', 'The server keeps no append-only file, so a restart loses commits: set appendonly yes.');
    return 'nothing';
  }
  if (facts.appendFsync === undefined) {
    report(
      'persistence-unverified',
      'info',
      'The server does not tell its appendfsync: only what outlives a crash of the server is claimed.',
    );
    return 'process-crash';
  }
  return facts.appendFsync === 'always' && facts.isFsyncSkippedOnRewrite === false ? 'power-loss' : 'process-crash';
}

/** True for a version that is known to lack something that is needed. */
export function isTooOld(version: string | undefined): boolean {
  if (version === undefined) return false;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < VERSION_LEAST[0] || (major === VERSION_LEAST[0] && minor < VERSION_LEAST[1]);
}
