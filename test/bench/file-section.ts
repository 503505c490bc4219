/**
 * The file backend beside a bare append + fdatasync of the same bytes on the same disk, and beside what people use today, with more and
 * more items there already.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { LoopState, openFileBackend, type StateBackend } from 'loopstate';
import { type Contestant, compete, inFlight, oneByOne, type Standing, standingOf, type Turn, timesAsFast, timesAsLong } from './contest.js';
import { diskPeers } from './peer-contestants.js';
import type { SectionOptions, SectionResult } from './section.js';
import { commitNew, newKey } from './workload.js';

const SIZES = [100, 10_000, 100_000, 1_000_000] as const;
const SERIAL = 120;
const PARALLEL = 4_000;
/** A turn of a second: what an item costs beside its two commits is a few microseconds, which one collection of garbage more or less outweighs. */
const LONG = 40_000;
/** How many items a peer's document has already. */
const PEER_ITEMS = 10_000;

/** A line as long as a commit's line in the journal. */
const LINE = `["01234567",12345,1763800000000,[["item/src/some/folder/file-12345.ts",{"status":"completed","attempt":1,"output":{"ok":true},"by":"0123456789abcdef.12345"}]],[]]\n`;

const INLINE = 'loopstate, inline disk calls';
const ITEM = 'loopstate, 64 workers, long turns';
const BARE = "backend, an item's two commits, 64 workers, long turns";

interface Place {
  readonly size: number;
  readonly backend: StateBackend;
  readonly state: LoopState;
}

/** See the file's comment. */
export async function fileSection(options: SectionOptions): Promise<SectionResult> {
  const { folder, rounds, scale } = options;
  const places: Place[] = [];
  for (const size of SIZES) places.push(await prepare(folder, Math.ceil(size * scale)));
  const inline = await prepare(folder, Math.ceil(SIZES[0] * scale), 'inline');
  const long = await prepare(folder, Math.ceil(SIZES[0] * scale), 'long');
  const serial = Math.ceil(SERIAL * scale);
  const parallel = Math.ceil(PARALLEL * scale);
  const peers = await diskPeers(folder, Math.ceil(PEER_ITEMS * scale), { few: Math.ceil(20 * scale), many: serial });
  try {
    const contestants: Contestant[] = [
      { name: 'append + fdatasync, twice', turn: (round) => append(join(folder, `floor-${round}`), serial, 1) },
      { name: 'append, a fdatasync per 64, twice', turn: (round) => append(join(folder, `floor-64-${round}`), serial * 16, 64) },
      { name: 'append + fdatasync, asynchronous, twice', turn: (round) => appendLater(join(folder, `floor-async-${round}`), serial) },
      ...places.flatMap((place): Contestant[] => [
        { name: `loopstate, ${numberText(place.size)} there`, turn: () => oneByOne(serial, () => beginAndEnd(place)) },
        { name: `loopstate, ${numberText(place.size)} there, 64 workers`, turn: () => inFlight(64, parallel, () => beginAndEnd(place)) },
      ]),
      { name: INLINE, turn: () => oneByOne(serial, () => beginAndEnd(inline)) },
      { name: ITEM, turn: () => inFlight(64, Math.ceil(LONG * scale), () => beginAndEnd(long)) },
      { name: BARE, turn: () => inFlight(64, Math.ceil(LONG * scale), () => claimAndOutcome(long.backend)) },
      { name: 'backend, a durable commit', turn: () => oneByOne(serial, () => commitNew(first(places).backend)) },
      { name: 'backend, a durable commit, 64 workers', turn: () => inFlight(64, parallel, () => commitNew(first(places).backend)) },
      ...peers.contestants,
    ];
    const standings = await compete(contestants, { rounds });
    return resultOf(standings, places);
  } finally {
    await peers.close();
    for (const { state } of [...places, inline, long]) await state.close();
  }
}

function resultOf(standings: readonly Standing[], places: readonly Place[]): SectionResult {
  const of = (name: string): Standing => standingOf(standings, name);
  const [small, , , large] = places.map(({ size }) => `loopstate, ${numberText(size)} there`) as [string, string, string, string];
  const ours = places[1] === undefined ? small : `loopstate, ${numberText(places[1].size)} there`;
  const floor = of('append + fdatasync, twice');
  const peers = [
    'keyv + @keyv/sqlite',
    'keyv + @keyv/sqlite, 64 in flight',
    'better-sqlite3, a transaction each',
    'LangGraph SqliteSaver',
  ].map(of);
  const best = peers.reduce((a, b) => (a.perSecond > b.perSecond ? a : b));
  return {
    title: 'File',
    tables: [
      {
        title: 'File',
        note: `An item is one claim plus one outcome. The document of the peers that keep one has ${numberText(PEER_ITEMS)} items already.`,
        standings,
        floor: floor.name,
        peers: peers.map(({ name }) => name),
      },
    ],
    budgets: [
      { name: 'file, 1 worker: items / two appends with fdatasync', figure: timesAsFast(of(small), floor), bound: 0.65, side: 'at least' },
      {
        name: 'file, 1 worker, inline disk calls: items / two appends with fdatasync',
        figure: timesAsFast(of(INLINE), floor),
        bound: 0.85,
        side: 'at least',
      },
      {
        name: 'file, 64 workers: an item of LoopState / its two commits on the backend',
        figure: timesAsFast(of(BARE), of(ITEM)),
        bound: 1.15,
        side: 'at most',
      },
      {
        name: 'file, 64 workers: items / two appends with fdatasync, one at a time',
        figure: timesAsFast(of(`${small}, 64 workers`), floor),
        bound: 18,
        side: 'at least',
      },
      {
        name: `file, 64 workers: items / those of the best power-safe peer (${best.name})`,
        figure: timesAsFast(of(`${ours}, 64 workers`), best),
        bound: 18,
        side: 'at least',
      },
      {
        name: 'file, growth, 1 worker: an item at 1,000,000 / at 100',
        figure: timesAsLong(of(large), of(small)),
        bound: 1.15,
        side: 'at most',
      },
      {
        name: 'file, growth, 64 workers: an item at 1,000,000 / at 100',
        figure: timesAsFast(of(`${small}, 64 workers`), of(`${large}, 64 workers`)),
        bound: 1.3,
        side: 'at most',
      },
      {
        name: 'file, 1 worker: a commit / an append with fdatasync',
        figure: 2 * timesAsLong(of('backend, a durable commit'), floor),
        bound: 1.5,
        side: 'at most',
      },
      {
        name: 'file: commits of 64 workers / of one',
        figure: timesAsFast(of('backend, a durable commit, 64 workers'), of('backend, a durable commit')),
        bound: 10,
        side: 'at least',
      },
    ],
  };
}

async function prepare(folder: string, size: number, kind: 'usual' | 'inline' | 'long' = 'usual'): Promise<Place> {
  const diskCalls = kind === 'inline' ? 'inline' : 'asynchronous';
  const backend = await openFileBackend(join(folder, `state-${size}-${kind}.json`), { diskCalls });
  const state = await LoopState.open(backend, { closeBackend: true });
  const place = { size, backend, state };
  await inFlight(1_000, size, () => beginAndEnd(place));
  return place;
}

async function beginAndEnd({ state }: Place): Promise<void> {
  const id = newKey();
  await state.begin(id);
  await state.end(id, { status: 'success', output: { ok: true } });
}

/** What a claim and its outcome are to the store, without anything that knows of loops. */
async function claimAndOutcome(backend: StateBackend): Promise<void> {
  const key = newKey();
  const claim = { status: 'claimed', attempt: 1, run: '0123456789abcdef', by: '0123456789abcdef.12345' };
  const claimed = await backend.commit({ checks: [{ key, revision: 0 }], puts: [{ key, value: claim }], durability: 'written' });
  if (!claimed.ok) throw new Error('Nobody else was to claim that.');
  const outcome = { status: 'completed', attempt: 1, output: { ok: true }, by: '0123456789abcdef.12346' };
  await backend.commit({ checks: [{ key, revision: claimed.revision }], puts: [{ key, value: outcome }] });
}

/** An item is two lines; `perSync` items share each of their two syncs. */
async function append(path: string, items: number, perSync: number): Promise<Turn> {
  const descriptor = openSync(path, 'a');
  try {
    const turn = await oneByOne(items / perSync, () => {
      for (let step = 0; step < 2; step++) {
        for (let line = 0; line < perSync; line++) writeSync(descriptor, LINE);
        fdatasyncSync(descriptor);
      }
    });
    return { ...turn, operations: items };
  } finally {
    closeSync(descriptor);
  }
}

async function appendLater(path: string, items: number): Promise<Turn> {
  const file = await open(path, 'a');
  try {
    return await oneByOne(items, async () => {
      for (let step = 0; step < 2; step++) {
        await file.write(LINE);
        await file.datasync();
      }
    });
  } finally {
    await file.close();
  }
}

function first(places: readonly Place[]): Place {
  return places[0] as Place;
}

function numberText(value: number): string {
  return value.toLocaleString('en');
}
