import { randomInt } from 'node:crypto';

/** A source of numbers that are the same for the same seed. */
export interface Random {
  readonly seed: number;
  /** A whole number from 0 to `below` - 1. */
  next(below: number): number;
  /** One of `items`, of which there must be at least one. */
  pick<T>(items: readonly T[]): T;
}

/**
 * Starts a random test: takes the seed from `LOOPSTATE_SEED`, or else a new one, and prints it, so that a red run can be
 * replayed.
 */
export function announceSeed(): Random {
  const given = process.env.LOOPSTATE_SEED;
  const seed = given === undefined || given === '' ? randomInt(1, 2 ** 31) : Number(given);
  if (!Number.isSafeInteger(seed)) throw new TypeError(`LOOPSTATE_SEED must be a whole number, not ${JSON.stringify(given)}.`);
  console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
  return createRandom(seed);
}

/** Numbers that depend on nothing but `seed` (mulberry32). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (below: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
  return { seed, next, pick: (items) => items[next(items.length)]! };
}
