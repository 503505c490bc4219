import { type Proof, prove } from '@loopstate/conformance';

/** Counts the tests of a `describe` that pass, as cases, and proves them at its end; what a test counts itself is added. */
export function proveEach(proof: Omit<Proof, 'counts'>): { cases: number; kills: number } {
  const counts = { cases: 0, kills: 0 };
  afterEach(function () {
    if (this.currentTest?.state === 'passed') counts.cases++;
  });
  after(() => prove({ ...proof, counts: counts.kills === 0 ? { cases: counts.cases } : counts }));
  return counts;
}
