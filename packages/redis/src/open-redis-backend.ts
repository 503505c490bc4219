import {
  type BackendTraits,
  Calls,
  type Commit,
  type CommitResult,
  checkCommit,
  checkKey,
  checkOpenOptions,
  isLoopStateError,
  LoopStateError,
  type OpenOptions,
  type RecoveryFinding,
  type StateBackend,
  type StateChange,
  type StateRecord,
} from '@loopstate/core';
import { CommitQueue } from './commit-queue.js';
import { adoptClient, connectCluster, connectServer } from './connection.js';
import { delay } from './deadline.js';
import { connectMaster } from './find-master.js';
import type { FindingCode } from './findings.js';
import { JobStore, keysOf } from './job-store.js';
import { type Connect, Link } from './link.js';
import { type Fitness, judgeServer, learnFacts } from './preflight.js';
import { type RedisOptions, readTarget, type Target } from './target.js';
import { unavailable } from './trouble.js';

const RETRY_MS = 100;

/** Options of {@link openRedisBackend}. */
export type RedisBackendOptions = OpenOptions;

/** A handle on a job's store in Redis. */
export type RedisBackend = StateBackend;

/**
 * Opens the store of one job on a Redis server, by URL or by options. `reach` is `network`; `survives` is what the server was seen to
 * be set up for: `power-loss` with `appendonly yes` and `appendfsync always`, `process-crash` with an append-only file that is synced
 * later, else `nothing`. On a replicated server all laws hold up to a failover that loses writes. That, like any other way in which the
 * store is older than what was seen of it, rejects every call with {@link WentBackwardsError} until `changes(0)`, which takes the store as it is.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_UNAVAILABLE` (within `connectTimeoutMs`: not there, refuses, or is not fit),
 * `LOOPSTATE_NEWER_FORMAT`, `LOOPSTATE_FOREIGN`.
 */
export async function openRedisBackend(target: string | RedisOptions, options: RedisBackendOptions = {}): Promise<RedisBackend> {
  const settings = checkOpenOptions(options);
  const wanted = readTarget(target);
  const { where, connectTimeoutMs, commandTimeoutMs } = wanted;
  const endMs = performance.now() + connectTimeoutMs;
  const link = new Link({ connect: connectOf(wanted), where, connectTimeoutMs, commandTimeoutMs, random: Math.random });
  for (;;) {
    try {
      return await openHandle(link, wanted, settings, endMs);
    } catch (error) {
      // A server that starts, or a failover that is under way, is waited for; one that says that there is no such job has answered.
      const isToBeWaitedFor = isLoopStateError(error) && error.retryable && error.code !== 'LOOPSTATE_ABSENT';
      if (isToBeWaitedFor && performance.now() + RETRY_MS < endMs) {
        await delay(RETRY_MS);
        continue;
      }
      link.close();
      throw error;
    }
  }
}

/** As {@link openRedisBackend}, for programs that get a URL from their users. */
export async function openBackend(url: string, options: { readonly access: 'write' | 'read' }): Promise<RedisBackend> {
  return await openRedisBackend(url, options);
}

async function openHandle(link: Link, target: Target, options: Required<OpenOptions>, endMs: number): Promise<RedisBackend> {
  const leftMs = (): number => Math.max(1, endMs - performance.now());
  // Whoever only looks on commits nothing that a replica would have to have.
  const wait = options.access === 'read' ? 0 : target.wait;
  const fitness = judgeServer(await learnFacts(link, leftMs()), { ...target, wait });
  const handle = new RedisHandle(link, target, options, fitness);
  await handle.open(leftMs());
  return handle;
}

/** How the server of a target is connected to. */
export function connectOf({ endpoint, job }: Target): Connect {
  const [firstKey] = keysOf(job);
  switch (endpoint.kind) {
    case 'server':
      return (timeoutMs) => connectServer(endpoint.address, endpoint.settings, timeoutMs);
    case 'cluster':
      return (timeoutMs) => connectCluster(endpoint.nodes, endpoint.settings, { firstKey, timeoutMs });
    case 'sentinel': {
      const { nodes, masterName, sentinelSettings, settings } = endpoint;
      return (timeoutMs) => connectMaster({ nodes, masterName, settings: sentinelSettings }, settings, timeoutMs);
    }
    case 'client':
      return (timeoutMs) => adoptClient(endpoint.client, { firstKey, timeoutMs });
  }
}

/**
 * **Invariants:**
 * - `#calls` counts the calls besides commits that have begun and not ended; the link is closed when it is 0, the queue is settled, and
 *   `close` was called.
 * - `#closing` is set by the first `close`; from then on nothing new begins.
 */
class RedisHandle implements StateBackend {
  readonly traits: BackendTraits;
  readonly #where: string;
  readonly #isReadOnly: boolean;
  readonly #link: Link;
  readonly #store: JobStore;
  readonly #queue: CommitQueue;
  readonly #found: readonly RecoveryFinding[];
  readonly #findings: RecoveryFinding[] = [];
  readonly #onFinding: (finding: RecoveryFinding) => void;
  readonly #calls = new Calls();
  #closing: Promise<void> | undefined;

  constructor(link: Link, target: Target, options: Required<OpenOptions>, { survives, findings }: Fitness) {
    const { where, job, wait, commandTimeoutMs } = target;
    this.traits = { name: 'redis', survives, reach: 'network' };
    this.#where = where;
    this.#isReadOnly = options.access === 'read';
    this.#link = link;
    // Half of a command's time: the answer to WAIT must come before the deadline, or it is worth nothing.
    const waitTimeoutMs = Math.ceil(commandTimeoutMs / 2);
    this.#store = new JobStore(link, {
      where,
      job,
      access: options.access,
      wait,
      waitTimeoutMs,
      onTrouble: (error) => this.#takeDown(error),
    });
    this.#queue = new CommitQueue((commits) => this.#store.commit(commits));
    this.#onFinding = options.onFinding;
    this.#found = findings;
  }

  get recovery(): readonly RecoveryFinding[] {
    return this.#findings;
  }

  /** Errors: as those of opening. */
  async open(timeoutMs: number): Promise<void> {
    await this.#store.open(timeoutMs);
    for (const finding of this.#found) this.#report(finding);
  }

  async read(keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
    this.#assertOpen();
    const wanted = keys.map(checkKey);
    return await this.#calls.make(() => this.#store.read(wanted));
  }

  commit(commit: Commit): Promise<CommitResult> {
    return this.#queue.add(() => {
      this.#assertOpen();
      if (this.#isReadOnly) throw new LoopStateError('LOOPSTATE_READ_ONLY', `${this.#where} was opened for reading: nothing was written.`);
      return checkCommit(commit);
    });
  }

  async *changes(since: number): AsyncGenerator<StateChange> {
    this.#assertOpen();
    // Whoever was told that the store went backwards, and reads it from the start, takes it as it is.
    if (since === 0 && this.#store.isBehind) await this.#calls.make(() => this.#store.open());
    let after = since;
    let until: number | undefined;
    for (let hasMore = true; hasMore; ) {
      this.#assertOpen();
      // What was put again meanwhile stands behind the end: it is taken along in one piece, so that no key is missed.
      const isLast = until !== undefined && after >= until;
      // A reader from the start need not know what was deleted before it began.
      const known = since > 0 ? after : until;
      const page = await this.#calls
        .make(() => this.#store.changes(after, { known, isLast }))
        .catch((error: unknown) => {
          if (isLoopStateError(error, 'LOOPSTATE_HISTORY_GONE') && since === 0)
            throw unavailable(`${this.#where} changes too fast: read again.`);
          throw error;
        });
      until ??= page.revision;
      hasMore = page.hasMore;
      for (const change of page.changes) {
        this.#assertOpen();
        after = change.revision;
        if (change.record !== undefined || since > 0 || change.revision > until) yield change;
      }
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#link.stopWaiting();
    await this.#queue.settle();
    await this.#calls.none();
    this.#link.close();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined)
      throw new LoopStateError('LOOPSTATE_CLOSED', `This handle on ${this.#where} was closed: open another.`);
  }

  /** Damage and loss go into the report, each kind once. */
  #takeDown(error: LoopStateError): void {
    const code: FindingCode = error.code === 'LOOPSTATE_WENT_BACKWARDS' ? 'went-backwards' : 'record-damaged';
    if (this.#findings.some((finding) => finding.code === code)) return;
    this.#report({ code, severity: 'loss', where: this.#where, message: error.message });
  }

  #report(finding: RecoveryFinding): void {
    this.#findings.push(finding);
    // Later: what a callback throws must not reach the store.
    queueMicrotask(() => this.#onFinding(finding));
  }
}
