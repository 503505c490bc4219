/**
 * The durable state of a loop: which items are done, failed or in progress. All knowledge of loops (claims, leases, outcomes,
 * retries) is here and in the files it imports; the store below it knows records and revisions only.
 */
import type { BackendTraits, RecoveryFinding, StateBackend } from './backend.js';
import { ClaimBook, type Standing } from './claim-book.js';
import { type Environment, realEnvironment } from './environment.js';
import { LockedError, LoopStateError } from './errors.js';
import type { Claim } from './held-claim.js';
import type { ItemResult } from './item-results.js';
import { type ItemSnapshot, loopChanges, loopItems, toItem } from './loop-reader.js';
import { assertKnownFormat, checkId, type ItemStatus, itemKey, type RunRecord } from './loop-records.js';
import { type KnownItem, LoopView, type Progress } from './loop-view.js';
import { Membership, type MembershipEvent } from './membership.js';
import type { MovableEntry } from './movable-item.js';
import { USD_MAX } from './nano-usd.js';
import { forgetAllItems, forgetItems, type MayPut, type Placed, putCarriedUsd, putItems, retryItems } from './operations.js';
import { assertBackend, checkDigest, checkLoopStateOptions, numberOption, refuseUnknownOptions } from './options.js';
import { BackwardsGuard, restore, type WentBackwardsEvent } from './restoration.js';
import { RunWatch } from './run-watch.js';
import { StoreLink } from './store-link.js';

/** Something that happened to this run or its claims outside of any call. */
export type LoopStateEvent = MembershipEvent | WentBackwardsEvent | { readonly type: 'claim-lost'; readonly id: string };

/** Options of {@link LoopState.open}. */
export interface LoopStateOptions {
  /** For how long this run may be silent before others may presume it dead, in ms; 1,000 to 86,400,000. Default: 30,000. */
  readonly leaseMs?: number | undefined;
  /** Called for what happens outside of calls. Must not throw. */
  readonly onEvent?: ((event: LoopStateEvent) => void) | undefined;
  /** Whether `close` closes the backend too. Default: false. */
  readonly closeBackend?: boolean | undefined;
  /** For tests: the clock, the timers and who is who. */
  readonly environment?: Environment | undefined;
}

/** A run as `snapshot` shows it. */
export interface RunSnapshot extends RunRecord {
  readonly runId: string;
  /** How many items it holds. */
  readonly holds: number;
  /** When its last heartbeat was put, in ms since the epoch by the store's clock; undefined where there are none. For display only. */
  readonly beatAt?: number;
}

/** All that a store holds. */
export interface LoopSnapshot {
  readonly progress: Progress;
  readonly items: ReadonlyMap<string, ItemSnapshot>;
  readonly runs: readonly RunSnapshot[];
}

/** See the file's comment. */
export class LoopState {
  readonly #backend: StateBackend;
  readonly #link: StoreLink;
  readonly #membership: Membership;
  readonly #closeBackend: boolean;
  readonly #claims: ClaimBook;
  readonly #guard: BackwardsGuard;
  readonly #onEvent: (event: LoopStateEvent) => void;
  /** The world this state lives in. */
  readonly environment: Environment;
  #closing: Promise<void> | undefined;

  protected constructor(backend: StateBackend, options: LoopStateOptions) {
    const { leaseMs, onEvent, closeBackend } = checkLoopStateOptions(options);
    assertBackend(backend);
    this.environment = options.environment ?? realEnvironment;
    this.#backend = backend;
    this.#closeBackend = closeBackend;
    this.#onEvent = onEvent;
    const view = new LoopView(
      () => this.environment.monotonicMs(),
      (id, item, by) => this.#claims.notice(id, item, by),
    );
    this.#link = new StoreLink(backend, view, new RunWatch(this.environment, backend.traits.reach), this.environment);
    this.#guard = new BackwardsGuard(async () => this.#onEvent(await restore(this.#link, this.#membership, this.#claims)));
    const tell = (event: MembershipEvent): void => this.#onEvent(event);
    this.#membership = new Membership(this.#link, this.environment, { leaseMs, tell, guard: this.#guard });
    this.#claims = new ClaimBook({
      link: this.#link,
      membership: this.#membership,
      refresh: () => this.#refresh(),
      guard: this.#guard,
      onLost: (id) => this.#onEvent({ type: 'claim-lost', id }),
    });
  }

  /**
   * Opens the state in a store. It reads only; the first claim registers this run.
   *
   * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_NEWER_FORMAT`, and what the backend raises.
   */
  static async open(backend: StateBackend, options: LoopStateOptions = {}): Promise<LoopState> {
    // `this`, so that a subclass that widens `open` gets its own instances.
    const state = new this(backend, options);
    await state.refresh();
    assertKnownFormat(state.#link.view.meta?.record);
    return state;
  }

  /** What the store promises. */
  get traits(): BackendTraits {
    return this.#backend.traits;
  }

  /** What opening the store repaired; empty when all was well. */
  get recovery(): readonly RecoveryFinding[] {
    return this.#backend.recovery;
  }

  /** This run's id. It changes if others declare this run dead while it lives. */
  get runId(): string {
    return this.#membership.runId;
  }

  /** How many other runs there are, by the local view; 0 before the first claim, which is when the dead ones are sorted out. */
  get othersAtWork(): number {
    if (!this.#membership.isRegistered) return 0;
    const { runs } = this.#link.view;
    return runs.size - (runs.has(this.runId) ? 1 : 0);
  }

  /** The runs that are registered, this one included, by the local view. */
  get runs(): readonly (RunRecord & { readonly runId: string })[] {
    return [...this.#link.view.runs.values()].map(({ runId, record }) => ({ ...record, runId }));
  }

  /** How far the loop is, by the local view. */
  get progress(): Progress {
    return this.#link.view.progress;
  }

  /**
   * Whether an item has no outcome yet, by the local view. What is done stays done, so a view that lags costs at most a refused claim.
   * Errors: `LOOPSTATE_BAD_ID`.
   */
  isOutstanding(id: string): boolean {
    return !this.#link.view.isSettled(checkId(id));
  }

  /** Where an item stands for this run, by the local view, and for how long it should still wait, in ms. Errors: `LOOPSTATE_BAD_ID`. */
  standing(id: string): { readonly standing: Standing; readonly waitMs: number } {
    const item = this.#link.view.item(checkId(id));
    return { standing: this.#claims.standing(id), waitMs: this.#waitMs(item) };
  }

  /**
   * Claims an item for this run. `undefined`: it is done, or this or another live run holds it, or it (or an item held here) must run
   * alone because its process died twice while it ran.
   *
   * `digest`: what the item and the work on it were like, at most 1,024 characters; it is kept with the item, for later comparison.
   *
   * Errors: `LOOPSTATE_BAD_ID`, `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_CLOSED`, `LOOPSTATE_READ_ONLY`, `LOOPSTATE_UNAVAILABLE`,
   * `LOOPSTATE_OUTCOME_UNKNOWN` (should the claim land later, it is given back).
   */
  async claim(id: string, options: { readonly digest?: string | undefined } = {}): Promise<Claim | undefined> {
    checkId(id);
    refuseUnknownOptions(options, ['digest']);
    const { digest } = options;
    this.#assertOpen();
    return await this.#claims.claim(id, digest === undefined ? undefined : checkDigest(digest));
  }

  /** The older form of `claim`: true if this run holds the item now. Errors: as `claim`. */
  async begin(id: string): Promise<boolean> {
    checkId(id);
    this.#assertOpen();
    return (await this.#claims.claim(id)) !== undefined;
  }

  /** The older form of `Claim.end`. Errors: as there, and `LOOPSTATE_NOT_CLAIMED` without a `begin`. */
  async end(id: string, result: ItemResult): Promise<ItemStatus> {
    return await this.#claims.endClaim(this.#claims.held(checkId(id)), result);
  }

  /** Gives back one item, or all that this run holds. Errors: as `Claim.release`. */
  async release(id?: string): Promise<void> {
    await this.#claims.release(id === undefined ? undefined : checkId(id));
  }

  /**
   * Puts items that have an outcome back, for another round; returns how many were. Errors: `LOOPSTATE_BAD_ID`, `LOOPSTATE_BAD_OPTION` (no list of ids),
   * and what the backend raises.
   */
  async retry(ids: Iterable<string>): Promise<number> {
    this.#assertOpen();
    return await this.#guard.run(() => retryItems(this.#link, this.runId, ids));
  }

  /**
   * Forgets items, as if they had never been begun, their costs included; returns how many were. One that a live run holds stays.
   * Errors: as `retry`.
   */
  async forget(ids: Iterable<string>): Promise<number> {
    this.#assertOpen();
    return await this.#guard.run(async () => {
      await this.#lookForDead();
      return await forgetItems(this.#link, this.runId, ids);
    });
  }

  /** Takes over from every run that is known to be dead, as the next claim would; `onEvent` tells of each. Errors: what the backend raises. */
  async takeOverDead(): Promise<void> {
    this.#assertOpen();
    await this.#guard.run(() => this.#lookForDead());
  }

  /**
   * Declares another run dead because somebody says so: its items are outstanding again, and what it still tries to record is refused.
   * Returns how many items came back; `undefined`: there is no such run. Errors: what the backend raises.
   */
  async releaseRun(runId: string): Promise<number | undefined> {
    this.#assertOpen();
    return await this.#guard.run(async () => {
      await this.#refresh();
      return await this.#membership.takeOverAsTold(runId);
    });
  }

  /**
   * Forgets all items and runs, and what was spent, so that the loop starts from nothing; returns how many items were forgotten. Revisions go
   * on growing.
   * Not one commit but many: what interrupts it leaves some items, and it can be called again.
   *
   * Errors: `LOOPSTATE_LOCKED` while another run is alive, as far as is known; and what the backend raises.
   */
  async reset(): Promise<number> {
    await this.assertUnused();
    const count = await this.#guard.run(() => forgetAllItems(this.#link, this.runId));
    if (this.carriedUsd > 0) await this.putCarriedUsd(0);
    return count;
  }

  /**
   * Takes over from the runs that are dead, and refuses beside one that is alive, as far as is known.
   * Errors: `LOOPSTATE_LOCKED`, and what the backend raises.
   */
  async assertUnused(): Promise<void> {
    await this.takeOverDead();
    const live = [...this.#link.view.runs.values()].find(({ runId }) => runId !== this.runId);
    if (live === undefined) return;
    const { pid, host } = live.record;
    throw new LockedError(`The process ${pid} on ${JSON.stringify(host)} is still at work here: stop it first. Nothing was changed.`, {
      pid,
      host,
    });
  }

  /**
   * Puts items as they are, outside of any claim, as when a loop moves here from another place: in the place of what stands there if
   * `mayPut` allows it. One commit for each item, many in flight, in their order, in which `items` yields them again. Returns what became
   * of each. It can be called again after any interruption.
   *
   * Errors: `LOOPSTATE_LOCKED` when a live run holds one of them, `LOOPSTATE_BAD_ID`, `LOOPSTATE_VALUE_REFUSED`, and what the backend
   * raises; some may have been put then.
   */
  async putItems(entries: readonly MovableEntry[], mayPut: MayPut): Promise<Placed[]> {
    this.#assertOpen();
    return await this.#guard.run(() => putItems(this.#link, this.runId, entries, mayPut));
  }

  /** What was spent before this store began, on no item it knows, in US dollars, by the local view. */
  get carriedUsd(): number {
    return this.#link.view.meta?.record.carriedUsd ?? 0;
  }

  /** Says what was spent before this store began, from 0 to 1e15. Errors: `LOOPSTATE_BAD_OPTION`, and what the backend raises. */
  async putCarriedUsd(carriedUsd: number): Promise<void> {
    this.#assertOpen();
    const usd = numberOption('carriedUsd', carriedUsd, 0, { min: 0, max: USD_MAX });
    await this.#guard.run(() => putCarriedUsd(this.#link, this.runId, usd, () => this.environment.newId()));
  }

  /** The record of one item, fresh from the store. Errors: `LOOPSTATE_BAD_ID`, and what the backend raises. */
  async read(id: string): Promise<ItemSnapshot | undefined> {
    const key = itemKey(checkId(id));
    const [record] = await this.#guard.run(() => this.#backend.read([key]));
    return record && toItem(record);
  }

  /** Every item with its record, fresh and one after another, oldest change first; one that changes meanwhile may come again. Errors: what the backend raises. */
  items(): AsyncGenerator<[id: string, item: ItemSnapshot]> {
    return this.#guard.reading(() => {
      this.#assertOpen();
      return loopItems(this.#backend);
    });
  }

  /** All that the store holds, fresh, in memory at once. Errors: as {@link refresh}. */
  async snapshot(): Promise<LoopSnapshot> {
    await this.refresh();
    const items = new Map<string, ItemSnapshot>();
    const beats = new Map<string, number>();
    const holds = new Map<string, number>();
    for await (const change of this.#guard.reading(() => loopChanges(this.#backend, 0))) {
      if (change.kind === 'beat' && change.at !== undefined) beats.set(change.id, change.at);
      if (change.kind !== 'item') continue;
      // One that is changed or forgotten meanwhile comes again.
      if (change.item === undefined) items.delete(change.id);
      else items.set(change.id, change.item);
    }
    for (const { run } of items.values()) if (run !== undefined) holds.set(run, (holds.get(run) ?? 0) + 1);
    const runs = this.runs.map((run) => {
      const beatAt = beats.get(run.runId);
      return { ...run, holds: holds.get(run.runId) ?? 0, ...(beatAt === undefined ? {} : { beatAt }) };
    });
    return { progress: this.progress, items, runs };
  }

  /**
   * Brings the local view up to date; a run that has claimed before also takes over from runs that are dead, unless it looked for them less
   * than half a second ago. Errors: `LOOPSTATE_CLOSED`, and what the backend raises.
   */
  async refresh(): Promise<void> {
    this.#assertOpen();
    await this.#guard.run(() => this.#refresh());
  }

  async #refresh(): Promise<void> {
    await this.#link.refresh();
    this.#membership.noticeLoss();
    if (this.#membership.isRegistered) await this.#membership.lookForDead();
  }

  async #lookForDead(): Promise<void> {
    await this.#refresh();
    await this.#membership.takeOverDead();
  }

  /**
   * Gives back what this run holds, takes its records out of the store, and closes the backend if it was opened by this state. What
   * can't be given back (the store is away) comes back by itself when the run is found dead. Closing twice is allowed.
   *
   * Errors: what the backend raises, after everything was closed all the same.
   */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    return await this.#closing;
  }

  #waitMs(item: KnownItem | undefined): number {
    if (item?.record?.waitMs === undefined || item.status !== 'outstanding') return 0;
    return Math.max(0, item.seenMs + item.record.waitMs - this.environment.monotonicMs());
  }

  async #close(): Promise<void> {
    const errors: unknown[] = [];
    const step = async (action: () => Promise<unknown>): Promise<void> => {
      await action().catch((error: unknown) => errors.push(error));
    };
    await step(() => this.#claims.close());
    await step(() => this.#membership.end());
    if (this.#closeBackend) await step(() => this.#backend.close());
    if (errors.length > 0) throw errors[0];
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new LoopStateError('LOOPSTATE_CLOSED', 'This LoopState was closed: open another.');
  }
}
