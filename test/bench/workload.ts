/** What every contestant stores: as many bytes as the record of an item has, under a key of usual length. */
import { type Commit, type Json, LoopState, type StateBackend } from 'loopstate';
import { inFlight } from './contest.js';

const RECORD = { status: 'completed', attempt: 1, output: { ok: true, words: 1_234 }, by: '0123456789abcdef.12345' } as const;

/** The value of one record, encoded as whoever does without a backend has to. */
export function recordText(): string {
  return JSON.stringify(RECORD);
}

let keys = 0;

/** A key that nobody has used. */
export function newKey(): string {
  return `item/src/some/folder/more-${++keys}.ts`;
}

/** A commit of one new record, whose absence it checks. */
export function newRecord(key = newKey()): Commit {
  return { checks: [{ key, revision: 0 }], puts: [{ key, value: RECORD }] };
}

/** Fills a store with so many records. */
export async function fill(backend: StateBackend, records: number): Promise<void> {
  for (let made = 0; made < records; made += 1_000) {
    const puts = Array.from({ length: Math.min(1_000, records - made) }, () => ({ key: newKey(), value: RECORD }));
    await backend.commit({ puts });
  }
}

/** Commits that must succeed. */
export async function commitNew(backend: StateBackend): Promise<void> {
  const result = await backend.commit(newRecord());
  if (!result.ok) throw new Error('A commit of a new record was refused.');
}

/** Makes a state file in which so many items are completed. */
export async function complete(path: string, items: number, itemOf: (n: number) => { id: string; output?: Json }): Promise<void> {
  const state = await LoopState.create(path);
  await inFlight(2_000, items, async (n) => {
    const { id, output } = itemOf(n);
    await state.begin(id);
    await state.end(id, { status: 'success', output });
  });
  await state.close();
}
