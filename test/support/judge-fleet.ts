/**
 * Judges what the workers of a shared loop wrote down. The store issued the fences, so they order the claims of an item; no search
 * is needed.
 */

/** A line of a worker's log. */
export interface FleetEvent {
  readonly type: string;
  readonly id?: string;
  readonly fence?: number;
  readonly status?: string;
  /** The code of the error that it tells of. */
  readonly error?: string;
  /** How a run that was taken over was found dead. */
  readonly death?: string;
  readonly asked?: number;
  readonly refused?: number;
  readonly unknown?: number;
  /** On a clock that all workers of the host share. */
  readonly atNs: string;
}

/** What one worker wrote, and when it was killed. */
export interface WorkerHistory {
  readonly events: readonly FleetEvent[];
  readonly killedNs: bigint | undefined;
}

interface Holding {
  readonly id: string;
  readonly fence: number;
  readonly worker: number;
  readonly beganNs: bigint;
  readonly killedNs: bigint | undefined;
  /** When its outcome was acknowledged; undefined: it never was. */
  readonly completedNs: bigint | undefined;
  /** From when on the worker knew, or could not know any more, that it holds the item no longer. */
  readonly overNs: bigint | undefined;
}

/** The violations, one sentence each; none: the history keeps *once-recorded* and *fenced*. */
export function judgeFleet(histories: readonly WorkerHistory[]): string[] {
  const holdings = new Map<string, Holding[]>();
  for (const [worker, history] of histories.entries()) {
    for (const holding of holdingsOf(history, worker)) holdings.set(holding.id, [...(holdings.get(holding.id) ?? []), holding]);
  }
  return [...holdings].flatMap(([id, all]) =>
    judgeItem(
      id,
      all.sort((a, b) => a.fence - b.fence),
    ),
  );
}

function judgeItem(id: string, byFence: readonly Holding[]): string[] {
  const violations: string[] = [];
  const completed = byFence.filter(({ completedNs }) => completedNs !== undefined);
  if (completed.length > 1) violations.push(`once-recorded: ${id} was acknowledged ${completed.length} times.`);
  for (const [place, holding] of byFence.entries()) {
    const next = byFence[place + 1];
    if (next === undefined) continue;
    if (next.fence === holding.fence) violations.push(`fenced: ${id} was held twice under the fence ${holding.fence}.`);
    if (holding.completedNs !== undefined) violations.push(`fenced: ${id} was claimed again after its outcome.`);
    if (holding.killedNs !== undefined && holding.overNs === holding.killedNs && next.beganNs < holding.killedNs) {
      violations.push(`fenced: ${id} was held by two live workers at once.`);
    }
    // A worker that neither died nor was told by then is one that slept: it must have been told when it woke.
    if (holding.overNs === undefined) violations.push(`fenced: ${id} was taken from worker ${holding.worker}, which was never told.`);
  }
  return violations;
}

function holdingsOf({ events, killedNs }: WorkerHistory, worker: number): Holding[] {
  return events
    .filter(({ type }) => type === 'began')
    .map(({ id = '', fence = 0, atNs }) => {
      const beganNs = BigInt(atNs);
      const after = (type: string): bigint | undefined => {
        const event = events.find(
          (other) => other.type === type && other.id === id && BigInt(other.atNs) >= beganNs && (other.fence ?? fence) === fence,
        );
        return event === undefined ? undefined : BigInt(event.atNs);
      };
      const completedNs = after('completed');
      return { id, fence, worker, beganNs, killedNs, completedNs, overNs: completedNs ?? after('lost') ?? after('aborted') ?? killedNs };
    });
}
