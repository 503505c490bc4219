import type { ItemRecord } from '@loopstate/core';

/** How much of a loop is in memory at once while it moves. */
const BATCH = { entries: 1_000, characters: 4 * 1_024 * 1_024 } as const;

/** What of an item may be large. */
type Bulk = Pick<ItemRecord, 'output' | 'cost' | 'reason' | 'lastError'>;

/** What an item takes besides. */
const CHARACTERS_LEAST = 500;

/** The entries in batches, in their order: as many as may be in flight at once, however large each is. */
export async function* batchesOf<T>(entries: AsyncIterable<T>, bulkOf: (entry: T) => Bulk): AsyncGenerator<T[]> {
  let batch: T[] = [];
  let characters = 0;
  for await (const entry of entries) {
    batch.push(entry);
    characters += charactersOf(bulkOf(entry));
    if (batch.length < BATCH.entries && characters < BATCH.characters) continue;
    yield batch;
    batch = [];
    characters = 0;
  }
  if (batch.length > 0) yield batch;
}

function charactersOf({ output, cost, reason = '', lastError = '' }: Bulk): number {
  let characters = CHARACTERS_LEAST + reason.length + lastError.length;
  if (output !== undefined) characters += JSON.stringify(output).length;
  if (cost !== undefined) characters += JSON.stringify(cost).length;
  return characters;
}
