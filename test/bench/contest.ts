/**
 * Contestants that are timed in turns, so that a machine whose speed drifts drifts for all of them. What is quoted are medians over
 * the rounds, and ratios that were taken within one round.
 */

/** What one turn of a contestant came to. */
export interface Turn {
  readonly operations: number;
  readonly elapsedMs: number;
  /** How long each operation took, in microseconds, in any order. */
  readonly latenciesUs: readonly number[];
}

/** One who is timed. */
export interface Contestant {
  readonly name: string;
  /** Does a turn's work. `round` counts from 0; round 0 is a rehearsal that does not count. */
  turn(round: number): Promise<Turn>;
}

/** The figures of one contestant. */
export interface Standing {
  readonly name: string;
  readonly turns: readonly Turn[];
  /** Median over the rounds, as are the others. */
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** The longest of all operations of all rounds. */
  readonly worstUs: number;
}

/** Lets all contestants take their turns, in another order each round, after a rehearsal. */
export async function compete(contestants: readonly Contestant[], { rounds }: { readonly rounds: number }): Promise<Standing[]> {
  const turns = new Map<string, Turn[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (let place = 0; place < contestants.length; place++) {
      const contestant = contestants[(place + round) % contestants.length] as Contestant;
      const turn = await contestant.turn(round);
      if (round > 0) turns.get(contestant.name)?.push(turn);
    }
  }
  return contestants.map(({ name }) => standingFrom(name, turns.get(name) ?? []));
}

/** The one of that name. */
export function standingOf(standings: readonly Standing[], name: string): Standing {
  const found = standings.find((standing) => standing.name === name);
  if (found === undefined) throw new Error(`Nobody of the name ${name} took part.`);
  return found;
}

/** How many times as fast `a` was as `b`: the median of the ratios within each round. */
export function timesAsFast(a: Standing, b: Standing): number {
  return median(a.turns.map((turn, round) => rateOf(turn) / rateOf(b.turns[round] as Turn)));
}

/** How many times as long the median operation of `a` took as that of `b`, likewise. */
export function timesAsLong(a: Standing, b: Standing): number {
  return median(a.turns.map(({ latenciesUs }, round) => quantile(latenciesUs, 0.5) / quantile((b.turns[round] as Turn).latenciesUs, 0.5)));
}

/** One operation after another. */
export async function oneByOne(operations: number, operation: (n: number) => unknown): Promise<Turn> {
  return await inFlight(1, operations, operation);
}

/** As many operations at once as there are workers, each of which begins the next when its own is done, until there are enough or it is over. */
export async function inFlight(
  workers: number,
  operations: number,
  operation: (n: number) => unknown,
  isOver: () => boolean = () => false,
): Promise<Turn> {
  const latenciesUs: number[] = [];
  let next = 0;
  const startMs = performance.now();
  const work = async (): Promise<void> => {
    while (next < operations && !isOver()) {
      const n = next++;
      const beganMs = performance.now();
      await operation(n);
      latenciesUs.push((performance.now() - beganMs) * 1_000);
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  return { operations: latenciesUs.length, elapsedMs: performance.now() - startMs, latenciesUs };
}

/** The middle one. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which a share of all lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function standingFrom(name: string, turns: readonly Turn[]): Standing {
  return {
    name,
    turns,
    perSecond: median(turns.map(rateOf)),
    p50Us: median(turns.map(({ latenciesUs }) => quantile(latenciesUs, 0.5))),
    p99Us: median(turns.map(({ latenciesUs }) => quantile(latenciesUs, 0.99))),
    worstUs: Math.max(...turns.map(({ latenciesUs }) => latenciesUs.reduce((worst, us) => Math.max(worst, us), 0))),
  };
}

function rateOf({ operations, elapsedMs }: Turn): number {
  return (operations * 1_000) / elapsedMs;
}
