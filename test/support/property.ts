/**
 * Claims that are to hold for whatever input: fast-check makes the inputs from a seed, and shrinks one that breaks a claim. A red run
 * prints `seed` and `path`; `LOOPSTATE_SEED` with that seed runs the same inputs again, and `LOOPSTATE_PATH` beside it begins with the
 * shrunk one. `LOOPSTATE_CASES=10` tries ten times as many.
 */
import { randomInt } from 'node:crypto';
import fc from 'fast-check';

/** How long the inputs of one claim may take, shrinking included: what was found until then is reported. */
const LIMIT_MS = 90_000;

/** For mocha, whose limit must not hide what was found. */
export const PROPERTY_TIMEOUT_MS = 2 * LIMIT_MS * factor();

/** Holds a claim against `cases` inputs; resolves to how many there were. Rejects with the smallest input found that breaks it. */
export async function holdsFor<T>(inputs: fc.Arbitrary<T>, cases: number, claim: (input: T) => Promise<void>): Promise<number> {
  const { LOOPSTATE_SEED, LOOPSTATE_PATH } = process.env;
  const seed = LOOPSTATE_SEED === undefined ? randomInt(2 ** 31) : Number(LOOPSTATE_SEED);
  console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
  let held = 0;
  const property = fc.asyncProperty(inputs, async (input) => {
    await claim(input);
    held += 1;
  });
  await fc.assert(property, {
    seed,
    numRuns: cases * factor(),
    interruptAfterTimeLimit: LIMIT_MS * factor(),
    ...(LOOPSTATE_PATH === undefined ? {} : { path: LOOPSTATE_PATH }),
  });
  return held;
}

function factor(): number {
  return Number(process.env.LOOPSTATE_CASES ?? 1);
}
