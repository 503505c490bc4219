/**
 * The one way from a loop to its store: commits whose outcome is always found out, and a view that is kept up to date.
 *
 * **Invariants:**
 * - every record that is put carries a `by` that no other commit ever carries;
 * - every key that is put is checked, so that of two sendings of one commit at most one applies;
 * - `cursor` is a revision up to which all changes are in the view.
 */
import pRetry from 'p-retry';
import type { Check, Commit, CommitResult, Durability, Json, Put, StateBackend } from './backend.js';
import type { Environment } from './environment.js';
import { isLoopStateError, OutcomeUnknownError } from './errors.js';
import { byOf } from './loop-records.js';
import type { LoopView } from './loop-view.js';
import type { RunWatch } from './run-watch.js';

/** A record to put, in place of the one at `revision` (0: none may be there). */
export interface Replacement {
  readonly key: string;
  readonly value: object;
  readonly revision: number;
}

/** What a loop writes in one commit. */
export interface Writes {
  readonly puts?: readonly Replacement[];
  /** Records to delete, each if it still stands at its revision. */
  readonly deletes?: readonly Check[];
  /** Further demands. */
  readonly checks?: readonly Check[];
  readonly durability?: Durability;
}

/** A commit with nothing left out. */
type WholeCommit = Required<Commit>;

/** How a reply that was lost is asked for again; about two seconds in all, then the caller decides. */
const RESEND = { retries: 4, minTimeout: 50, factor: 3, randomize: true } as const;

/** See the file's comment. */
export class StoreLink {
  readonly backend: StateBackend;
  readonly view: LoopView;
  readonly watch: RunWatch;
  readonly #environment: Environment;
  #cursor = 0;
  #sent = 0;
  #refreshing: Promise<void> | undefined;

  constructor(backend: StateBackend, view: LoopView, watch: RunWatch, environment: Environment) {
    this.backend = backend;
    this.view = view;
    this.watch = watch;
    this.#environment = environment;
  }

  /** A `by` for the next commit of `runId`. */
  nextBy(runId: string): string {
    this.#sent += 1;
    return `${runId}.${this.#sent}`;
  }

  /**
   * Sends a commit; when its reply is lost, sends the same commit again until it is answered. A conflict with a record that
   * carries our `by` means that an earlier sending applied. What is learnt goes into the view.
   *
   * Errors: what the backend raises; `LOOPSTATE_OUTCOME_UNKNOWN` when no sending was answered.
   */
  async send(writes: Writes, by: string): Promise<CommitResult> {
    const commit = toCommit(writes, by);
    let result: CommitResult;
    try {
      result = await this.backend.commit(commit);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_OUTCOME_UNKNOWN')) throw error;
      result = await this.#resend(commit, by);
    }
    this.#learn(commit, result);
    return result;
  }

  /** Brings the view up to date. Concurrent calls share one read, unless it began before the call. */
  async refresh(): Promise<void> {
    // A read that is under way may have passed what the caller needs: wait for it, then share or start the next.
    if (this.#refreshing !== undefined) await this.#refreshing.catch(() => undefined);
    this.#refreshing ??= this.#readChanges().finally(() => {
      this.#refreshing = undefined;
    });
    return await this.#refreshing;
  }

  /** Reads the whole store into an empty view. It accepts the store as it is: from then on it may not be older than now. */
  async readFromTheStart(): Promise<void> {
    this.view.clear();
    this.#cursor = 0;
    await this.#readAfter(0);
  }

  async #resend(commit: Commit, by: string): Promise<CommitResult> {
    const result = await pRetry(() => this.backend.commit(commit), {
      ...RESEND,
      shouldRetry: ({ error }) => isLoopStateError(error) && error.retryable,
    }).catch((cause: unknown) => {
      // That this sending had no effect says nothing of the first.
      if (!isLoopStateError(cause, 'LOOPSTATE_UNAVAILABLE')) throw cause;
      throw new OutcomeUnknownError('The reply was lost, and the store can not be reached now: try again.', { cause });
    });
    if (result.ok) return result;
    const own = result.conflicts.find(({ record }) => byOf(record) === by)?.record;
    return own === undefined ? result : { ok: true, revision: own.revision };
  }

  #learn({ checks, puts, deletes }: WholeCommit, result: CommitResult): void {
    if (result.ok) {
      for (const { key, value } of puts) this.view.takePut(key, value, result.revision);
      for (const key of deletes) this.view.takeDeletion(key, result.revision);
      return;
    }
    for (const { key, record } of result.conflicts) {
      if (record !== undefined) this.view.take({ key, revision: record.revision, record });
      else this.view.takeAbsence(key, checks.find((check) => check.key === key)?.revision ?? 0);
    }
  }

  async #readChanges(): Promise<void> {
    const beganMs = this.#environment.monotonicMs();
    try {
      // From the start no deletions are told: what this state put since it was opened on nothing may be gone again.
      if (this.#cursor === 0 && this.#sent > 0) await this.#readAll();
      await this.#readAfter(this.#cursor);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_HISTORY_GONE')) throw error;
      await this.#readAll();
    }
    this.watch.observe(this.view, beganMs, this.#environment.monotonicMs());
  }

  /** Takes in the whole store, and drops what is not in it. */
  async #readAll(): Promise<void> {
    const present = new Set<string>();
    await this.#readAfter(0, present);
    this.view.retain(present, this.#cursor);
  }

  /** Takes in all changes after `since`, and adds their keys to `keys`, if given: there may be a million. */
  async #readAfter(since: number, keys?: Set<string>): Promise<void> {
    let last = since;
    for await (const change of this.backend.changes(since)) {
      keys?.add(change.key);
      this.view.take(change);
      // Several keys may share a revision: it is done with only when the next begins.
      if (change.revision > last) this.#cursor = Math.max(this.#cursor, last);
      last = change.revision;
    }
    this.#cursor = Math.max(this.#cursor, last);
  }
}

function toCommit({ checks = [], puts = [], deletes = [], durability = 'synced' }: Writes, by: string): WholeCommit {
  return {
    checks: [...checks, ...deletes, ...puts.map(({ key, revision }): Check => ({ key, revision }))],
    // By spreading with another field behind it, V8 takes ten times as long.
    puts: puts.map(({ key, value }): Put => ({ key, value: Object.assign({}, value, { by }) as unknown as Json })),
    deletes: deletes.map(({ key }) => key),
    durability,
  };
}
