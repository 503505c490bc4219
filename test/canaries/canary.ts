import type { Commit, CommitResult, Law, MemoryStore, StateBackend } from '@loopstate/core';

/** A backend that is right in everything but one thing. */
export interface Canary {
  /** What it does wrong. */
  readonly name: string;
  /** The law that it breaks: a test that names this law must turn red. */
  readonly breaks: Law;
  /** Replaces, on one handle, what is broken; the rest stays as it is. */
  readonly replace: (inner: StateBackend, store: MemoryStore) => Partial<StateBackend>;
}

/** A handle that passes every call on to `inner`, but for what is replaced. */
export function wrap(inner: StateBackend, replaced: Partial<StateBackend>): StateBackend {
  return {
    traits: inner.traits,
    recovery: inner.recovery,
    read: (keys) => inner.read(keys),
    commit: (commit) => inner.commit(commit),
    changes: (since) => inner.changes(since),
    close: () => inner.close(),
    ...replaced,
  };
}

/** A canary whose commits go wrong once they were refused by a check. */
export function onConflict(
  react: (inner: StateBackend, conflicts: Extract<CommitResult, { ok: false }>['conflicts'], commit: Commit) => Promise<CommitResult>,
): Canary['replace'] {
  return (inner) => ({
    async commit(commit) {
      const result = await inner.commit(commit);
      return result.ok ? result : react(inner, result.conflicts, commit);
    },
  });
}

/** A canary that takes some keys for other keys, wherever they stand. */
export function mapKeys(map: (key: string) => string): Canary['replace'] {
  return (inner) => ({
    read: async (keys) => {
      const records = await inner.read(keys.map((key) => mapped(key)));
      return records.map((record, index) => record && { ...record, key: keys[index] ?? record.key });
    },
    commit: (commit) => {
      const puts = new Map((commit.puts ?? []).map((put) => [mapped(put.key), put.value]));
      return inner.commit({
        ...commit,
        checks: (commit.checks ?? []).map((check) => ({ ...check, key: mapped(check.key) })),
        puts: Array.from(puts, ([key, value]) => ({ key, value })),
        deletes: [...new Set((commit.deletes ?? []).map(mapped))],
      });
    },
  });
  function mapped(key: string): string {
    return typeof key === 'string' && key.isWellFormed() ? map(key) : key;
  }
}

/** Lets everything else that is ready go first. */
export function aMoment(): Promise<void> {
  return new Promise(setImmediate);
}
