import type { ChildProcess } from 'node:child_process';
import type { BackendTraits, StateBackend } from '@loopstate/core';

/** An empty store of its own, for one test. What it holds stays, whoever opens and closes it, until `remove`. */
export interface Place {
  /** What `open` of the fixture, and `openPlace` of its opener, are called with. */
  readonly url: string;
  /** Called once, after every handle on the place was closed; nothing of the place is left behind. */
  remove(): Promise<void>;
}

/** A network that lies between handles and a store, and fails on request. */
export interface Network {
  /** Leads to the same place, by this network. Handles are opened on it as on that of the place. */
  readonly url: string;
  /**
   * Fails once, in the middle of calls, and resolves when it works again: connections are cut, replies are lost, requests arrive late.
   * `chance`, from 0 up to 1, decides which. Handles that stay open find their way back by themselves.
   */
  disturb(chance: number): Promise<void>;
  /** Called once, after every handle was closed. */
  remove(): Promise<void>;
}

/** What a fixture can break, beyond the processes that the suite starts by itself. */
export interface Faults {
  /**
   * Ends the process that keeps the store (a server) as a crash would, starts it again and resolves when it answers. Handles that
   * were open may be of no use afterwards. The suite calls it where `survives` is not `nothing`.
   */
  readonly crashStore?: (url: string) => Promise<void>;
  /** Puts a network of its own between the handles to come and a place. */
  readonly network?: (url: string) => Promise<Network>;
  /** The opener exports `openWithFailpoints`: the suite kills processes before, amid and after each durable step that it names. */
  readonly failpoints?: true;
}

/**
 * Runs one step of a backend that changes what is durable, such as `step('rename', () => rename(from, to))`. Where the suite wants
 * it, the process ends by `SIGKILL` right before the step, in the middle of it, or right after it and before its caller hears of it.
 *
 * `part` does a part of the step, such as half of a write: what is to be left when the process ends in the middle. Without it, the
 * process ends while `whole` is under way. Steps of one kind share a name.
 */
export type RunStep = <T>(name: string, whole: () => Promise<T>, part?: () => unknown) => Promise<T>;

/** All that the suite needs to know of a backend. */
export interface BackendFixture {
  /** Stands in the titles of the tests. */
  readonly name: string;
  /** What every handle must say of itself. What the suite can ask of a backend follows from it, and from nothing else. */
  readonly traits: BackendTraits;
  /** The URL of a module that child processes import to open the same place; see {@link OpenerModule}. */
  readonly opener: string;
  /** Called once before the tests of a suite, for a server that they need. If it fails, the tests fail: none is skipped. */
  start?(): Promise<void>;
  /** Called once after the tests of a suite. */
  stop?(): Promise<void>;
  /** Makes an empty place. */
  createPlace(): Promise<Place>;
  /** Opens a handle on a place; there may be several at once. The suite closes every handle it opened. */
  open(url: string): Promise<StateBackend>;
  /**
   * Starts a module of the suite, by its URL, as a process of its own whose three streams are pipes; `args` are passed on, and one
   * of them is `opener`. Default: this very `node` with the flags of this process, so that its loaders serve the child as well.
   */
  launch?(program: string, args: readonly string[]): Promise<ChildProcess>;
  /** Default: none but `SIGKILL` of a process that uses the store. */
  readonly faults?: Faults;
  /**
   * How much of the usual number of kills and items the suite goes through: above 0, and up to 1. For a second fixture of one
   * backend, whose tests mostly repeat those of the first. Default: 1.
   */
  readonly effort?: number;
}

/** What the module at `BackendFixture.opener` exports. */
export interface OpenerModule {
  /** As `open` of the fixture, in a process that knows nothing but the URL. */
  openPlace(url: string): Promise<StateBackend>;
  /** The same, with every durable step of the backend run by `step`; only where `faults.failpoints` says that it is there. */
  openWithFailpoints?(url: string, step: RunStep): Promise<StateBackend>;
}
