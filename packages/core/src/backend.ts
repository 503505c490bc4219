/**
 * The contract between `LoopState` and the places where state is kept.
 *
 * **Glossary**
 * - *backend*: one open handle on a store; several handles, in several processes where `reach` says so, may share a store.
 * - *store*: the durable place itself: a file, a database, a set of keys on a server.
 * - *record*: a key with a JSON value, the revision of the commit that put it, and the time of that commit.
 * - *revision*: a positive integer that the store gives to each successful commit; it only grows. 0 means «absent».
 * - *commit*: a set of puts and deletes that apply together, or not at all, if every *check* holds.
 * - *check*: the demand that a key have a given revision when the commit applies.
 * - *conflict*: a check that did not hold, answered with the record that stands instead.
 * - *change*: one key's latest put or delete, as `changes` yields it.
 *
 * A backend knows nothing of loops: claims, leases, outcomes and retries live in `LoopState`, above it.
 */

/** What comes back deep-equal from a store: see the law *value/exact*. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A key with its value, as of one commit. */
export interface StateRecord {
  readonly key: string;
  readonly value: Json;
  /** The revision of the commit that put this value. */
  readonly revision: number;
  /** When that commit was made, in ms since the epoch by the store's clock. For display only: nothing is judged by it. */
  readonly at: number;
}

/** The demand that `key` stand at `revision`; 0 demands that it be absent. */
export interface Check {
  readonly key: string;
  readonly revision: number;
}

/** A value to be stored under a key. */
export interface Put {
  readonly key: string;
  readonly value: Json;
}

/** How much a commit must outlive once it resolved: `synced` (the default) what `traits.survives` says, `written` only the process. */
export type Durability = 'synced' | 'written';

/** Writes that apply together if every check holds. See the law *commit/shape* for the limits. */
export interface Commit {
  readonly checks?: readonly Check[];
  readonly puts?: readonly Put[];
  readonly deletes?: readonly string[];
  readonly durability?: Durability;
}

/** A check that did not hold, with the key's record as of the refusal or later; no record: the key is absent. */
export interface Conflict {
  readonly key: string;
  readonly record?: StateRecord;
}

/** Yes, with the revision of the commit; or no, with every check that did not hold. */
export type CommitResult =
  | { readonly ok: true; readonly revision: number }
  | { readonly ok: false; readonly conflicts: readonly Conflict[] };

/** The latest that happened to one key: a put (with its record) or a delete (without). */
export interface StateChange {
  readonly key: string;
  readonly revision: number;
  readonly record?: StateRecord;
}

/** What a backend can promise, as far as opening could verify it. */
export interface BackendTraits {
  /** A short name for people: `memory`, `file`, `sqlite`, `redis`. */
  readonly name: string;
  /** The worst that an acknowledged `synced` commit outlives. */
  readonly survives: 'nothing' | 'process-crash' | 'power-loss';
  /** Who can open the store at the same time: handles of one process, processes of one host, or hosts of a network. */
  readonly reach: 'process' | 'host' | 'network';
}

/** One thing that opening (or a later check) found wrong and what it did about it. */
export interface RecoveryFinding {
  /** Stable, lower-case, hyphenated: `torn-tail`, `snapshot-damaged`, … Each backend documents its own. */
  readonly code: string;
  /** `info`: nothing was lost. `warning`: nothing acknowledged is known to be lost. `loss`: acknowledged data is missing. */
  readonly severity: 'info' | 'warning' | 'loss';
  /** The file, table or server concerned. */
  readonly where: string;
  /** One sentence: what was found, what was done, what to do. */
  readonly message: string;
  /** Where the damaged bytes were put aside. */
  readonly keptAs?: string;
}

/**
 * A small, versioned record store with one conditional, atomic commit. It is born open and stays open until `close`.
 * The laws below hold for every backend; the suite of `@loopstate/conformance` proves them.
 */
export interface StateBackend {
  readonly traits: BackendTraits;

  /** What opening repaired, oldest first; empty when all was well. Grows when damage is found while the store is open. */
  readonly recovery: readonly RecoveryFinding[];

  /**
   * The records of `keys`, in their order; `undefined` for an absent key.
   *
   * Laws: *read/fresh*, *value/exact*. Errors: `LOOPSTATE_BAD_KEY`, `LOOPSTATE_CLOSED`, `LOOPSTATE_UNAVAILABLE`.
   */
  read(keys: readonly string[]): Promise<(StateRecord | undefined)[]>;

  /**
   * Applies all writes of `commit` if all its checks hold, and nothing otherwise.
   *
   * Laws: all that begin with *commit/*, and *value/exact*. Errors, none of which is a refused check: `LOOPSTATE_BAD_COMMIT`,
   * `LOOPSTATE_BAD_KEY`, `LOOPSTATE_VALUE_REFUSED`, `LOOPSTATE_CLOSED`, `LOOPSTATE_READ_ONLY`, `LOOPSTATE_UNAVAILABLE` (no
   * effect), `LOOPSTATE_OUTCOME_UNKNOWN` (perhaps an effect, perhaps later).
   */
  commit(commit: Commit): Promise<CommitResult>;

  /**
   * Everything that was put or deleted after revision `since`, up to about now; then it ends. It does not wait for more.
   *
   * Where a store can go backwards (a restored dump, a failover that lost writes) the call that notices it rejects with
   * `LOOPSTATE_WENT_BACKWARDS`, and so does every later one until `changes(0)`: reading from the start accepts the store as it is.
   *
   * Law: *changes/no-gap*. Errors: `LOOPSTATE_HISTORY_GONE`, `LOOPSTATE_CLOSED`, `LOOPSTATE_UNAVAILABLE`.
   */
  changes(since: number): AsyncIterable<StateChange>;

  /** Lets calls in flight finish, then gives everything back. Law: *close/final*. */
  close(): Promise<void>;
}

/** The laws, by name. Each name stands in the title of at least one test of the suite. */
export const LAWS = {
  'commit/all-or-nothing': 'A reader, another process or a crash sees all of a commit or nothing of it.',
  'commit/check-now':
    'Checks are judged at the instant the writes apply; nothing else commits between the two. Commits that are grouped are judged one after another, each with its own answer.',
  'commit/conflict-is-a-value':
    'A refused check resolves { ok: false } and names every conflicting key with its record as of the refusal or later. It changes nothing, the revision included. Only trouble rejects.',
  'commit/one-revision':
    'Each successful commit gets one revision, larger than every earlier one of the store and never reused: not after deletes, crashes, power loss or reopening.',
  'commit/acked-survives':
    'Once resolved, a commit outlives what traits.survives says (durability "written" promises only process-crash). survives claims only what opening could verify.',
  'commit/three-answers':
    'Yes, no, or OutcomeUnknownError when a reply was lost after sending. No backend, nor its driver, repeats a commit by itself.',
  'commit/shape': 'A commit writes at least one key and names at most 1,000, each put or deleted at most once, 8 MiB in all.',
  'read/fresh': 'A read that starts after a commit resolved, in whichever process, sees it.',
  'changes/no-gap':
    'changes(since) yields what was put or deleted after since in revision order, each key at least once, its latest last. changes(0) yields every present record and never fails for age. The last revision yielded is the cursor for the next call. When deletions after since were forgotten, it rejects with HistoryGoneError.',
  'value/exact':
    "JSON comes back deep-equal: null, booleans, strings, finite numbers, plain arrays and objects. Refused before anything happens: undefined, -0, NaN, BigInt, Date, toJSON, cycles, lone surrogates, a value over 1 MiB. Keys are any well-formed Unicode string of 1 to 1,040 UTF-8 bytes. What was put, and what was read, is its caller's own: to change it changes nothing in the store.",
  'close/final':
    'Calls in flight finish, later calls reject with LOOPSTATE_CLOSED, closing twice is allowed, and nothing keeps the process alive after.',
} as const;

/** The name of a law. */
export type Law = keyof typeof LAWS;

/** The bounds of the laws *commit/shape* and *value/exact*. */
export const LIMITS = {
  keyBytes: 1_040,
  commitKeys: 1_000,
  commitBytes: 8 * 1_024 * 1_024,
  valueBytes: 1_024 * 1_024,
} as const;
