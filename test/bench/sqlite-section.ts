/** The SQLite backend beside a bare `KeyvSqlite#set` on a database with the same settings, in one process and in four. */
import { join } from 'node:path';
import { openBackend } from 'loopstate';
import { openBareKeyv } from './bare-keyv.js';
import { compete, inFlight, median, oneByOne, standingOf, timesAsFast, timesAsLong } from './contest.js';
import { loadPeers } from './peers.js';
import { hammer } from './processes.js';
import type { SectionOptions, SectionResult } from './section.js';
import { commitNew, newKey, recordText } from './workload.js';

/** The first two thousand commits, one at a time, run code that is not compiled yet (550 us where later ones take 450): they are the rehearsal. */
const SERIAL = 2_000;
const PARALLEL = 6_000;
const HAMMER_MS = 2_000;

/** See the file's comment. */
export async function sqliteSection({ folder, rounds, scale }: SectionOptions): Promise<SectionResult> {
  const { BetterSqlite3 } = await loadPeers();
  const backend = await openBackend(`sqlite:${join(folder, 'state.db')}?job=bench`, { access: 'write' });
  const bare = await openBareKeyv(join(folder, 'bare.db'));
  const better = new BetterSqlite3(join(folder, 'better.db'));
  better.pragma('journal_mode = WAL');
  better.pragma('synchronous = FULL');
  better.exec('CREATE TABLE items (key TEXT PRIMARY KEY, value TEXT)');
  const insert = better.prepare('INSERT INTO items VALUES (?, ?)');
  const set = (): Promise<unknown> => bare.set(newKey(), recordText());
  const operations = { serial: Math.ceil(SERIAL * scale), parallel: Math.ceil(PARALLEL * scale) };
  try {
    const standings = await compete(
      [
        { name: 'loopstate', turn: () => oneByOne(operations.serial, () => commitNew(backend)) },
        { name: 'KeyvSqlite#set', turn: () => oneByOne(operations.serial, set) },
        { name: 'better-sqlite3, a transaction each', turn: () => oneByOne(operations.serial, () => insert.run(newKey(), recordText())) },
        { name: 'loopstate, 64 in flight', turn: () => inFlight(64, operations.parallel, () => commitNew(backend)) },
        { name: 'KeyvSqlite#set, 64 in flight', turn: () => inFlight(64, operations.serial, set) },
      ],
      { rounds },
    );
    const of = (name: string) => standingOf(standings, name);
    const shared = await hammerBoth(`sqlite:${join(folder, 'shared.db')}?job=bench`, { rounds: Math.min(3, rounds), scale });
    return {
      title: 'SQLite',
      tables: [
        {
          title: 'SQLite',
          note: 'An operation is a durable commit of one new record; every database has WAL and synchronous=FULL.',
          standings,
          floor: 'KeyvSqlite#set',
        },
      ],
      notes: [
        `Four processes of 16 workers each on one file: ${shared.four.toFixed(0)} commits per second beside ${shared.one.toFixed(0)} of one process of 16; the slowest took ${shared.worstMs.toFixed(0)} ms.`,
      ],
      budgets: [
        {
          name: 'sqlite, 1 worker: p50 / KeyvSqlite#set',
          figure: timesAsLong(of('loopstate'), of('KeyvSqlite#set')),
          bound: 1.2,
          side: 'at most',
        },
        {
          name: 'sqlite, 64 workers: commits / sets of keyv + sqlite, one at a time',
          figure: timesAsFast(of('loopstate, 64 in flight'), of('KeyvSqlite#set')),
          bound: 9,
          side: 'at least',
        },
        {
          name: 'sqlite, 64 workers: commits / of one worker',
          figure: timesAsFast(of('loopstate, 64 in flight'), of('loopstate')),
          bound: 15,
          side: 'at least',
        },
        {
          name: 'sqlite, 4 processes x 16 workers: commits / of one process',
          figure: shared.four / shared.one,
          bound: 0.7,
          side: 'at least',
        },
        { name: 'sqlite, 4 processes x 16 workers: slowest commit', figure: shared.worstMs, bound: 450, side: 'at most', unit: ' ms' },
      ],
    };
  } finally {
    await backend.close();
    await bare.disconnect();
    better.close();
  }
}

/** One process and four in turns; medians. */
export async function hammerBoth(url: string, { rounds, scale }: Pick<SectionOptions, 'rounds' | 'scale'>) {
  const one: number[] = [];
  const four: number[] = [];
  const worstMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    one.push((await hammer(url, { processes: 1, workers: 16, durationMs: HAMMER_MS * scale })).perSecond);
    const together = await hammer(url, { processes: 4, workers: 16, durationMs: HAMMER_MS * scale });
    four.push(together.perSecond);
    worstMs.push(together.worstMs);
  }
  return { one: median(one), four: median(four), worstMs: median(worstMs) };
}
