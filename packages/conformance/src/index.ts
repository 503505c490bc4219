export { testConcurrency } from './concurrency.js';
export { testConformance } from './conformance.js';
export { testCrash } from './crash.js';
export type { BackendFixture, Faults, Network, OpenerModule, Place, RunStep } from './fixture.js';
export { Fleet, type FleetEvent, type FleetLoop, type FleetWorker } from './fleet.js';
export type { HistoryAnswer, HistoryEvent, Violation } from './history.js';
export { judgeHistory } from './judge-history.js';
export { type BrokenPromise, judgeLoop, type LoopCall, type OutcomeRead, type WorkerHistory } from './judge-loop.js';
export { type Counted, PROOFS_VARIABLE, type Proof, proofLines, proofs, proofsIn, prove, withoutProofs } from './proofs.js';
