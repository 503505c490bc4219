/** The SQLite backend beside a bare `KeyvSqlite#set` on a database with the same settings. */
import { join } from 'node:path';
import { KeyvSqlite } from '@keyv/sqlite';
import { openBackend } from 'loopstate';
import { compete, inFlight, oneByOne, timesAsFast, timesAsLong } from './contest.js';
import type { SectionOptions, SectionResult } from './section.js';
import { commitNew, newKey, recordText } from './workload.js';

const SERIAL = 300;
const PARALLEL = 6_000;

/** See the file's comment. */
export async function sqliteSection({ folder, rounds, scale }: SectionOptions): Promise<SectionResult> {
  const backend = await openBackend(`sqlite:${join(folder, 'state.db')}?job=bench`, { access: 'write' });
  const bare = await openBareKeyv(join(folder, 'bare.db'));
  const set = (): Promise<unknown> => bare.set(newKey(), recordText());
  try {
    const operations = { serial: Math.ceil(SERIAL * scale), parallel: Math.ceil(PARALLEL * scale) };
    const standings = await compete(
      [
        { name: 'loopstate', turn: () => oneByOne(operations.serial, () => commitNew(backend)) },
        { name: 'KeyvSqlite#set', turn: () => oneByOne(operations.serial, set) },
        { name: 'loopstate, 64 in flight', turn: () => inFlight(64, operations.parallel, () => commitNew(backend)) },
        { name: 'KeyvSqlite#set, 64 in flight', turn: () => inFlight(64, operations.serial, set) },
      ],
      { rounds },
    );
    const [serial, bareSerial, parallel, bareParallel] = standings as [Row, Row, Row, Row];
    return {
      title: 'SQLite',
      tables: [
        {
          title: 'SQLite: one process',
          note: 'An operation is a durable commit of one new record; every database has WAL and synchronous=FULL.',
          standings,
          floor: 'KeyvSqlite#set',
        },
      ],
      budgets: [
        { name: 'sqlite, 1 worker: p50 / KeyvSqlite#set', figure: timesAsLong(serial, bareSerial), bound: 1.2, side: 'at most' },
        { name: 'sqlite, 64 workers: rate / its serial rate', figure: timesAsFast(parallel, serial), bound: 15, side: 'at least' },
        {
          name: 'sqlite, 64 workers: rate / KeyvSqlite#set, 64 in flight',
          figure: timesAsFast(parallel, bareParallel),
          bound: 9,
          side: 'at least',
        },
      ],
    };
  } finally {
    await backend.close();
    await bare.disconnect();
  }
}

type Row = Awaited<ReturnType<typeof compete>>[number];

async function openBareKeyv(path: string): Promise<KeyvSqlite> {
  const adapter = new KeyvSqlite(`sqlite://${path}`);
  await adapter.query('PRAGMA journal_mode = WAL');
  await adapter.query('PRAGMA synchronous = FULL');
  const [mode] = await adapter.query('PRAGMA journal_mode');
  const [level] = await adapter.query('PRAGMA synchronous');
  if (mode.journal_mode !== 'wal' || level.synchronous !== 2) throw new Error('The bare database has other settings.');
  return adapter;
}
