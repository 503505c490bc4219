import { type Commit, type CommitResult, OutcomeUnknownError, type StateBackend, UnavailableError } from '@loopstate/core';

/** What happens to the next commit: nothing unusual, or its reply or itself is lost. */
export type Fault = 'reply-lost' | 'lost' | 'lands-late' | 'away';

/** A connection to a real store that can fail as a network does. */
export interface Unreliable extends StateBackend {
  /** Faults of the commits to come, first one first, for the commits that `concerns` says yes to. */
  readonly faults: Fault[];
  /** Every call is refused. */
  isAway: boolean;
  concerns: (commit: Commit) => boolean;
  /** Lets a commit that `lands-late` land now. */
  land(): Promise<void>;
  /** All commits that were sent, with what they were answered. */
  readonly log: { readonly commit: Commit; readonly answer: CommitResult | Fault }[];
}

/** Wraps a backend so that a test can lose commits and replies. */
export function unreliable(backend: StateBackend): Unreliable {
  const late: Commit[] = [];
  const away = (): never => {
    throw new UnavailableError('The test took the store away.');
  };
  const made: Unreliable = {
    traits: backend.traits,
    recovery: backend.recovery,
    faults: [],
    isAway: false,
    concerns: () => true,
    log: [],
    async land() {
      for (const commit of late.splice(0)) await backend.commit(commit);
    },
    read: async (keys) => (made.isAway ? away() : await backend.read(keys)),
    async commit(commit) {
      const fault = made.isAway ? 'away' : made.concerns(commit) ? made.faults.shift() : undefined;
      const answer = fault === undefined || fault === 'reply-lost' ? await backend.commit(commit) : fault;
      made.log.push({ commit, answer: fault ?? answer });
      if (fault === 'away') return away();
      if (fault === 'lands-late') late.push(commit);
      if (fault !== undefined) throw new OutcomeUnknownError('The test lost the reply.');
      return answer as CommitResult;
    },
    async *changes(since) {
      if (made.isAway) away();
      yield* backend.changes(since);
    },
    close: () => backend.close(),
  };
  return made;
}
