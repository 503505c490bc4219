/**
 * The peers, doing what one item costs: a claim and an outcome, both stored. Those that keep one document write the whole of it each time,
 * as that is how they are used.
 */
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { openBareKeyv } from './bare-keyv.js';
import { type Contestant, inFlight, oneByOne } from './contest.js';
import { loadPeers } from './peers.js';
import { newKey, recordText } from './workload.js';

/** The peers on a disk; `items`: how many the document has already. */
export async function diskPeers(folder: string, items: number, counts: { readonly few: number; readonly many: number }) {
  const { BetterSqlite3, SqliteSaver, atomically, writeFileAtomic } = await loadPeers();
  const document = { version: 2, results: Object.fromEntries(Array.from({ length: items }, () => [newKey(), JSON.parse(recordText())])) };
  const documentText = (): string => JSON.stringify(document);
  const keyv = await openBareKeyv(join(folder, 'peer-keyv.db'));
  const better = new BetterSqlite3(join(folder, 'peer-better.db'));
  for (const database of [better]) powerSafe(database);
  better.exec('CREATE TABLE items (key TEXT PRIMARY KEY, value TEXT)');
  const upsert = better.prepare('INSERT INTO items VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value');
  const saverDatabase = new BetterSqlite3(join(folder, 'peer-saver.db'));
  const saver = new SqliteSaver(saverDatabase);
  const twice = (store: (key: string) => unknown) => async (): Promise<void> => {
    const key = newKey();
    await store(key);
    await store(key);
  };
  const save = async (key: string): Promise<void> => {
    const checkpoint = {
      v: 4,
      id: key,
      ts: new Date().toISOString(),
      channel_values: { result: recordText() },
      channel_versions: {},
      versions_seen: {},
    };
    await saver.put({ configurable: { thread_id: 'bench', checkpoint_ns: '' } }, checkpoint, { source: 'loop', step: 1, parents: {} });
  };
  await save(newKey());
  powerSafe(saverDatabase);
  const path = join(folder, 'peer-document.json');
  const contestants: Contestant[] = [
    {
      name: 'write-file-atomic (no fsync of the directory)',
      turn: () =>
        oneByOne(
          counts.few,
          twice(() => writeFileAtomic(path, documentText())),
        ),
    },
    {
      name: 'atomically (no fsync of the directory)',
      turn: () =>
        oneByOne(
          counts.few,
          twice(() => atomically.writeFile(path, documentText())),
        ),
    },
    {
      name: 'temporary, fsync, rename (no fsync of the directory)',
      turn: () =>
        oneByOne(
          counts.few,
          twice(() => rewrite(path, documentText())),
        ),
    },
    {
      name: 'keyv + @keyv/sqlite',
      turn: () =>
        oneByOne(
          counts.many,
          twice((key) => keyv.set(key, recordText())),
        ),
    },
    {
      name: 'keyv + @keyv/sqlite, 64 in flight',
      turn: () =>
        inFlight(
          64,
          counts.many,
          twice((key) => keyv.set(key, recordText())),
        ),
    },
    {
      name: 'better-sqlite3, a transaction each',
      turn: () =>
        oneByOne(
          counts.many,
          twice((key) => upsert.run(key, recordText())),
        ),
    },
    { name: 'LangGraph SqliteSaver', turn: () => oneByOne(counts.many, twice(save)) },
  ];
  const close = async (): Promise<void> => {
    better.close();
    saverDatabase.close();
    await keyv.disconnect();
  };
  return { contestants, close };
}

function powerSafe(database: { pragma(text: string): unknown }): void {
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
}

async function rewrite(path: string, text: string): Promise<void> {
  const file = await open(`${path}.tmp`, 'w');
  await file.writeFile(text);
  await file.sync();
  await file.close();
  await rename(`${path}.tmp`, path);
}
