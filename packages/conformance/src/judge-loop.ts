/**
 * Judges what the workers of a shared loop were answered. The store issued the fences, so they order the claims of an item, and no order
 * has to be searched for. What is left open is which outcome an item has, where a try to record one was never answered: each that may
 * be it is supposed in turn, and the claims, the other answers and what was read later decide. What none of them explains is reported.
 */

/** A call of one worker, or a thing that it was told. Times are in ms of a clock that all who recorded share. */
export type LoopCall =
  /** It was given a claim, by the run that it was then. */
  | {
      readonly kind: 'claim';
      readonly startMs: number;
      readonly endMs: number;
      readonly id: string;
      readonly fence: number;
      readonly run: string;
    }
  /** It tried to record an outcome. Unknown: it was never answered, and the try may have its effect at any time after. */
  | {
      readonly kind: 'end';
      readonly startMs: number;
      readonly endMs: number;
      readonly id: string;
      readonly fence: number;
      readonly answer: 'yes' | 'no' | 'unknown';
    }
  /** It was told that its claim no longer stands, or it gave the item back without an outcome. */
  | { readonly kind: 'told' | 'gave-back'; readonly startMs: number; readonly endMs: number; readonly id: string; readonly fence: number }
  /** A heartbeat of this run was acknowledged. */
  | { readonly kind: 'beat'; readonly startMs: number; readonly endMs: number; readonly run: string };

/** All calls of one worker. */
export interface WorkerHistory {
  readonly calls: readonly LoopCall[];
  /** For how long its runs may be silent before others may presume them dead. */
  readonly leaseMs: number;
  /** When it was killed, or a moment before. */
  readonly killedMs?: number | undefined;
}

/** What somebody saw of one item. */
export interface OutcomeRead {
  readonly startMs: number;
  readonly endMs: number;
  readonly id: string;
  /** The fence under which its outcome was recorded; none: it had no outcome. */
  readonly fence?: number | undefined;
}

/** A promise that was broken, and where. */
export interface BrokenPromise {
  readonly promise: 'acked-survives' | 'once-recorded' | 'fenced';
  readonly message: string;
}

type CallOf<Kind extends LoopCall['kind']> = Extract<LoopCall, { kind: Kind }>;

/** What became of one claim, as far as its worker knows. */
interface Holding extends CallOf<'claim'> {
  readonly worker: WorkerHistory;
  readonly end: CallOf<'end'> | undefined;
  readonly wasTold: boolean;
  /** When it gave the item back; infinite: it did not. */
  readonly gaveBackMs: number;
}

/** All that is known of one item. */
interface ItemHistory {
  readonly id: string;
  /** By fence. */
  readonly holdings: Holding[];
  readonly reads: OutcomeRead[];
}

/** The broken promises in the histories of all workers of one loop, all of which have ended or were killed. */
export function judgeLoop(workers: readonly WorkerHistory[], reads: readonly OutcomeRead[]): BrokenPromise[] {
  const items = new Map<string, ItemHistory>();
  const itemOf = (id: string): ItemHistory => {
    const item = items.get(id) ?? { id, holdings: [], reads: [] };
    items.set(id, item);
    return item;
  };
  for (const worker of workers) for (const holding of holdingsOf(worker)) itemOf(holding.id).holdings.push(holding);
  for (const read of reads) itemOf(read.id).reads.push(read);
  return [...items.values()].flatMap((item) => {
    item.holdings.sort((one, other) => one.fence - other.fence);
    return [...judgeClaims(item), ...judgeOutcome(item)];
  });
}

function holdingsOf(worker: WorkerHistory): Holding[] {
  const calls = new Map(worker.calls.flatMap((call) => (call.kind === 'beat' ? [] : [[`${call.kind} ${call.id} ${call.fence}`, call]])));
  return worker.calls
    .filter((call) => call.kind === 'claim')
    .map((claim) => {
      const about = (kind: string) => calls.get(`${kind} ${claim.id} ${claim.fence}`);
      const gaveBackMs = about('gave-back')?.startMs ?? Number.POSITIVE_INFINITY;
      return { ...claim, worker, end: about('end') as CallOf<'end'> | undefined, wasTold: about('told') !== undefined, gaveBackMs };
    });
}

/** One holder per fence, fences that only grow, nobody robbed while alive, and every loser told. */
function judgeClaims({ id, holdings }: ItemHistory): BrokenPromise[] {
  const broken: BrokenPromise[] = [];
  const breaks = (message: string) => broken.push({ promise: 'fenced', message: `${id}: ${message}` });
  let latestStartMs = Number.NEGATIVE_INFINITY;
  for (const [index, holding] of holdings.entries()) {
    const { fence, startMs, endMs, end, worker, wasTold, gaveBackMs } = holding;
    if (endMs < latestStartMs) breaks(`the fence ${fence} was given before a smaller one was asked for.`);
    latestStartMs = Math.max(latestStartMs, startMs);
    const next = holdings[index + 1];
    if (next === undefined) break;
    if (next.fence === fence) breaks(`it was held twice under the fence ${fence}.`);
    if (gaveBackMs < next.endMs) continue;
    const { killedMs = Number.POSITIVE_INFINITY } = worker;
    if (killedMs === Number.POSITIVE_INFINITY && !wasTold && (end ?? { answer: 'unknown' }).answer === 'unknown')
      breaks(`the worker that lost the fence ${fence} was never told.`);
    const tooEarlyMs = lastBeatMs(holding, next.endMs) + worker.leaseMs - next.endMs;
    if (killedMs > next.endMs && tooEarlyMs > 0)
      breaks(`the fence ${next.fence} was given while the holder of ${fence} was alive, ${Math.ceil(tooEarlyMs)} ms too early.`);
  }
  return broken;
}

/** When the last heartbeat was sent that the store acknowledged by then: no observer can have seen it earlier. */
function lastBeatMs({ run, worker }: Holding, byMs: number): number {
  const beats = worker.calls.filter((call) => call.kind === 'beat' && call.run === run && call.endMs < byMs);
  return beats.reduce((last, { startMs }) => Math.max(last, startMs), Number.NEGATIVE_INFINITY);
}

/** One outcome at the most, acknowledged only if it is that, and seen by all who look later. */
function judgeOutcome(item: ItemHistory): BrokenPromise[] {
  const mayBe = item.holdings.filter(({ end }) => end !== undefined && end.answer !== 'no');
  // Of two that are as wrong, the one with an outcome that was acknowledged says more.
  mayBe.sort((one, other) => Number(other.end?.answer === 'yes') - Number(one.end?.answer === 'yes'));
  const stories = [...mayBe, undefined].map((outcome) => judgeStory(item, outcome));
  return stories.reduce((best, story) => (story.length < best.length ? story : best));
}

/** What is wrong, if that is the item's outcome. */
function judgeStory({ id, holdings, reads }: ItemHistory, outcome: Holding | undefined): BrokenPromise[] {
  const broken: BrokenPromise[] = [];
  const breaks = (promise: BrokenPromise['promise'], message: string) => broken.push({ promise, message: `${id}: ${message}` });
  for (const { end, fence } of holdings) {
    if (end?.answer !== 'yes' || fence === outcome?.fence) continue;
    if (outcome === undefined) breaks('acked-survives', `the outcome under the fence ${fence} was acknowledged, and there is none.`);
    else breaks('once-recorded', `the outcome under the fence ${fence} was acknowledged, and the one under ${outcome.fence} stands.`);
  }
  for (const { fence, endMs } of holdings) {
    if (outcome?.end === undefined || fence <= outcome.fence) continue;
    const isOlder = endMs < outcome.end.startMs;
    if (isOlder) breaks('fenced', `an outcome was recorded under the fence ${outcome.fence} though ${fence} had been given.`);
    else breaks('once-recorded', `it was claimed under the fence ${fence} after its outcome under ${outcome.fence}.`);
  }
  const shown = reads.filter(({ fence }) => fence !== undefined && fence === outcome?.fence);
  const standsFromMs = Math.min(
    ...shown.map(({ endMs }) => endMs),
    outcome?.end?.answer === 'yes' ? outcome.end.endMs : Number.POSITIVE_INFINITY,
  );
  for (const { fence, startMs, endMs } of reads) {
    if (fence === undefined && startMs > standsFromMs)
      breaks('acked-survives', `its outcome under the fence ${outcome?.fence} was there, and is gone.`);
    if (fence !== undefined && fence !== outcome?.fence) breaks('once-recorded', `an outcome under the fence ${fence} was seen.`);
    if (fence !== undefined && fence === outcome?.fence && endMs < (outcome.end?.startMs ?? 0))
      breaks('once-recorded', `its outcome under the fence ${fence} was seen before it was recorded.`);
  }
  return broken;
}
