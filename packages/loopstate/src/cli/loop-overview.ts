/**
 * A loop in figures: how far it is, who works on what, what failed and why. Fed with changes in the order of their revisions; the same
 * changes may be fed again.
 *
 * **Invariants:**
 * - the figures are the fold of exactly the items that are known, each as of its latest change;
 * - of an item nothing is kept but its id, its status and its cost, and while a run holds it, since when: there may be a million;
 * - at most {@link REASONS_MAX} reasons and {@link RECENT_MAX} outcomes are kept.
 */
import {
  type ItemSnapshot,
  type ItemStatus,
  type LoopChange,
  type MetaRecord,
  nanoUsdOf,
  type Progress,
  type RunRecord,
  usdOf,
} from '@loopstate/core';
import { OutcomeRate } from './outcome-rate.js';

/** More different reasons are counted as one. */
const REASONS_MAX = 1_000;
const REASON_LENGTH = 300;
const OTHER_REASONS = '(other reasons)';

/** How many of the latest outcomes are kept. */
const RECENT_MAX = 50;

/** An item that a run holds. */
export interface HeldItem {
  readonly id: string;
  /** The run that claimed it. */
  readonly run: string | undefined;
  readonly attempt: number;
  /** When it was claimed, in ms since the epoch by the store's clock. */
  readonly since: number;
  readonly revision: number;
}

/** A registered run. */
export interface OverviewRun extends RunRecord {
  readonly runId: string;
  /** What it holds, oldest first. */
  readonly held: readonly HeldItem[];
  /** When its last heartbeat was put, in ms since the epoch by the store's clock; undefined where there are none. */
  readonly beatAt: number | undefined;
  /** For how long no heartbeat was seen here; undefined where there are none. */
  readonly silentMs: number | undefined;
}

/** An outcome, as it was recorded. */
export interface RecentOutcome {
  readonly id: string;
  readonly status: 'completed' | 'failed' | 'quarantined';
  readonly reason: string | undefined;
  /** In ms since the epoch by the store's clock. */
  readonly at: number;
  readonly revision: number;
}

/** The items that failed for one reason. */
export interface FailureGroup {
  /** What they say, with `{}` in the place of the item. */
  readonly reason: string;
  readonly count: number;
}

/** The clocks, in ms. */
export interface OverviewClocks {
  readonly wallMs: () => number;
  readonly monotonicMs: () => number;
}

interface KnownItem {
  readonly status: ItemStatus;
  /** In billionths of a dollar, so that adding and taking away stays exact. */
  readonly nanoUsd: number;
  readonly isGlitched: boolean;
  readonly isQuarantined: boolean;
  readonly reason: string | undefined;
}

/** What most items are in the end: one object stands for all of them. */
const COMPLETED: KnownItem = { status: 'completed', nanoUsd: 0, isGlitched: false, isQuarantined: false, reason: undefined };

/** See the file's comment. */
export class LoopOverview {
  readonly rate: OutcomeRate;
  readonly #clocks: OverviewClocks;
  readonly #items = new Map<string, KnownItem>();
  readonly #held = new Map<string, HeldItem>();
  readonly #runs = new Map<string, RunRecord>();
  readonly #beats = new Map<string, { readonly revision: number; readonly at: number; readonly seenMs: number }>();
  readonly #reasons = new Map<string, number>();
  readonly #counts: Record<ItemStatus, number> = { outstanding: 0, claimed: 0, completed: 0, failed: 0 };
  #recent: RecentOutcome[] = [];
  #meta: MetaRecord | undefined;
  #quarantined = 0;
  #glitched = 0;
  #nanoUsd = 0;

  constructor(clocks: OverviewClocks) {
    this.#clocks = clocks;
    this.rate = new OutcomeRate(clocks.wallMs);
  }

  take(change: LoopChange): void {
    switch (change.kind) {
      case 'item':
        this.#takeItem(change.id, change.item);
        return;
      case 'run':
        if (change.run === undefined) this.#runs.delete(change.id);
        else this.#runs.set(change.id, change.run);
        return;
      case 'beat':
        this.#takeBeat(change.id, change.revision, change.at);
        return;
      case 'meta':
        this.#meta = change.meta;
        return;
      case 'other':
        return;
    }
  }

  get progress(): Progress {
    return {
      completed: this.#counts.completed,
      failed: this.#counts.failed,
      quarantined: this.#quarantined,
      glitched: this.#glitched,
      inProgress: this.#counts.claimed,
      outstanding: this.#counts.outstanding,
      costUsd: usdOf(this.#nanoUsd + nanoUsdOf(this.#meta?.carriedUsd ?? 0)),
    };
  }

  /** The registered runs, in the order in which they came. */
  get runs(): OverviewRun[] {
    const held = this.held;
    return [...this.#runs].map(([runId, run]) => {
      const beat = this.#beats.get(runId);
      return {
        ...run,
        runId,
        held: held.filter((item) => item.run === runId),
        beatAt: beat?.at,
        silentMs: beat && this.#clocks.monotonicMs() - beat.seenMs,
      };
    });
  }

  /** What runs hold, oldest first: the order of revisions is the order of the claims, whatever the clocks said. */
  get held(): HeldItem[] {
    return [...this.#held.values()].sort((a, b) => a.revision - b.revision);
  }

  /** Claims of runs that are no longer there. */
  get leftBehind(): HeldItem[] {
    return this.held.filter(({ run }) => run === undefined || !this.#runs.has(run));
  }

  /** The latest outcomes, newest first. */
  get recent(): readonly RecentOutcome[] {
    return this.#recent.slice(-RECENT_MAX).reverse();
  }

  /** Why items failed, most frequent first. */
  get failures(): FailureGroup[] {
    return [...this.#reasons].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count);
  }

  #takeItem(id: string, item: ItemSnapshot | undefined): void {
    const before = this.#items.get(id);
    if (before !== undefined) this.#count(before, -1);
    this.#held.delete(id);
    if (item === undefined) {
      this.#items.delete(id);
      return;
    }
    const known = this.#knownOf(id, item);
    this.#items.set(id, known);
    this.#count(known, 1);
    if (item.status === 'claimed')
      this.#held.set(id, { id, run: item.run, attempt: item.attempt, since: item.at, revision: item.revision });
    else if (item.status !== 'outstanding') this.#takeOutcome(id, item);
  }

  #knownOf(id: string, item: ItemSnapshot): KnownItem {
    const nanoUsd = nanoUsdOf(item.costUsd ?? 0);
    if (item.status === 'completed' && nanoUsd === 0) return COMPLETED;
    return {
      status: item.status,
      nanoUsd,
      isGlitched: item.status === 'outstanding' && item.glitches !== undefined,
      isQuarantined: item.quarantined ?? false,
      reason: item.status === 'failed' ? this.#groupOf(id, item.reason ?? '') : undefined,
    };
  }

  #groupOf(id: string, reason: string): string {
    const general = withoutItem(reason, id).slice(0, REASON_LENGTH);
    return this.#reasons.has(general) || this.#reasons.size < REASONS_MAX - 1 ? general : OTHER_REASONS;
  }

  #takeOutcome(id: string, { status, quarantined, reason, at, revision }: ItemSnapshot): void {
    if (this.#isRecent(id, revision)) return;
    this.rate.add(at);
    const outcome = status === 'completed' ? 'completed' : quarantined === true ? 'quarantined' : 'failed';
    this.#recent.push({ id, status: outcome, reason: reason?.slice(0, REASON_LENGTH), at, revision });
    if (this.#recent.length > 2 * RECENT_MAX) this.#recent = this.#recent.slice(-RECENT_MAX);
  }

  #isRecent(id: string, revision: number): boolean {
    // The usual one is newer than all.
    if (revision > (this.#recent.at(-1)?.revision ?? 0)) return false;
    return this.#recent.some((outcome) => outcome.id === id && outcome.revision === revision);
  }

  #takeBeat(runId: string, revision: number, at: number | undefined): void {
    if (at === undefined) this.#beats.delete(runId);
    else if (this.#beats.get(runId)?.revision !== revision) this.#beats.set(runId, { revision, at, seenMs: this.#clocks.monotonicMs() });
  }

  #count(item: KnownItem, step: 1 | -1): void {
    this.#counts[item.status] += step;
    if (item.isQuarantined) this.#quarantined += step;
    if (item.isGlitched) this.#glitched += step;
    this.#nanoUsd += step * item.nanoUsd;
    if (item.reason === undefined) return;
    const count = (this.#reasons.get(item.reason) ?? 0) + step;
    if (count > 0) this.#reasons.set(item.reason, count);
    else this.#reasons.delete(item.reason);
  }
}

/** A reason with `{}` in the place of the item, where that stands by itself: so the same reason of many items is one. */
function withoutItem(reason: string, id: string): string {
  const [first = '', ...others] = reason.split(id);
  return others.reduce((text, part) => `${text}${isLetter(text.at(-1)) || isLetter(part[0]) ? id : '{}'}${part}`, first);
}

function isLetter(character: string | undefined): boolean {
  return character !== undefined && /[\p{L}\p{N}_]/u.test(character);
}
