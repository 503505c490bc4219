export { testConcurrency } from './concurrency.js';
export { testConformance } from './conformance.js';
export { testCrash } from './crash.js';
export type { BackendFixture, Faults, OpenerModule, Place, RunStep } from './fixture.js';
export type { HistoryAnswer, HistoryEvent, Violation } from './history.js';
export { judgeHistory } from './judge-history.js';
export { type Counted, type Proof, proofLines, proofs, prove, withoutProofs } from './proofs.js';
