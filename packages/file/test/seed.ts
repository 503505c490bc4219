/** Numbers that a seed decides. */
export interface Random {
  /** A whole number from 0 to below `limit`. */
  below(limit: number): number;
}

/** Takes the seed from `LOOPSTATE_SEED` or makes one, and prints it, so that a red run can be replayed. */
export function announceRandom(): Random {
  const seed = Number(process.env.LOOPSTATE_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`      LOOPSTATE_SEED=${seed}`);
  let state = seed >>> 0;
  return {
    below(limit) {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
    },
  };
}
