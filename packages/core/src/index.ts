export * from './backend.js';
export { Calls } from './calls.js';
export * from './checked-commit.js';
export { checksumText } from './checksum.js';
export type { Standing } from './claim-book.js';
export { Column, type Numbers } from './column.js';
export * from './diagnosis.js';
export { type Environment, type ProcessIdentity, realEnvironment } from './environment.js';
export * from './errors.js';
export * from './file-systems.js';
export type { Claim } from './held-claim.js';
export type { Cost, ItemResult } from './item-results.js';
export type { Items, LoopItem } from './item-source.js';
export * from './judge-place.js';
export { KeyTable } from './key-table.js';
export { type ItemSnapshot, type LoopChange, LoopReader } from './loop-reader.js';
export {
  checkId,
  ID_BYTES,
  type ItemRecord,
  type ItemStatus,
  isFinal,
  type MetaRecord,
  REASON_BYTES,
  RECORD_FORMAT,
  type RunRecord,
} from './loop-records.js';
export {
  type LoopSnapshot,
  LoopState,
  type LoopStateEvent,
  type LoopStateOptions,
  type RunSnapshot,
} from './loop-state.js';
export * from './loop-survey.js';
export type { Progress } from './loop-view.js';
export type { MembershipEvent } from './membership.js';
export * from './memory.js';
export { isSameItem, type MovableEntry, type MovableItem, movable, whyNotMovable } from './movable-item.js';
export * from './nano-usd.js';
export { isOldFormat, itemsFromOldFormat, type OldLoop, recordsFromOldFormat } from './old-formats.js';
export type { MayPut, Placed } from './operations.js';
export { checkLoopStateOptions, checkOpenOptions, type LoopStateSettings, type OpenOptions, refuseUnknownOptions } from './options.js';
export * from './place-facts.js';
export type { WentBackwardsEvent } from './restoration.js';
export {
  type Backoff,
  type LoopCounts,
  type LoopEvent,
  type LoopResult,
  type RunLoopOptions,
  runLoop,
  type StopReason,
} from './run-loop.js';
export type { Death } from './run-watch.js';
export { keepThreadPoolAwake } from './thread-pool.js';
export { Glitch, type Work, type WorkContext } from './work.js';
