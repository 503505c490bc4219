/** How much of a loop is in memory at once while it moves. */
const BATCH = { entries: 1_000, characters: 4 * 1_024 * 1_024 } as const;

/** The entries in batches, in their order: as many as may be in flight at once, however large each is. */
export async function* batchesOf<T>(entries: AsyncIterable<T>): AsyncGenerator<T[]> {
  let batch: T[] = [];
  let characters = 0;
  for await (const entry of entries) {
    batch.push(entry);
    characters += JSON.stringify(entry).length;
    if (batch.length < BATCH.entries && characters < BATCH.characters) continue;
    yield batch;
    batch = [];
    characters = 0;
  }
  if (batch.length > 0) yield batch;
}
