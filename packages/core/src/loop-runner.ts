/**
 * One run of `runLoop`: workers that each claim an item, work on it, and record how it ended while they claim the next.
 *
 * An item is among the candidates until it is begun, and active while it is being compared with what it was, claimed, worked on or recorded.
 *
 * **Invariants:**
 * - nothing is begun while an outcome can't be recorded, nor after a stop;
 * - while an item that waited until nothing else ran has its turn, nothing else is begun;
 * - the work of one claim runs once, however often its recording is tried;
 * - a worker that finds nothing to do looks again after the next change, or follows one that does;
 * - when the workers have ended, nothing that was claimed here is still held, unless the store was out of reach.
 */
import { setMaxListeners } from 'node:events';
import pRetry from 'p-retry';
import { Candidates, type Taken } from './candidates.js';
import { ChangedItems } from './changed-items.js';
import { isLoopStateError } from './errors.js';
import type { Claim } from './held-claim.js';
import { IdleWorkers } from './idle-workers.js';
import type { ItemResult } from './item-results.js';
import type { Candidate, LoopItem } from './item-source.js';
import type { LoopEvent, LoopResult, RunLoopSettings, StopReason } from './run-loop.js';
import { onStopRequests } from './stop-requests.js';
import { reasonOf, resultOfThrown, resultOfValue } from './work.js';

/** How often items that other runs hold are looked at again, in ms. */
const HELD_POLL_MS = 250;

/** How old the view of a shared loop may be when an item is asked for, in ms. */
const SHARED_AGE_MS = 20;

/** How a store that is away is tried again; each wait twice the last, up to ten seconds. */
const PERSIST = { retries: Number.POSITIVE_INFINITY, minTimeout: 200, maxTimeout: 10_000, randomize: true } as const;

/** The reasons that come from outside, and not from what the loop was told before. */
const INTERRUPTIONS: ReadonlySet<LoopResult['reason']> = new Set<StopReason>(['aborted', 'SIGINT', 'SIGTERM', 'SIGHUP']);

interface Begun<I> extends Candidate<I> {
  readonly claim: Claim;
}

/** How the work ended: with a result, or cut short by a stop. */
type WorkEnd = ItemResult | 'cut-short';

/** See the file's comment. */
export class LoopRunner<I extends LoopItem> {
  readonly #settings: RunLoopSettings<I>;
  readonly #candidates: Candidates<I>;
  readonly #changedItems: ChangedItems<I>;
  readonly #active = new Map<string, Claim | 'claiming'>();
  readonly #counts = { started: 0, completed: 0, failed: 0, glitches: 0, retries: 0, skipped: 0, lost: 0, unrecorded: 0 };
  /** Aborted by a stop of any kind: claims are no longer tried. */
  readonly #soft = new AbortController();
  /** Aborted when running work is to end too: recordings are no longer tried. */
  readonly #hard = new AbortController();
  readonly #idle: IdleWorkers;
  readonly #hasBudget: boolean;
  /** The last item that waited until nothing else ran. */
  #loner: string | undefined;
  #stop: StopReason | undefined;
  #failure: { readonly error: unknown } | undefined;
  #blocked = 0;
  #unblocking: Promise<void> | undefined;
  #glitchesInRow = 0;
  #cancelGrace: () => void = () => undefined;
  /** Of how many held items the last event told, since an item was begun. */
  #toldHeld = 0;
  #refreshedMs = Number.NEGATIVE_INFINITY;
  /** The last claim was refused, and the view was not brought up to date since. */
  #wasRefused = false;

  constructor(settings: RunLoopSettings<I>) {
    this.#settings = settings;
    // While the store is away every worker listens to one of them; Node would warn of a leak from eleven on.
    setMaxListeners(0, this.#soft.signal, this.#hard.signal);
    this.#changedItems = new ChangedItems(settings);
    this.#idle = new IdleWorkers(settings.state.environment);
    this.#hasBudget = Number.isFinite(settings.maxBudgetUsd);
    const { monotonicMs, random } = settings.state.environment;
    this.#candidates = new Candidates(settings.items, {
      nowMs: monotonicMs,
      random,
      needsNoTurn: (candidate) => this.#needsNoTurn(candidate),
      onChange: () => this.#idle.wake(),
      onFailure: (error) => this.#fail(error),
    });
  }

  async run(): Promise<LoopResult> {
    const stopListening = onStopRequests(this.#settings, {
      halt: (reason) => this.#halt(reason),
      haltNow: (reason) => this.#haltNow(reason),
    });
    try {
      const workers = Array.from({ length: this.#settings.concurrency }, () => this.#worker());
      await Promise.race([Promise.all(workers), this.#graceAfterHardStop()]);
    } finally {
      stopListening();
      this.#cancelGrace();
      this.#candidates.close();
    }
    // Work that did not heed its signal in time: its item goes back all the same, and what it may still return is not recorded.
    await Promise.all([...this.#active].map(([id, claim]) => (claim === 'claiming' ? undefined : this.#giveBack(id, claim))));
    if (this.#failure !== undefined) throw this.#failure.error;
    const reason = this.#stop ?? 'all-done';
    return {
      status: reason === 'all-done' ? 'completed' : INTERRUPTIONS.has(reason) ? 'interrupted' : 'stopped',
      reason,
      counts: { ...this.#counts, duplicates: this.#candidates.duplicates },
      progress: this.#settings.state.progress,
    };
  }

  async #worker(): Promise<void> {
    try {
      let begun = await this.#confirm(await this.#acquire());
      while (begun !== undefined) {
        const { id, claim } = begun;
        const end = await this.#work(begun);
        // Trouble with either leaves the other to come to its end: what is done is recorded, though nothing more can be had.
        const recording = this.#record(id, claim, end, begun.item);
        // The outcome of one item and the claim of the next go to the store together, unless the cost of the one decides on the other.
        if (this.#hasBudget) await recording;
        const acquiring = this.#acquire();
        await recording;
        begun = await this.#confirm(await acquiring);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Gives an item back that was claimed while the store went away or the loop was stopped; what `maxItems` counted may begin, unless running
   * work is to end too.
   */
  async #confirm(begun: Begun<I> | undefined): Promise<Begun<I> | undefined> {
    if (begun === undefined) return undefined;
    while (this.#blocked > 0 && this.#stop === undefined) await this.#unblocked();
    if (this.#stop === undefined || (this.#stop === 'max-items' && !this.#hard.signal.aborted)) return begun;
    this.#counts.started -= 1;
    await this.#giveBack(begun.id, begun.claim);
    return undefined;
  }

  /** The next item, claimed; `undefined` when there is no more to begin. Never rejects. */
  async #acquire(): Promise<Begun<I> | undefined> {
    try {
      while (this.#stop === undefined) {
        if (this.#blocked > 0) {
          await this.#unblocked();
          continue;
        }
        const { changes } = this.#idle;
        const choice = { isIdle: this.#active.size === 0, isShared: this.#settings.state.othersAtWork > 0 };
        const candidate = this.#isAlone ? undefined : this.#candidates.take(choice);
        if (candidate === undefined) {
          if (this.#candidates.isExhausted && this.#active.size === 0) return undefined;
          await this.#pause(changes);
          continue;
        }
        this.#idle.callNext();
        const begun = await this.#tryToBegin(candidate);
        if (begun !== undefined) return begun;
      }
      return undefined;
    } catch (error) {
      return this.#fail(error);
    } finally {
      this.#idle.callNext();
    }
  }

  /** An item has its turn for which all others had to end. It would not get it, were another one begun before its claim is answered. */
  get #isAlone(): boolean {
    return this.#loner !== undefined && this.#active.has(this.#loner);
  }

  /** Waits until something may have become possible since there had been so many `changes`. */
  async #pause(changes: number): Promise<void> {
    const dueMs = this.#isAlone ? Number.POSITIVE_INFINITY : this.#candidates.dueMs;
    if (this.#idle.hasLeader) return await this.#idle.follow(dueMs);
    // What changed while the caller looked woke nobody: an input may take its time, and any answer comes a moment later.
    if (changes !== this.#idle.changes) return;
    const held = this.#active.size === 0 ? this.#candidates.onlyHeld : 0;
    if (held > 0 && !this.#settings.waitForOthers) return this.#halt('held-elsewhere');
    if (held > 0 && held !== this.#toldHeld) {
      this.#toldHeld = held;
      this.#emit({ type: 'waiting-for-others', items: held });
    }
    await this.#idle.lead(dueMs);
  }

  async #tryToBegin(candidate: Taken<I>): Promise<Begun<I> | undefined> {
    const { state } = this.#settings;
    const { id } = candidate;
    if (this.#settings.digest !== undefined && !state.isOutstanding(id)) {
      // Others must not take the loop for one in which nothing is left to do meanwhile.
      this.#active.set(id, 'claiming');
      try {
        if (!(await this.#isToRunAgain(candidate))) return undefined;
      } finally {
        this.#active.delete(id);
        this.#idle.wake();
      }
    }
    if (this.#settleCandidate(candidate, { hasAsked: false })) return undefined;
    if (this.#hasBudget && state.progress.costUsd >= this.#settings.maxBudgetUsd) this.#halt('max-budget');
    if (this.#counts.started >= this.#settings.maxItems) return await this.#atMaxItems(candidate);
    if (this.#stop !== undefined) return undefined;
    this.#counts.started += 1;
    if (candidate.for === 'being-alone') this.#loner = id;
    this.#active.set(id, 'claiming');
    let claim: Claim | undefined;
    try {
      claim = await this.#persist(() => this.#claim(candidate), this.#soft.signal);
    } finally {
      if (claim === undefined) {
        this.#active.delete(id);
        this.#counts.started -= 1;
      }
    }
    if (claim === undefined) {
      this.#settleCandidate(candidate, { hasAsked: true });
      this.#idle.wake();
      return undefined;
    }
    this.#active.set(id, claim);
    this.#toldHeld = 0;
    return { id, item: candidate.item, claim };
  }

  /** Judges an item that is done by what it is like now; one that isn't to run again is skipped. */
  async #isToRunAgain(candidate: Candidate<I>): Promise<boolean> {
    const verdict = await this.#persist(() => this.#changedItems.judge(candidate), this.#soft.signal);
    if (verdict === undefined) return false;
    if (verdict === 'changed') this.#emit({ type: 'changed', id: candidate.id });
    // It is outstanding by that, or because an operator put it back meanwhile.
    return !this.#skipIfDone(candidate);
  }

  /** Stops at the bound, once it is certain that all who were counted do begin: a claim under way may yet be refused. */
  async #atMaxItems(candidate: Candidate<I>): Promise<undefined> {
    if (![...this.#active.values()].includes('claiming')) return this.#halt('max-items');
    this.#candidates.putBack(candidate, 'time');
    await this.#idle.nextChange(HELD_POLL_MS);
    return undefined;
  }

  /** Puts a candidate where it belongs by what the state knows of it; false: it can be claimed. */
  #settleCandidate(candidate: Candidate<I>, { hasAsked }: { readonly hasAsked: boolean }): boolean {
    const { state } = this.#settings;
    if (hasAsked && this.#settings.digest !== undefined && !state.isOutstanding(candidate.id)) {
      // Its outcome was not known when its turn began: in another turn it is compared with what it was.
      this.#candidates.putBack(candidate, 'time');
      return true;
    }
    if (this.#skipIfDone(candidate)) return true;
    const { standing, waitMs } = state.standing(candidate.id);
    if (waitMs > 0) this.#candidates.putBack(candidate, 'time', this.#nowMs + waitMs);
    else if (standing === 'must-run-alone' && this.#active.size > 0) this.#candidates.putBack(candidate, 'being-alone');
    else if (hasAsked) this.#candidates.putBack(candidate, 'holder', this.#nowMs + HELD_POLL_MS);
    else return false;
    return true;
  }

  /** Skips an item that is done. Where those are compared with what they were, each has its turn. */
  #needsNoTurn(candidate: Candidate<I>): boolean {
    return this.#settings.digest === undefined && this.#skipIfDone(candidate);
  }

  #skipIfDone({ id }: Candidate<I>): boolean {
    if (this.#settings.state.isOutstanding(id)) return false;
    this.#counts.skipped += 1;
    this.#emit({ type: 'skipped', id });
    return true;
  }

  async #claim(candidate: Candidate<I>): Promise<Claim | undefined> {
    const { state } = this.#settings;
    const { id } = candidate;
    const isHeld = (): boolean => state.standing(id).standing === 'held-elsewhere';
    const isOld = (): boolean => this.#nowMs - this.#refreshedMs >= (isHeld() ? HELD_POLL_MS : SHARED_AGE_MS);
    // What others took meanwhile need not be asked for; and before asking for what they hold, see whether that has ended. Whose claim is
    // refused, and who takes itself for alone, has others that its view lacks: it would ask for all that they did, in the same order.
    if (state.othersAtWork > 0 ? isOld() : this.#wasRefused) {
      this.#refreshedMs = this.#nowMs;
      await state.refresh();
      this.#wasRefused = false;
      this.#candidates.prune((ahead) => this.#needsNoTurn(ahead));
    }
    // A holder that was seen before this run was registered may be dead: the claim finds out.
    const isHeldByTheLiving = state.othersAtWork > 0 && isHeld();
    if (isHeldByTheLiving || !state.isOutstanding(id)) return undefined;
    // Only now: it may take the reading of a large file, and what others hold is looked at again and again.
    const digest = this.#settings.digest === undefined ? undefined : await this.#changedItems.digestOf(candidate);
    const claim = await state.claim(id, { digest });
    if (claim === undefined) this.#wasRefused = true;
    return claim;
  }

  async #work({ id, item, claim }: Begun<I>): Promise<WorkEnd> {
    this.#emit({ type: 'started', id, attempt: claim.attempt });
    const context = {
      id,
      attempt: claim.attempt,
      fence: claim.fence,
      get signal() {
        return claim.signal;
      },
    };
    try {
      return resultOfValue(await this.#settings.work(item, context));
    } catch (error) {
      return this.#hard.signal.aborted ? 'cut-short' : resultOfThrown(error);
    }
  }

  /** Records how the work on a claimed item ended. Never rejects. */
  async #record(id: string, claim: Claim, end: WorkEnd, item: I): Promise<void> {
    if (!this.#active.has(id)) return; // It was given back before its work ended.
    if (end === 'cut-short') return await this.#giveBack(id, claim);
    try {
      const told = await this.#persist(() => this.#settle(id, claim, end, item), this.#hard.signal);
      if (told !== undefined) return this.#emit(told);
      this.#counts.unrecorded += 1;
      // The next loop on this state must not wait for it. If the outcome has come through after all, it stands.
      await claim.release().catch(() => undefined);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_LEASE_LOST')) {
        this.#fail(error);
        return await this.#giveBack(id, claim);
      }
      this.#counts.lost += 1;
      this.#candidates.putBack({ id, item }, 'holder');
      this.#emit({ type: 'lost', id });
    } finally {
      this.#active.delete(id);
      this.#idle.wake();
    }
  }

  /** Records a result and says what became of the item. */
  async #settle(id: string, claim: Claim, result: ItemResult, item: I): Promise<LoopEvent> {
    const { backoff, glitches, retries } = this.#settings;
    if (result.status === 'glitch') {
      const waitMs = Math.max(result.retryAfterMs ?? 0, this.#delayMs(glitches, claim.glitches));
      await claim.end({ ...result, retryAfterMs: waitMs });
      this.#counts.glitches += 1;
      this.#glitchesInRow += 1;
      if (this.#glitchesInRow >= glitches.maxInRow) this.#halt('too-many-glitches');
      return this.#comeBack('glitch', id, item, result.reason ?? 'It glitched without a reason.', waitMs);
    }
    this.#glitchesInRow = 0;
    if (result.status === 'error' && claim.attempt <= retries) {
      const waitMs = this.#delayMs(backoff, claim.attempt - 1);
      await claim.postpone(result, { waitMs });
      this.#counts.retries += 1;
      return this.#comeBack('retry', id, item, result.reason ?? 'It failed without a reason.', waitMs);
    }
    if ((await claim.end(result)) === 'completed') {
      this.#counts.completed += 1;
      return { type: 'completed', id };
    }
    this.#counts.failed += 1;
    return {
      type: 'failed',
      id,
      reason: result.status === 'error' ? (result.reason ?? 'It failed without a reason.') : 'Its result could not be stored.',
    };
  }

  get #nowMs(): number {
    return this.#settings.state.environment.monotonicMs();
  }

  #comeBack(type: 'glitch' | 'retry', id: string, item: I, reason: string, waitMs: number): LoopEvent {
    this.#candidates.putBack({ id, item }, 'time', this.#nowMs + waitMs);
    return { type, id, reason, waitMs };
  }

  /** Doubled with each repetition and spread over its upper half, so that what failed together doesn't come back together. */
  #delayMs({ minDelayMs, maxDelayMs }: { readonly minDelayMs: number; readonly maxDelayMs: number }, repetition: number): number {
    const fullMs = Math.min(maxDelayMs, minDelayMs * 2 ** Math.min(repetition, 40));
    return Math.ceil(fullMs * (1 - this.#settings.state.environment.random() / 2));
  }

  /** Never rejects. */
  async #giveBack(id: string, claim: Claim): Promise<void> {
    this.#active.delete(id);
    try {
      await claim.release();
      this.#emit({ type: 'given-back', id });
    } catch (error) {
      // It comes back by itself once this run is found dead; the loop is ending anyway.
      if (isLoopStateError(error)) this.#emit({ type: 'unavailable', error });
      else this.#fail(error);
    }
    this.#idle.wake();
  }

  /** Calls the store until it answers. `undefined`: it did not before `signal` said to give up, or the time for it ran out. */
  #persist<T>(action: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    return action().catch((error: unknown) => this.#persistAfter(error, action, signal));
  }

  async #persistAfter<T>(trouble: unknown, action: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    if (!isLoopStateError(trouble) || !trouble.retryable) throw trouble;
    this.#blocked += 1;
    if (this.#blocked === 1) this.#emit({ type: 'unavailable', error: trouble });
    let answer: { readonly value: T } | undefined;
    let isGivenUp = false;
    const ask = async (): Promise<T> => {
      answer = { value: await action() };
      return answer.value;
    };
    try {
      return await pRetry(ask, {
        ...PERSIST,
        maxRetryTime: this.#settings.giveUpAfterMs,
        signal,
        shouldRetry: ({ error }) => isLoopStateError(error) && error.retryable,
      });
    } catch (error) {
      // What `signal` cut short may have been answered all the same: a claim that was granted is held.
      if (answer !== undefined) return answer.value;
      isGivenUp = signal.aborted || (isLoopStateError(error) && error.retryable);
      if (!isGivenUp) throw error;
      if (!signal.aborted) this.#halt('state-unavailable');
      return undefined;
    } finally {
      this.#blocked -= 1;
      if (this.#blocked === 0 && !isGivenUp) this.#emit({ type: 'available' });
      this.#idle.wake();
    }
  }

  /**
   * Begins nothing more. Whoever interrupts what stops already is the reason from then on: its caller must not take it for the other. But
   * who aborts what he halted stops it harder, and for the same reason.
   */
  #halt(reason: StopReason): undefined {
    const isInterruption = INTERRUPTIONS.has(reason) && !(reason === 'aborted' && this.#stop === 'halted');
    if (this.#stop === undefined || (isInterruption && !INTERRUPTIONS.has(this.#stop))) {
      this.#stop = reason;
      this.#emit({ type: 'stopping', reason });
    }
    this.#soft.abort();
    this.#candidates.close();
    this.#idle.wake();
    return undefined;
  }

  /** Begins nothing more and ends what runs. */
  #haltNow(reason: StopReason): void {
    this.#halt(reason);
    this.#hard.abort();
    const cause = new DOMException(`The loop is to stop: ${reason}.`, 'AbortError');
    for (const claim of this.#active.values()) if (claim !== 'claiming') claim.abort(cause);
    this.#idle.wake();
  }

  #fail(error: unknown): undefined {
    this.#failure ??= { error };
    this.#stop ??= 'aborted';
    this.#soft.abort();
    this.#candidates.close();
    this.#idle.wake();
    return undefined;
  }

  #graceAfterHardStop(): Promise<void> {
    const { state, graceMs } = this.#settings;
    const { signal } = this.#hard;
    return new Promise((resolve) => {
      // At once: a moment later the loop may have ended, and nobody would cancel it.
      const begin = (): void => {
        this.#cancelGrace = state.environment.after(graceMs, resolve, { keepAlive: true });
      };
      if (signal.aborted) begin();
      else signal.addEventListener('abort', begin, { once: true });
    });
  }

  /** Resolves once outcomes can be recorded again, or the loop is to stop. One wait for all workers: each change would wake every one of them. */
  #unblocked(): Promise<void> {
    this.#unblocking ??= this.#idle
      .until(() => this.#blocked === 0 || this.#stop !== undefined)
      .finally(() => {
        this.#unblocking = undefined;
      });
    return this.#unblocking;
  }

  #emit(event: LoopEvent): void {
    const failed = (cause: unknown): void => this.#fail(new Error(`onProgress failed: ${reasonOf(cause)}`, { cause }));
    try {
      const told: unknown = this.#settings.onProgress(event);
      // An asynchronous one fails later: where nobody waits for it, the process would end.
      if (typeof (told as PromiseLike<unknown> | undefined)?.then === 'function') Promise.resolve(told).catch(failed);
    } catch (cause) {
      failed(cause);
    }
  }
}
