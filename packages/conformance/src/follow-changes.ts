import { isLoopStateError, type StateBackend, type StateChange, type StateRecord } from '@loopstate/core';
import { AssertionError } from 'chai';
import { show } from './show.js';

/** What a reader of `changes` knows of a store: the records, and how far it has read. */
export interface View {
  readonly cursor: number;
  readonly records: ReadonlyMap<string, StateRecord>;
}

/** A view of nothing, from which all is read. */
export const EMPTY_VIEW: View = { cursor: 0, records: new Map() };

/** All changes after `since`; throws where one breaks *changes/no-gap* by itself: out of order, too old, or ill-formed. */
export async function readChanges(store: StateBackend, since: number): Promise<StateChange[]> {
  const changes: StateChange[] = [];
  let previous = since;
  for await (const change of store.changes(since)) {
    if (change.revision <= since) throw new AssertionError(`changes(${since}) yielded something older: ${show(change)}`);
    if (change.revision < previous) throw new AssertionError(`changes(${since}) went back from ${previous}: ${show(change)}`);
    const { record } = change;
    if (record !== undefined && (record.key !== change.key || record.revision !== change.revision)) {
      throw new AssertionError(`a change and its record differ: ${show(change)}`);
    }
    previous = change.revision;
    changes.push(change);
  }
  return changes;
}

/**
 * Reads on from where `view` ends, as a program would: when deletions were forgotten, it starts again from 0. A store may
 * forget only what there was: pass `mayForget: false` where nothing was deleted after the cursor.
 */
export async function followChanges(store: StateBackend, view: View, { mayForget }: { mayForget: boolean }): Promise<View> {
  try {
    return applyChanges(view, await readChanges(store, view.cursor));
  } catch (error) {
    if (!mayForget || !isLoopStateError(error, 'LOOPSTATE_HISTORY_GONE')) throw error;
    return applyChanges(EMPTY_VIEW, await readChanges(store, 0));
  }
}

function applyChanges(view: View, changes: readonly StateChange[]): View {
  const records = new Map(view.records);
  for (const { key, record } of changes) {
    if (record === undefined) records.delete(key);
    else records.set(key, record);
  }
  return { cursor: changes.at(-1)?.revision ?? view.cursor, records };
}
