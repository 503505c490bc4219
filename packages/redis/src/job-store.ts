/**
 * The scripts, as calls: what a handle knows of its job's store, and the encoding of what is asked and answered.
 *
 * **Invariants:**
 * - `#witness` only grows while it stands: it is what the store must still know.
 * - `#behind` is set while the store is known to have gone backwards; nothing is sent then until it is opened again, as it is.
 * - Every call but `open` carries the witness as of its sending, and is answered only by a store that contains it.
 */
import { randomUUID } from 'node:crypto';
import {
  AbsentError,
  type CheckedCommit,
  type CommitResult,
  type Conflict,
  HistoryGoneError,
  LoopStateError,
  OutcomeUnknownError,
  type StateChange,
  type StateRecord,
} from '@loopstate/core';
import type { Connection } from './connection.js';
import type { Link } from './link.js';
import { openRecord, sealValue } from './record-text.js';
import { CHANGES, COMMIT, OPEN, READ, type Script } from './scripts.js';
import { DamagedJobError, isUnknownScript, plainCause, unavailable, WentBackwardsError } from './trouble.js';

/** The format of what stands in Redis. */
const FORMAT = 1;
const TOMBSTONES_KEPT = 10_000;
const TURNS_KEPT = 100;
const READ_AT_ONCE = 1_000;
const PAGE = { changes: 500, bytes: 8 * 1_024 * 1_024 } as const;
const WITHOUT_LIMIT = 1_000_000_000;
/** More than any of the numbers that make the shape of a commit. */
const SHAPE_BASE = 1_024;

/** Options of a {@link JobStore}. */
export interface JobStoreOptions {
  /** Names the store in messages, without any secret. */
  readonly where: string;
  readonly job: string;
  readonly access: 'read' | 'write';
  /** How many replicas must have a synced commit before it is acknowledged. */
  readonly wait: number;
  /** How long they may take, in ms. */
  readonly waitTimeoutMs: number;
  /** Told of what is found while the store is open. */
  readonly onTrouble: (error: LoopStateError) => void;
}

/** What has been seen of a store. */
interface Witness {
  /** `<store id> <turn> <server>`. */
  identity: string;
  revision: number;
}

/** A page of changes. */
export interface ChangesPage {
  readonly changes: readonly StateChange[];
  /** The revision of the store when the page was read. */
  readonly revision: number;
  readonly hasMore: boolean;
}

/** The four keys of a job; the first one stands for all where a cluster is asked. */
export function keysOf(job: string): readonly [string, string, string, string] {
  return [`loopstate:{${job}}:header`, `loopstate:{${job}}:records`, `loopstate:{${job}}:revisions`, `loopstate:{${job}}:tombstones`];
}

/** See the file's comment. Errors of every call: those of `Link#run`, `LOOPSTATE_WENT_BACKWARDS`, and `LOOPSTATE_FOREIGN` (damaged). */
export class JobStore {
  readonly #link: Link;
  readonly #options: JobStoreOptions;
  readonly #keys: readonly string[];
  #witness: Witness = { identity: '', revision: 0 };
  #behind: WentBackwardsError | undefined;

  constructor(link: Link, options: JobStoreOptions) {
    this.#link = link;
    this.#options = options;
    this.#keys = keysOf(options.job);
  }

  /** Takes the store as it is now, or makes it. Errors: `LOOPSTATE_NEWER_FORMAT`, `LOOPSTATE_ABSENT` (there is none, and it is only read). */
  async open(timeoutMs?: number): Promise<void> {
    const { access, where, wait } = this.#options;
    const reply = await this.#link.run(
      async (connection) => {
        // Whoever may not wait learns that here, as with the kinds of write.
        if (wait > 0 && access === 'write') await connection.send(['WAIT', '0', '1']);
        const taken = this.#behind === undefined ? ['', '0'] : [this.#witness.identity, `${this.#behind.revision}`];
        const args = [`${FORMAT}`, randomUUID(), access, connection.server, ...taken, `${TURNS_KEPT}`];
        return await this.#evaluate(connection, OPEN, args);
      },
      { isWrite: false, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
    );
    const [status, ...rest] = textsOf(reply);
    if (status === 'MISSING') throw new AbsentError(`${where} does not exist yet: a run makes it.`);
    if (status === 'NEWER') throw newerFormat(where, rest[0] ?? '');
    if (status === 'DAMAGED') throw this.#told(new DamagedJobError(where, ''));
    const [identity, revision] = rest;
    if (status !== 'OK' || identity === undefined) throw unreadable(where);
    this.#witness = { identity, revision: Number(revision) };
    this.#behind = undefined;
  }

  /** A call was refused because the store went backwards; so will every one be until it is opened again, as it is now. */
  get isBehind(): boolean {
    return this.#behind !== undefined;
  }

  /** The records of `keys`, in their order. */
  async read(keys: readonly string[]): Promise<(StateRecord | undefined)[]> {
    const reply = await this.#ask(READ, [`${READ_AT_ONCE}`, ...keys]);
    return keys.map((key, index) => this.#open(key, String(reply[index + 1])));
  }

  /** Judges and applies commits, one after another, in one call; each has an answer, or an error, of its own. */
  async commit(commits: readonly CheckedCommit[]): Promise<(CommitResult | LoopStateError)[]> {
    if (this.#behind !== undefined) throw this.#behind;
    const { wait, waitTimeoutMs, where } = this.#options;
    const mustWait = wait > 0 && commits.some((commit) => commit.durability === 'synced');
    const witness = this.#witness;
    let acks = 0;
    const waitForReplicas = async (connection: Connection): Promise<void> => {
      const answer = connection.send(['WAIT', `${wait}`, `${waitTimeoutMs}`]);
      // A refusal of this says nothing of the commit, which may be there.
      acks = Number(await answer.catch((error: unknown) => Promise.reject(replicasUnknown(where, error))));
    };
    const reply = await this.#link.run(
      async (connection) => {
        const { revision: seen } = witness;
        const args = [...witnessArgs(witness, connection), `${TOMBSTONES_KEPT}`, `${TURNS_KEPT}`];
        encodeCommits(commits, args);
        const answer = await this.#evaluate(connection, COMMIT, args, mustWait ? waitForReplicas : undefined);
        // The short form of the answer to one commit. It has a newer revision than any that was seen, or it is no answer.
        return this.#accepted(typeof answer === 'number' && answer > seen ? ['OK', '', `${answer}`, answer] : answer, witness);
      },
      { isWrite: true },
    );
    if (reply.length !== commits.length + 1) throw new OutcomeUnknownError(`${where} gave an answer that cannot be read.`);
    return commits.map((commit, index) => {
      // A refusal too: what it saw must be as safe as what it is compared with, an earlier sending of the same commit for one.
      if (commit.durability === 'synced' && acks < wait) return tooFewReplicas(where, { acks, wait });
      return this.#resultOf(reply[index + 1]);
    });
  }

  /**
   * What changed after `after`. `known`: the revision from which on the reader must learn of every deletion, if there is one. The last
   * page is as long as it must be. Errors: `LOOPSTATE_HISTORY_GONE` also.
   */
  async changes(after: number, { known, isLast }: { known: number | undefined; isLast: boolean }): Promise<ChangesPage> {
    const most = isLast ? WITHOUT_LIMIT : PAGE.changes;
    const [revision, more, ...rest] = await this.#ask(CHANGES, [`${after}`, `${known ?? -1}`, `${most}`, `${PAGE.bytes}`]);
    const changes: StateChange[] = [];
    for (let at = 0; at < rest.length; at += 3) {
      const [key, stamp, stored] = [String(rest[at]), Number(rest[at + 1]), String(rest[at + 2])];
      const record = this.#open(key, stored);
      changes.push(record === undefined ? { key, revision: stamp } : { key, revision: stamp, record });
    }
    return { changes, revision: Number(revision), hasMore: more === '1' };
  }

  /** A call that changes nothing; the answer from the revision of the store on. */
  async #ask(script: Script, args: readonly string[]): Promise<unknown[]> {
    if (this.#behind !== undefined) throw this.#behind;
    const witness = this.#witness;
    return await this.#link.run(
      async (connection) => {
        const reply = await this.#evaluate(connection, script, [...witnessArgs(witness, connection), ...args]);
        return this.#accepted(reply, witness);
      },
      { isWrite: false },
    );
  }

  /** Runs a script by its name, and by its text where it isn't known; `then` follows it on the same connection, at once if that is one server's. */
  async #evaluate(
    connection: Connection,
    { sha, text }: Script,
    args: readonly string[],
    then?: (connection: Connection) => Promise<void>,
  ): Promise<unknown> {
    const send = async (command: string, script: string): Promise<unknown> => {
      const sent = connection.send([command, script, `${this.#keys.length}`, ...this.#keys, ...args]);
      if (then === undefined) return await sent;
      // The script may be sent on to another node, which a command that is under way beside it would not follow.
      const following = connection.server === '' ? sent.then(() => then(connection)) : then(connection);
      const [reply] = await Promise.all([sent, following]);
      return reply;
    };
    try {
      return await send('EVALSHA', sha);
    } catch (error) {
      // A definite refusal: the server was restarted, or its scripts were flushed.
      if (!isUnknownScript(error)) throw error;
      return await send('EVAL', text);
    }
  }

  /** The answer from the revision of the store on; what the store refused is thrown. */
  #accepted(reply: unknown, witness: Witness): unknown[] {
    if (!Array.isArray(reply)) throw new Error('an answer that cannot be read');
    const [status, one, two] = reply as unknown[];
    if (status === 'BACKWARDS') throw this.#told(this.#backwards(witness, { identity: String(one), revision: Number(two) }));
    if (status === 'DAMAGED') throw this.#told(new DamagedJobError(this.#options.where, String(one)));
    if (status === 'FORGOTTEN') throw new HistoryGoneError(Number(one));
    if (status !== 'OK' || typeof one !== 'string' || typeof two !== 'string') throw new Error('an answer that cannot be read');
    // Two calls may cross: the later turn is the one that stands.
    if (one !== '' && turnOf(one) > turnOf(witness.identity)) witness.identity = one;
    witness.revision = Math.max(witness.revision, Number(two));
    return reply.slice(2);
  }

  #resultOf(answer: unknown): CommitResult | LoopStateError {
    if (typeof answer === 'number') return { ok: true, revision: answer };
    if (!Array.isArray(answer)) return new OutcomeUnknownError(`${this.#options.where} gave an answer that cannot be read.`);
    const conflicts: Conflict[] = [];
    try {
      for (let at = 0; at < answer.length; at += 2) {
        const key = String(answer[at]);
        const record = this.#open(key, String(answer[at + 1]));
        conflicts.push(record === undefined ? { key } : { key, record });
      }
    } catch (error) {
      if (error instanceof LoopStateError) return error;
      throw error;
    }
    return { ok: false, conflicts };
  }

  #open(key: string, stored: string): StateRecord | undefined {
    if (stored === '') return undefined;
    const record = openRecord(key, stored);
    if (record === undefined) throw this.#told(new DamagedJobError(this.#options.where, key));
    return record;
  }

  #backwards(witness: Witness, found: { identity: string; revision: number }): WentBackwardsError {
    const storeId = storeIdOf(found.identity);
    const isSame = storeId === storeIdOf(witness.identity);
    const what = storeId === '' ? 'is empty' : isSame ? 'lost commits that were acknowledged' : 'is another store';
    const message = `${this.#options.where} ${what}: it stands at revision ${found.revision}, and ${witness.revision} was seen.`;
    const error = new WentBackwardsError(message, { storeId: storeId === '' ? undefined : storeId, revision: found.revision });
    // A call that crossed with the acceptance of the store says nothing about it.
    if (witness === this.#witness) this.#behind = error;
    return error;
  }

  #told(error: LoopStateError): LoopStateError {
    this.#options.onTrouble(error);
    return error;
  }
}

function witnessArgs({ identity, revision }: Witness, connection: Connection): string[] {
  return [identity, `${revision}`, connection.server];
}

function storeIdOf(identity: string): string {
  return identity.split(' ')[0] ?? '';
}

function turnOf(identity: string): number {
  return Number(identity.split(' ')[1]);
}

/** Adds the arguments of {@link COMMIT} that tell of the commits. */
function encodeCommits(commits: readonly CheckedCommit[], args: string[]): void {
  const revisions: string[] = [];
  args.push(`${commits.length}`, `${commits.reduce((sum, { checks }) => sum + checks.length, 0)}`);
  for (const { checks } of commits) {
    for (const { key, revision } of checks) {
      args.push(key);
      revisions.push(`${revision}`);
    }
  }
  for (const revision of revisions) args.push(revision);
  for (const { checks, puts, deletes } of commits) {
    args.push(`${(checks.length * SHAPE_BASE + puts.length) * SHAPE_BASE + deletes.length}`);
    for (const { key, text } of puts) args.push(key, sealValue(key, text));
    for (const key of deletes) args.push(key);
  }
}

function textsOf(reply: unknown): string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}

function newerFormat(where: string, format: string): LoopStateError {
  return new LoopStateError(
    'LOOPSTATE_NEWER_FORMAT',
    `${where} was written by a newer loopstate (format ${format}): update @loopstate/redis.`,
  );
}

function tooFewReplicas(where: string, { acks, wait }: { acks: number; wait: number }): LoopStateError {
  return new OutcomeUnknownError(`${where} has the commit, but only ${acks} of ${wait} replicas had it in time.`);
}

function replicasUnknown(where: string, error: unknown): LoopStateError {
  const cause = plainCause(error);
  return new OutcomeUnknownError(`${where} does not say whether replicas have the commit, if it was made: ${cause.message}.`, { cause });
}

function unreadable(where: string): LoopStateError {
  return unavailable(`${where} gave an answer that cannot be read.`);
}
