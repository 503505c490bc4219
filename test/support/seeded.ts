/** A sequence of numbers from 0 up to 1 that a seed decides: mulberry32, by Tommy Ettinger (public domain). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The seed that LOOPSTATE_SEED names, or one of the moment. */
export function seedFromEnvironment(): number {
  return Number(process.env.LOOPSTATE_SEED ?? Date.now() % 1_000_000_000);
}
