/**
 * The stores that are open in this process, by real path: handles on one file share one store.
 *
 * **Invariants:**
 * - A path has at most one entry, from before its store begins to open until after its lock is given back.
 * - `handles` counts the handles that were given out or are about to be; the store closes when none is left.
 */
import type { OpenStore } from './opening.js';

interface Entry {
  readonly opening: Promise<OpenStore>;
  handles: number;
  closing?: Promise<void>;
}

/** A store, shared. */
export interface SharedStore {
  readonly open: OpenStore;
  /** This was not the first handle: the store was open already. */
  readonly isShared: boolean;
  /** Gives the handle back; the last one closes the store. */
  release(): Promise<void>;
}

const KEY = Symbol.for('loopstate.file.stores');

/** Shares the store of a path, or opens it. Errors: those of `open`. */
export async function shareStore(path: string, open: () => Promise<OpenStore>): Promise<SharedStore> {
  const stores = registry();
  let entry = stores.get(path);
  while (entry?.closing !== undefined) {
    await entry.closing;
    entry = stores.get(path);
  }
  const isShared = entry !== undefined;
  entry ??= { opening: open(), handles: 0 };
  stores.set(path, entry);
  return await take(path, entry, isShared);
}

async function take(path: string, entry: Entry, isShared: boolean): Promise<SharedStore> {
  entry.handles++;
  try {
    return { open: await entry.opening, isShared, release: () => release(path, entry) };
  } catch (error) {
    if (registry().get(path) === entry) registry().delete(path);
    throw error;
  }
}

async function release(path: string, entry: Entry): Promise<void> {
  entry.handles--;
  if (entry.handles > 0) return;
  // At once: who comes from here on waits for it, and gets no store that is about to be closed.
  entry.closing = entry.opening.then((open) => open.close()).finally(() => registry().delete(path));
  await entry.closing;
}

/** One for all copies of this package in a process: two of them must not have one file open twice. */
function registry(): Map<string, Entry> {
  const place = globalThis as { [KEY]?: Map<string, Entry> };
  place[KEY] ??= new Map();
  return place[KEY];
}
