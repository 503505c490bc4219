/**
 * What happens in each round of a soak, drawn from the seed alone: the same seed makes the same choices, whatever the machine does with them.
 */
import { seeded } from '../support/seeded.js';

/** The backends that can be soaked. */
export const BACKENDS = ['file', 'sqlite', 'redis', 'redis-sentinel', 'redis-cluster'] as const;

/** One of {@link BACKENDS}. */
export type Backend = (typeof BACKENDS)[number];

/** What is done to the workers, the servers and the network. `worker` picks one of those that run. */
export type Fault =
  | { readonly do: 'kill' | 'close'; readonly worker: number; readonly pauseMs: number }
  | { readonly do: 'pause'; readonly worker: number; readonly pauseMs: number }
  | { readonly do: 'second'; readonly pauseMs: number }
  | { readonly do: 'server'; readonly pauseMs: number }
  | { readonly do: 'network'; readonly how: 'cut' | 'lose' | 'hold' | 'late'; readonly pauseMs: number };

/** A fault, and when: after so many more outcomes, and a moment. */
export interface TimedFault {
  readonly afterOutcomes: number;
  readonly delayMs: number;
  readonly fault: Fault;
}

/** What is done to one file of the store while nobody has it open. */
export interface Damage {
  readonly target: 'state' | 'previous' | 'journal' | 'database' | 'log' | 'backup';
  readonly how: 'flip' | 'cut' | 'delete' | 'zero';
  /** Where, as a part of its length. */
  readonly at: number;
}

/** One round. */
export interface RoundPlan {
  readonly round: number;
  /** The round begins with a new store. */
  readonly isNewStore: boolean;
  /** How many items there are more than in the round before. */
  readonly items: number;
  readonly workers: number;
  readonly concurrency: number;
  readonly workMs: number;
  readonly doClocksJump: boolean;
  readonly diskFaultEvery: number;
  readonly faults: readonly TimedFault[];
  /** `killed`: after the last fault everybody is killed, and what is left of the items is for the next round. */
  readonly ending: 'finished' | 'killed';
  readonly damage: Damage | undefined;
  /** For what the workers leave to chance. */
  readonly seed: number;
}

/** How many rounds a store lasts. */
const ROUNDS_PER_STORE = 12;

/** Beyond the lease of the workers, so that others take over. */
const LONG_PAUSE_MS = 3_500;

const FAULTS: Readonly<Record<Backend, readonly Fault['do'][]>> = {
  file: ['kill', 'kill', 'kill', 'kill', 'close', 'pause', 'second'],
  sqlite: ['kill', 'kill', 'kill', 'kill', 'close', 'pause', 'pause'],
  redis: ['kill', 'kill', 'kill', 'close', 'pause', 'server', 'network', 'network'],
  'redis-sentinel': ['kill', 'kill', 'kill', 'kill', 'close', 'pause', 'server'],
  'redis-cluster': ['kill', 'kill', 'kill', 'close', 'pause', 'server'],
};

const TARGETS: Partial<Readonly<Record<Backend, readonly Damage['target'][]>>> = {
  file: ['state', 'previous', 'journal'],
  sqlite: ['database', 'log', 'backup'],
};

/** The plan of a round. */
export function planRound(seed: number, backend: Backend, round: number): RoundPlan {
  const random = seeded(seed + round * 104_729);
  const whole = (from: number, to: number): number => from + Math.floor(random() * (to - from + 1));
  const pick = <T>(all: readonly T[]): T => all[whole(0, all.length - 1)] as T;
  const isShared = backend !== 'file';
  const faults = Array.from(
    { length: whole(3, 8) },
    (): TimedFault => ({ afterOutcomes: whole(1, 40), delayMs: random() * 30, fault: planFault() }),
  );
  const targets = TARGETS[backend];
  return {
    round,
    isNewStore: round % ROUNDS_PER_STORE === 0,
    items: faults.reduce((sum, { afterOutcomes }) => sum + afterOutcomes, whole(20, 80)),
    workers: isShared ? whole(2, 4) : 1,
    concurrency: pick([1, 1, 2, 4, 8]),
    workMs: pick([0, 1, 2, 6]),
    doClocksJump: random() < 0.5,
    diskFaultEvery: backend === 'file' && random() < 0.3 ? whole(40, 200) : 0,
    faults,
    ending: random() < 0.5 ? 'killed' : 'finished',
    damage:
      targets !== undefined && random() < 0.6
        ? { target: pick(targets), how: pick(['flip', 'flip', 'cut', 'delete', 'zero'] as const), at: random() }
        : undefined,
    seed: whole(0, 2 ** 31),
  };

  function planFault(): Fault {
    const kind = pick(FAULTS[backend]);
    const worker = whole(0, 9);
    switch (kind) {
      case 'kill':
      case 'close':
        return { do: kind, worker, pauseMs: whole(0, 100) };
      case 'pause':
        return { do: kind, worker, pauseMs: isShared && random() < 0.4 ? LONG_PAUSE_MS : whole(50, 400) };
      case 'network':
        return { do: kind, how: pick(['cut', 'lose', 'hold', 'late'] as const), pauseMs: whole(50, 600) };
      default:
        return { do: kind, pauseMs: whole(50, 500) };
    }
  }
}
