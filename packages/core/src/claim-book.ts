/**
 * The claims of one run: asking for them, settling them, and finding out that they were lost.
 *
 * **Invariants:**
 * - an item's revision at the time of its claim is the claim's fence, and every commit about the claim checks it;
 * - there is an entry for every id from the moment its claim is asked for until the claim is settled, so that one id has one claim;
 *   a lost claim stays until its holder ends or releases it;
 * - while an item runs alone, from before its claim is sent, nothing else is claimed;
 * - nothing is reported as recorded before the store acknowledged it.
 */
import type { CommitResult } from './backend.js';
import { Calls } from './calls.js';
import { isLoopStateError, LeaseLostError, LoopStateError } from './errors.js';
import { type ClaimKeeper, HeldClaim } from './held-claim.js';
import { badResult, checkResult, claimed, ended, glitched, type ItemResult, type NextRecord, postponed, released } from './item-results.js';
import { CRASHES_UNTIL_ALONE, type ItemRecord, type ItemStatus, isFinal, itemKey, runKey } from './loop-records.js';
import type { KnownItem } from './loop-view.js';
import type { Membership } from './membership.js';
import { OwnOutcomes } from './own-outcomes.js';
import type { BackwardsGuard } from './restoration.js';
import type { StoreLink, Writes } from './store-link.js';

/** How often a claim looks again at what stood in its way. */
const CLAIM_TRIES = 8;

/** Why an item can't be claimed now. */
export type Standing = 'free' | 'done' | 'held-here' | 'held-elsewhere' | 'must-run-alone';

/** What a {@link ClaimBook} needs of its state. */
export interface ClaimBookOptions {
  readonly link: StoreLink;
  readonly membership: Membership;
  /** Brings the view up to date. */
  readonly refresh: () => Promise<void>;
  readonly guard: BackwardsGuard;
  /** Called when a claim was found lost. */
  readonly onLost: (id: string) => void;
}

/** See the file's comment. */
export class ClaimBook implements ClaimKeeper {
  /** What this run recorded, for a store that may forget it; nothing where one process holds the store alone. */
  readonly outcomes: OwnOutcomes | undefined;
  readonly #link: StoreLink;
  readonly #membership: Membership;
  readonly #options: ClaimBookOptions;
  readonly #claims = new Map<string, HeldClaim | 'claiming'>();
  readonly #claiming = new Calls();
  readonly #background = new Set<Promise<unknown>>();
  #alone: string | undefined;
  #isClosing = false;

  constructor(options: ClaimBookOptions) {
    this.#options = options;
    this.#link = options.link;
    this.#membership = options.membership;
    if (options.link.backend.traits.reach !== 'process') this.outcomes = new OwnOutcomes();
  }

  /** Claims an item; `undefined`: it can't be had now. Errors: as `LoopState.claim`. */
  async claim(id: string, digest?: string): Promise<HeldClaim | undefined> {
    if (!this.#mayClaim(id)) return undefined;
    this.#claims.set(id, 'claiming');
    let held: HeldClaim | undefined;
    try {
      held = await this.#claiming.make(() => this.#options.guard.run(() => this.#claim(id, digest)));
    } finally {
      if (held === undefined) {
        this.#claims.delete(id);
        if (this.#alone === id) this.#alone = undefined;
        // Its reply was lost, but the view learnt meanwhile that it landed: it will not be told again.
        const item = this.#link.view.item(id);
        if (this.#isOwnStray(item)) this.#giveBackStray(id, item);
      }
    }
    return held;
  }

  /** The claim on an item. Errors: `LOOPSTATE_NOT_CLAIMED`, `LOOPSTATE_CLOSED`. */
  held(id: string): HeldClaim {
    const held = this.#claims.get(id);
    if (held === undefined || held === 'claiming') throw this.#notHeld(id);
    return held;
  }

  /** Gives back one item, or all. Errors: as `Claim.release`. */
  async release(id?: string): Promise<void> {
    const held = id === undefined ? [...this.#claims.values()] : [this.#claims.get(id)];
    await Promise.all(held.map((claim) => (claim instanceof HeldClaim ? this.releaseClaim(claim) : undefined)));
  }

  /** Where an item stands for this run, by the view. */
  standing(id: string): Standing {
    const item = this.#link.view.item(id);
    if (item !== undefined && isFinal(item.status)) return 'done';
    if (this.#claims.has(id)) return 'held-here';
    if (!this.#mayClaim(id)) return 'must-run-alone';
    return this.#liveHolder(item) === undefined ? 'free' : 'held-elsewhere';
  }

  /** The view's word on an item: it may tell of a lost claim, or of a claim of this run that nobody holds. */
  notice(id: string, item: KnownItem | undefined, by: string | undefined): void {
    const held = this.#claims.get(id);
    if (item === undefined || !isFinal(item.status)) this.outcomes?.forget(id);
    if (held instanceof HeldClaim) {
      const isOwn = by !== undefined && (by === held.by || held.sent.includes(by));
      if (isOwn && item !== undefined) held.seen = item.revision;
      if (!isOwn && (item === undefined || item.revision > held.fence)) this.#lose(held);
      return;
    }
    // A claim whose reply was lost and whose caller gave up: it landed after all.
    if (held === undefined && this.#isOwnStray(item)) this.#giveBackStray(id, item);
  }

  /** Gives up every claim whose newest record of its own is no longer in the view: the store lost it. */
  loseForgotten(): void {
    for (const held of this.#claims.values()) {
      if (held instanceof HeldClaim && this.#link.view.item(held.id)?.revision !== held.seen) this.#lose(held);
    }
  }

  /** Ends what is under way and gives everything back. Errors: as `Claim.release`. */
  async close(): Promise<void> {
    this.#isClosing = true;
    // A claim that is under way ends first, so that it can be given back.
    await this.#claiming.none();
    try {
      await this.release();
    } finally {
      await Promise.all(this.#background);
    }
  }

  /** Whether this run could ask for `id` now, without asking the store. */
  #mayClaim(id: string): boolean {
    if (this.#claims.has(id) || this.#alone !== undefined) return false;
    const item = this.#link.view.item(id);
    return !mustRunAlone(item) || this.#claims.size === 0;
  }

  async #claim(id: string, digest: string | undefined): Promise<HeldClaim | undefined> {
    // Each turn learns what stood in the way; it ends as soon as that is a live holder, an outcome, or nothing.
    for (let tries = 0; tries < CLAIM_TRIES; tries++) {
      if (!this.#membership.isRegistered) await this.#membership.register();
      const holder = this.#otherHolder(this.#link.view.item(id));
      // A holder that is new to the view may be alive all the same.
      if (tries > 0 && holder !== undefined && !this.#link.view.runs.has(holder)) await this.#options.refresh();
      if (holder !== undefined && !(await this.#membership.takeOverIfDead(holder))) {
        // Held by a live run, as far as the view knows; it may have ended since.
        if (tries > 0) return undefined;
        await this.#options.refresh();
        continue;
      }
      // All that may have changed meanwhile; from here to the sending nothing does.
      const item = this.#link.view.item(id);
      if (item !== undefined && isFinal(item.status)) return undefined;
      if (this.#liveHolder(item) !== undefined) continue;
      const isAlone = mustRunAlone(item);
      if (isAlone && this.#claims.size > 1) return undefined;
      if (isAlone) this.#alone = id;
      const by = this.#link.nextBy(this.#membership.runId);
      const record = claimed(item?.record, this.#membership.runId, { isAlone, digest });
      const result = await this.#link.send(this.#claimWrites(id, item, record), by);
      if (result.ok) return this.#hold(new HeldClaim(this, id, { fence: result.revision, record, by }));
      // It was not free, and the view knows better now.
      this.#membership.noticeLoss();
    }
    return undefined;
  }

  /** What claims an item that is free, by the view. */
  #claimWrites(id: string, item: KnownItem | undefined, record: NextRecord): Writes {
    const { standing } = this.#membership;
    const former = this.#otherHolder(item);
    return {
      puts: [{ key: itemKey(id), value: record, revision: item?.revision ?? 0 }],
      checks: former === undefined ? [standing] : [standing, { key: runKey(former), revision: 0 }],
      // Where one process holds the store alone, losing a claim to a power cut costs nothing: nobody else could have held it.
      durability: this.#link.backend.traits.reach === 'process' ? 'written' : 'synced',
    };
  }

  /** The run, other than this one, that an item's record names as its holder. */
  #otherHolder(item: KnownItem | undefined): string | undefined {
    const holder = item?.record?.run;
    return holder === this.#membership.runId ? undefined : holder;
  }

  /** The same, if that run is registered, by the view. */
  #liveHolder(item: KnownItem | undefined): string | undefined {
    const holder = this.#otherHolder(item);
    return holder !== undefined && this.#link.view.runs.has(holder) ? holder : undefined;
  }

  #hold(held: HeldClaim): HeldClaim {
    this.#claims.set(held.id, held);
    // The view may have learnt of a takeover before the claim's own answer came.
    const known = this.#link.view.item(held.id);
    if (known !== undefined && known.revision > held.fence) this.#lose(held);
    return held;
  }

  endClaim(held: HeldClaim, result: ItemResult): Promise<ItemStatus> {
    return this.#settle(held, () => {
      const checked = checkResult(result);
      if (checked.status !== 'glitch') return ended(held.record, checked, itemKey(held.id));
      return glitched(held.record, checked.reason, checked.cost, checked.retryAfterMs ?? 0);
    });
  }

  postponeClaim(held: HeldClaim, failure: ItemResult, waitMs: number): Promise<ItemStatus> {
    return this.#settle(held, () => {
      const checked = checkResult(failure);
      if (checked.status !== 'error') throw badResult(`its status is "${checked.status}", and only an "error" can be postponed`);
      return postponed(held.record, checked.reason, checked.cost, waitMs);
    });
  }

  async releaseClaim(held: HeldClaim): Promise<void> {
    if (held.mode === 'settled') return;
    try {
      await this.#settle(held, () => released(held.record));
    } catch (error) {
      if (isLoopStateError(error, 'LOOPSTATE_LEASE_LOST')) return;
      // Nobody works on it any more, whatever the store says of it: the next claim of this run may take it.
      this.#settled(held);
      throw error;
    }
  }

  /** Replaces the record of a claim, if the claim's fence still stands. */
  async #settle(held: HeldClaim, toNext: () => NextRecord): Promise<ItemStatus> {
    const next = toNext();
    if (held.mode === 'settled') throw this.#notHeld(held.id);
    if (held.mode === 'lost') throw this.#forgetLost(held);
    const by = this.#link.nextBy(this.#membership.runId);
    held.sent.push(by);
    // Now: while it is on its way, whoever made the result may go on with what it is made of.
    const text = this.outcomes !== undefined && isFinal(next.status) ? JSON.stringify(next) : undefined;
    const puts = [{ key: itemKey(held.id), value: next, revision: held.fence }];
    const result = await this.#options.guard.run(() => this.#link.send({ puts }, by));
    return this.#settledBy(held, { record: next, text }, result);
  }

  /** Takes in the answer to the commit that was to settle a claim. */
  #settledBy(held: HeldClaim, next: { readonly record: NextRecord; readonly text: string | undefined }, result: CommitResult): ItemStatus {
    // A sending whose reply was lost for good may have applied before this one: then the record in the way is our own.
    const now = result.ok ? undefined : result.conflicts[0]?.record;
    const own = now && held.sent.includes((now.value as unknown as ItemRecord).by) ? (now.value as unknown as ItemRecord) : undefined;
    if (result.ok || own !== undefined) {
      this.#settled(held);
      const recorded = own ?? next.record;
      if (isFinal(recorded.status)) this.outcomes?.add(held.id, recorded, own === undefined ? next.text : undefined);
      return recorded.status;
    }
    this.#lose(held);
    throw this.#forgetLost(held);
  }

  #settled(held: HeldClaim): void {
    held.mode = 'settled';
    if (this.#claims.get(held.id) === held) this.#claims.delete(held.id);
    if (this.#alone === held.id) this.#alone = undefined;
  }

  #lose(held: HeldClaim): void {
    if (held.mode !== 'held') return;
    held.lose(
      new LeaseLostError(
        held.id,
        `The claim on ${JSON.stringify(held.id)} no longer stands: another run took the item over, or the store lost it. Nothing was recorded; stop working on it.`,
      ),
    );
    if (this.#alone === held.id) this.#alone = undefined;
    this.#options.onLost(held.id);
  }

  #notHeld(id: string): LoopStateError {
    const item = JSON.stringify(id);
    if (this.#isClosing)
      return new LoopStateError('LOOPSTATE_CLOSED', `This LoopState was closed, and holds ${item} no more. Nothing was written.`);
    return new LoopStateError(
      'LOOPSTATE_NOT_CLAIMED',
      `This run does not hold the item ${item}: begin or claim it first. Nothing was written.`,
    );
  }

  /** The holder of a lost claim has been told: its id is free for this run again. */
  #forgetLost(held: HeldClaim): LeaseLostError {
    if (this.#claims.get(held.id) === held) this.#claims.delete(held.id);
    return held.lost ?? new LeaseLostError(held.id, `Another run took over the item ${JSON.stringify(held.id)}.`);
  }

  /** True if the store says of an item that nobody holds here that this run does. */
  #isOwnStray(item: KnownItem | undefined): item is KnownItem & { readonly record: ItemRecord } {
    return item?.record?.run === this.#membership.runId && !this.#isClosing;
  }

  #giveBackStray(id: string, item: KnownItem & { readonly record: ItemRecord }): void {
    const put = { key: itemKey(id), value: released(item.record), revision: item.revision };
    // If it fails the item stays claimed by this run, and the next claim of this run may take it.
    const by = this.#link.nextBy(this.#membership.runId);
    const sending = this.#options.guard.run(() => this.#link.send({ puts: [put] }, by)).catch(() => undefined);
    this.#background.add(sending);
    void sending.finally(() => this.#background.delete(sending));
  }
}

function mustRunAlone(item: KnownItem | undefined): boolean {
  return (item?.record?.crashes ?? 0) >= CRASHES_UNTIL_ALONE;
}
