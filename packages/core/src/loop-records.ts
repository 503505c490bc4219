/**
 * How a loop is written down: the records that `LoopState` keeps in a store, and their keys. Format 1.
 *
 * - `meta`: the identity and format of the store; written once.
 * - `run/<runId>`: one running process (or handle); written once, deleted when it ends or is taken over.
 * - `beat/<runId>`: moves with each heartbeat of that run; absent where one process holds the store alone.
 * - `item/<id>`: one item. Its life:
 *
 *   (absent) ─claim→ claimed ─end(success)→ completed
 *                       │  └──end(error)──→ failed
 *                       └─glitch, retry, release, crash→ outstanding ─claim→ claimed …
 *   completed, failed ─retry by the operator→ outstanding, in a new round
 *
 * Every record carries `by`: `<runId>.<n>`, unique to the commit that put it, by which a commit of unknown outcome is recognised.
 */
import type { Json, StateRecord } from './backend.js';
import { LoopStateError } from './errors.js';

/** The format of the records that this version writes. */
export const RECORD_FORMAT = 1;

/** The most bytes of UTF-8 that an item's id may have. */
export const ID_BYTES = 1_024;

/** The most bytes of UTF-8 that are kept of a reason; the rest is cut. */
export const REASON_BYTES = 4_096;

/** How many proven crashes it takes until an item runs alone. */
export const CRASHES_UNTIL_ALONE = 2;

/** Where an item stands. `outstanding` is an item that was begun before and came back. */
export type ItemStatus = 'outstanding' | 'claimed' | 'completed' | 'failed';

/** The record of one item. Fields that would be 0 or empty are left out. */
export interface ItemRecord {
  readonly status: ItemStatus;
  /** The attempt that runs now (`claimed`) or the attempts used so far. Crashes, glitches and releases are not counted. */
  readonly attempt: number;
  /** The run that holds the item; only while it is `claimed`. */
  readonly run?: string;
  /** The item was claimed to run while its run held nothing else. */
  readonly alone?: true;
  /** How often a run that held the item was proven gone. */
  readonly crashes?: number;
  /** Glitches since the last other result. */
  readonly glitches?: number;
  /** How long to wait before the next attempt, counted from when this record was seen, in ms. */
  readonly waitMs?: number;
  /** The cost of all attempts in this round and before, in US dollars. */
  readonly costUsd?: number;
  /** What the last attempt cost, as it was reported. */
  readonly cost?: Json;
  /** What the work returned; only when `completed`. */
  readonly output?: Json;
  /** Why it failed; only when `failed`. At most 4 KiB. */
  readonly reason?: string;
  /** A stable code beside the reason, e.g. `LOOPSTATE_RESULT_REFUSED`. */
  readonly code?: string;
  /** The reason of the last attempt that failed, glitched or crashed, while the item is not finished. */
  readonly lastError?: string;
  /** It failed because its run crashed while it ran alone. */
  readonly quarantined?: true;
  /** Which round this is, from 2 on: the operator asked for another after an outcome. */
  readonly round?: number;
  /** The store had lost this outcome and its run recorded it again: whole, or only its status and cost. */
  readonly recordedAgain?: 'whole' | 'status';
  /** What the item and the work on it were like when it was last claimed, as the claimer said. */
  readonly digest?: string;
  /** `<runId>.<n>` of the commit that put this record. */
  readonly by: string;
}

/** The record of one run. */
export interface RunRecord {
  /** Identifies the process beyond its pid; the same for all runs of one process. */
  readonly process: string;
  readonly host: string;
  readonly pid: number;
  /** The kernel's id of this boot, where it has one. */
  readonly bootId?: string;
  /** The pid namespace, where there is one; a pid means nothing in another. */
  readonly pidNamespace?: string;
  /** When the process started, in the kernel's own ticks: tells a reused pid. */
  readonly startTime?: string;
  /** For how long the run may be silent before others may presume it dead, in ms. */
  readonly leaseMs: number;
  /** When it registered, in ms since the epoch by its own clock. For display only. */
  readonly since: number;
  readonly by: string;
}

/** The identity of a store. */
export interface MetaRecord {
  readonly format: number;
  readonly store: string;
  /** What was spent before this store began, on no item it knows, in US dollars. */
  readonly carriedUsd?: number;
  readonly by: string;
}

export const META_KEY = 'meta';
const ITEM_PREFIX = 'item/';
const RUN_PREFIX = 'run/';
const BEAT_PREFIX = 'beat/';

export const itemKey = (id: string): string => ITEM_PREFIX + id;
export const runKey = (runId: string): string => RUN_PREFIX + runId;
export const beatKey = (runId: string): string => BEAT_PREFIX + runId;

/** What a key names. */
export type RecordName = { kind: 'item' | 'run' | 'beat'; id: string } | { kind: 'meta' | 'other' };

/** The inverse of the key functions. Keys that this version doesn't know are `other` and left alone. */
export function nameOf(key: string): RecordName {
  if (key.startsWith(ITEM_PREFIX)) return { kind: 'item', id: key.slice(ITEM_PREFIX.length) };
  if (key.startsWith(RUN_PREFIX)) return { kind: 'run', id: key.slice(RUN_PREFIX.length) };
  if (key.startsWith(BEAT_PREFIX)) return { kind: 'beat', id: key.slice(BEAT_PREFIX.length) };
  return { kind: key === META_KEY ? 'meta' : 'other' };
}

/** The `by` of a record, if it has one. */
export function byOf(record: StateRecord | undefined): string | undefined {
  const value = record?.value;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return undefined;
  const by = (value as { [key: string]: Json }).by;
  return typeof by === 'string' ? by : undefined;
}

/** Returns `id` if it may name an item. Errors: `LOOPSTATE_BAD_ID`. */
export function checkId(id: unknown): string {
  if (typeof id !== 'string') throw badId(`An item's id must be a string, not ${id === null ? 'null' : typeof id}.`);
  if (id === '') throw badId("An item's id must not be empty.");
  if (!id.isWellFormed()) throw badId(`The id ${JSON.stringify(id)} holds half of a surrogate pair.`);
  // A UTF-16 unit is at most 3 bytes of UTF-8: short ids need no counting.
  if (id.length * 3 > ID_BYTES && Buffer.byteLength(id) > ID_BYTES) {
    throw badId(
      `An item's id may have ${ID_BYTES} bytes of UTF-8; ${JSON.stringify(`${id.slice(0, 40)}…`)} has ${Buffer.byteLength(id)}. Use a digest of it as the id.`,
    );
  }
  return id;
}

/** Cuts a reason to {@link REASON_BYTES} bytes of well-formed UTF-8. */
export function cutReason(reason: string): string {
  const wellFormed = reason.toWellFormed();
  if (wellFormed.length * 3 <= REASON_BYTES || Buffer.byteLength(wellFormed) <= REASON_BYTES) return wellFormed;
  const mark = '… (cut)';
  const bytes = Buffer.from(wellFormed).subarray(0, REASON_BYTES - Buffer.byteLength(mark));
  // A character that was cut in two decodes to U+FFFD at the very end.
  return bytes.toString().replace(/\uFFFD$/, '') + mark;
}

/** Errors: `LOOPSTATE_NEWER_FORMAT` for the records of a version that came after this one. */
export function assertKnownFormat(meta: MetaRecord | undefined): void {
  const format = meta?.format ?? RECORD_FORMAT;
  if (format <= RECORD_FORMAT) return;
  throw new LoopStateError(
    'LOOPSTATE_NEWER_FORMAT',
    `The records of this store have format ${format}, and this version of loopstate knows up to ${RECORD_FORMAT}: install a newer loopstate. Nothing was changed.`,
  );
}

/** True once an item has its outcome for this round. */
export function isFinal(status: ItemStatus): boolean {
  return status === 'completed' || status === 'failed';
}

function badId(reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_ID', `${reason} Nothing was written.`);
}
