/**
 * A run among other runs: registering, heartbeats, and taking over from the dead.
 *
 * A run's modes:
 * - *unregistered*: at first, and after another run declared this one dead. It holds no valid registration and can't claim. Left with the
 *   next claim, or heartbeat that would have been due.
 * - *registered*: its `run/` record stands, as far as is known. Left when a commit or the view shows that record gone.
 * - *ended*: after `end`; for good.
 *
 * **Invariants:**
 * - a run id is registered at most once;
 * - at most one timer waits, and only from the first registration to the end, on a store that others can open too.
 */
import type { Check } from './backend.js';
import type { Environment } from './environment.js';
import { isLoopStateError, LoopStateError } from './errors.js';
import { crashed, type NextRecord, released } from './item-results.js';
import { beatKey, type ItemRecord, itemKey, META_KEY, RECORD_FORMAT, runKey } from './loop-records.js';
import type { KnownRun } from './loop-view.js';
import type { BackwardsGuard } from './restoration.js';
import type { Death } from './run-watch.js';
import type { Replacement, StoreLink } from './store-link.js';

/** How many items one commit of a takeover returns at the most: well below the bounds of *commit/shape*. */
const TAKEOVER_ITEMS = 200;

/**
 * How often a view that is brought up to date looks for dead runs too, in ms. Of 16 processes that share a loop, each asking the kernel
 * after all others at every reading, a fifth of the time went into that.
 */
const LOOK_FOR_DEAD_EVERY_MS = 500;

/** What a run tells of its standing in the store. */
export type MembershipEvent =
  /** The store can't be reached: if that lasts, others may presume this run dead. */
  | { readonly type: 'lease-at-risk'; readonly error: unknown }
  /** The store can be reached again. */
  | { readonly type: 'lease-regained' }
  /** Another run declared this one dead; it goes on under a new id. */
  | { readonly type: 'run-replaced'; readonly runId: string; readonly formerRunId: string }
  /** This run took over from a dead one; `items` came back at once, those of a run that is only presumed dead come back when claimed. */
  | { readonly type: 'took-over'; readonly runId: string; readonly death: Death; readonly items: number };

/** What becomes of a claim that comes back. */
type Become = (claim: ItemRecord) => NextRecord;

/** What a {@link Membership} needs of its state. */
export interface MembershipOptions {
  readonly leaseMs: number;
  readonly tell: (event: MembershipEvent) => void;
  readonly guard: BackwardsGuard;
}

/** See the file's comment. */
export class Membership {
  readonly #link: StoreLink;
  readonly #environment: Environment;
  readonly #leaseMs: number;
  readonly #tell: (event: MembershipEvent) => void;
  readonly #guard: BackwardsGuard;
  readonly #hasBeats: boolean;
  #runId: string;
  #revision = 0;
  #formerRunId: string | undefined;
  #registering: Promise<void> | undefined;
  #ticking: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #lastBeatMs = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #isAtRisk = false;
  /** A registration was sent and never answered: it may stand all the same. */
  #isInDoubt = false;
  #hasEnded = false;

  constructor(link: StoreLink, environment: Environment, options: MembershipOptions) {
    this.#link = link;
    this.#environment = environment;
    this.#leaseMs = options.leaseMs;
    this.#tell = options.tell;
    this.#guard = options.guard;
    this.#hasBeats = link.backend.traits.reach !== 'process';
    this.#runId = environment.newId();
  }

  get runId(): string {
    return this.#runId;
  }

  get isRegistered(): boolean {
    return this.#revision > 0;
  }

  /** The check by which a commit demands that this run still be registered. */
  get standing(): Check {
    return { key: runKey(this.#runId), revision: this.#revision };
  }

  /** Makes sure that this run is registered, and takes over from runs that are dead already. */
  async register(): Promise<void> {
    if (this.#revision > 0) return;
    this.#registering ??= this.#register().finally(() => {
      this.#registering = undefined;
    });
    return await this.#registering;
  }

  /** Looks whether the view shows this run's record gone; if so, the run must register anew. */
  noticeLoss(): void {
    if (this.#revision === 0 || this.#hasEnded || this.#link.view.runs.get(this.#runId)?.revision === this.#revision) return;
    this.#formerRunId ??= this.#runId;
    this.#runId = this.#environment.newId();
    this.#revision = 0;
  }

  /** Takes over from `runId` if it is known to be dead. False: it is alive, as far as is known. */
  async takeOverIfDead(runId: string): Promise<boolean> {
    const run = this.#link.view.runs.get(runId);
    if (run === undefined) return true;
    const death = this.#judge(run);
    return death !== undefined && (await this.#takeOver(run, death));
  }

  /** The same as {@link takeOverDead}, unless that was done a moment ago. */
  async lookForDead(): Promise<void> {
    const sinceMs = this.#environment.monotonicMs() - this.#lookedMs;
    // Less than nothing: the clock went back.
    if (sinceMs >= LOOK_FOR_DEAD_EVERY_MS || sinceMs < 0) await this.takeOverDead();
  }

  /** Takes over from every run that is known to be dead. */
  async takeOverDead(): Promise<void> {
    this.#lookedMs = this.#environment.monotonicMs();
    for (const runId of [...this.#link.view.runs.keys()]) if (runId !== this.#runId) await this.takeOverIfDead(runId);
  }

  /** Takes over from `runId` because an operator says that it is dead; returns how many items came back, `undefined` if there is no such run. */
  async takeOverAsTold(runId: string): Promise<number | undefined> {
    for (let tries = 0; ; tries++) {
      const run = this.#link.view.runs.get(runId);
      // Gone meanwhile: by this very commit, the reply to which was lost, or by itself.
      if (run === undefined && tries > 0) return await this.#returnRemaining(runId, released);
      if (run === undefined || runId === this.#runId) return undefined;
      const result = await this.#link.send({ deletes: this.#recordsOf(run) }, this.#link.nextBy(this.#runId));
      // It beat meanwhile; or it is declared dead, and may have claimed more until then. What it records before its items are back counts.
      await this.#link.refresh();
      if (result.ok) return await this.#returnRemaining(runId, released);
    }
  }

  /** Stops the heartbeat and takes the run's records back. Claims must have been given back before. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    this.#cancelTimer?.();
    await this.#ticking;
    // Also of a run that is not registered: a restoration may be due, and this is the last call that could make it.
    const ended = this.#guard.run(async () => {
      const { runs } = this.#link.view;
      if (this.#isInDoubt) await this.#link.refresh();
      // Again if a heartbeat stands in the way the reply to which was lost: the view knows it then.
      for (let run = runs.get(this.#runId); run !== undefined; run = runs.get(this.#runId)) {
        await this.#link.send({ deletes: this.#recordsOf(run) }, this.#link.nextBy(run.runId));
      }
    });
    await ended.catch((error: unknown) => {
      // As long as this process lives, nobody else could tell that it is over.
      this.#environment.endedRuns.add(this.#runId);
      throw error;
    });
  }

  async #register(): Promise<void> {
    await this.#link.refresh();
    await this.takeOverDead();
    const { self } = this.#environment;
    const run = { ...self, leaseMs: this.#leaseMs, since: this.#environment.wallMs() };
    for (;;) {
      // Nobody else has this id: an earlier sending landed, the replies to which were all lost.
      const own = this.#link.view.runs.get(this.#runId);
      if (own !== undefined) {
        this.#revision = own.revision;
        break;
      }
      const puts: Replacement[] = [{ key: runKey(this.#runId), value: run, revision: 0 }];
      if (this.#hasBeats) puts.push({ key: beatKey(this.#runId), value: {}, revision: 0 });
      const { meta } = this.#link.view;
      if (meta === undefined) puts.push({ key: META_KEY, value: { format: RECORD_FORMAT, store: this.#environment.newId() }, revision: 0 });
      const result = await this.#link.send({ puts }, this.#link.nextBy(this.#runId)).catch((error: unknown) => {
        this.#isInDoubt ||= isLoopStateError(error, 'LOOPSTATE_OUTCOME_UNKNOWN');
        throw error;
      });
      if (result.ok) {
        this.#revision = result.revision;
        break;
      }
      // Another run wrote `meta` first, or it is ours: the view knows it now. Anything else would repeat for ever.
      if (meta !== undefined && !this.#link.view.runs.has(this.#runId))
        throw new LoopStateError('LOOPSTATE_UNAVAILABLE', `The run ${this.#runId} could not register.`, { retryable: true });
    }
    this.#lastBeatMs = this.#environment.monotonicMs();
    if (this.#formerRunId !== undefined) {
      this.#tell({ type: 'run-replaced', runId: this.#runId, formerRunId: this.#formerRunId });
      this.#formerRunId = undefined;
    }
    if (this.#hasBeats) this.#schedule();
  }

  /**
   * Twice as often as heartbeats are due, by the shortest lease around: an observer must read at least every third of a lease, and
   * a timer is always a little late.
   */
  #schedule(): void {
    if (this.#hasEnded) return;
    let leaseMs = this.#leaseMs;
    for (const { record } of this.#link.view.runs.values()) leaseMs = Math.min(leaseMs, record.leaseMs);
    this.#cancelTimer?.();
    this.#cancelTimer = this.#environment.after(leaseMs / 6, () => this.#tick(), { keepAlive: false });
  }

  #tick(): void {
    this.#ticking = this.#guard
      .run(() => this.#observeAndBeat())
      .then(
        () => this.#setAtRisk(undefined),
        (error: unknown) => this.#setAtRisk(error),
      )
      .finally(() => {
        this.#ticking = undefined;
        this.#schedule();
      });
  }

  async #observeAndBeat(): Promise<void> {
    await this.#link.refresh();
    this.noticeLoss();
    if (this.#hasEnded) return;
    // Declared dead: what it holds others may take from now on, and its work must learn of that though it asks for nothing.
    if (this.#revision === 0) return await this.register();
    const nowMs = this.#environment.monotonicMs();
    const sinceBeatMs = nowMs - this.#lastBeatMs;
    // A tick comes every sixth of a lease; half a tick of tolerance makes every second one beat. Less than nothing: the clock went back.
    if (sinceBeatMs >= this.#leaseMs / 4 || sinceBeatMs < 0) {
      const beat = { key: beatKey(this.#runId), value: {}, revision: this.#link.view.beats.get(this.#runId) ?? 0 };
      const result = await this.#link.send({ puts: [beat], checks: [this.standing] }, this.#link.nextBy(this.#runId));
      if (result.ok) this.#lastBeatMs = nowMs;
      else this.noticeLoss();
    }
    await this.takeOverDead();
  }

  #setAtRisk(error: unknown): void {
    if (this.#hasEnded) return;
    if (error !== undefined && !this.#isAtRisk) this.#tell({ type: 'lease-at-risk', error });
    if (error === undefined && this.#isAtRisk) this.#tell({ type: 'lease-regained' });
    this.#isAtRisk = error !== undefined;
  }

  /**
   * The commit that declares a run dead: from then on it can't claim, and its claims are free. The claims of a run that is proven gone
   * come back in the same commit, with the crash counted, and those of one that has ended without; those of a run that is only presumed
   * dead stay as they are, since it may wake up and record them before anyone else claims them.
   */
  async #takeOver(run: KnownRun, death: Death): Promise<boolean> {
    const become = death === 'proven-gone' ? crashed : death === 'ended' ? released : undefined;
    for (let tries = 0; tries < 5; tries++) {
      const puts = become === undefined ? [] : this.#returnedItems(run.runId, become);
      const result = await this.#link.send({ deletes: this.#recordsOf(run), puts }, this.#link.nextBy(this.#runId));
      if (result.ok) {
        // It may have claimed since the view was brought up to date; from that commit on it can't.
        if (become !== undefined) await this.#link.refresh();
        const items = puts.length + (become === undefined ? 0 : await this.#returnRemaining(run.runId, become));
        this.#tell({ type: 'took-over', runId: run.runId, death, items });
        return true;
      }
      await this.#link.refresh();
      if (!this.#link.view.runs.has(run.runId)) return true; // Another run was quicker, or it ended.
      if (death === 'presumed' && this.#judge(run) === undefined) return false; // It gave a sign of life.
    }
    return false;
  }

  #judge(run: KnownRun): Death | undefined {
    return this.#link.watch.judge(run, this.#link.view.beats.get(run.runId) ?? 0);
  }

  async #returnRemaining(runId: string, become: Become): Promise<number> {
    let count = 0;
    for (let puts = this.#returnedItems(runId, become); puts.length > 0; puts = this.#returnedItems(runId, become)) {
      const result = await this.#link.send({ puts }, this.#link.nextBy(this.#runId));
      if (result.ok) count += puts.length;
      // A conflict taught the view what stands instead, so this ends.
    }
    return count;
  }

  #returnedItems(runId: string, become: Become): Replacement[] {
    const puts: Replacement[] = [];
    for (const [id, item] of this.#link.view.heldBy(runId)) {
      if (puts.length === TAKEOVER_ITEMS) break;
      if (item.record !== undefined) puts.push({ key: itemKey(id), value: become(item.record), revision: item.revision });
    }
    return puts;
  }

  /** What is deleted of a run, if it has not beaten since. */
  #recordsOf({ runId, revision }: KnownRun): Check[] {
    const beat = this.#link.view.beats.get(runId);
    return [{ key: runKey(runId), revision }, ...(beat === undefined ? [] : [{ key: beatKey(runId), revision: beat }])];
  }
}
