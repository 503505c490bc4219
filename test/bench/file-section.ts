/**
 * The file backend beside a bare append + fdatasync of the same bytes on the same disk, and beside the design that rewrites the whole
 * file (temporary, fsync, rename), with more and more items there already.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { LoopState, openFileBackend, type StateBackend } from 'loopstate';
import { type Contestant, compete, inFlight, oneByOne, type Standing, type Turn, timesAsFast, timesAsLong } from './contest.js';
import type { SectionOptions, SectionResult, Table } from './section.js';
import { commitNew, newKey } from './workload.js';

const SIZES = [100, 10_000, 100_000, 1_000_000];
const SERIAL = 120;
const PARALLEL = 4_000;

/** A line as long as a commit's line in the journal. */
const LINE = `["01234567",12345,1763800000000,[["item/src/some/folder/file-12345.ts",{"status":"completed","attempt":1,"output":{"ok":true},"by":"0123456789abcdef.12345"}]],[]]\n`;

interface Place {
  readonly size: number;
  readonly backend: StateBackend;
  readonly state: LoopState;
  /** The same items as the first format of a state file would have written them. */
  readonly oldDocument: { readonly completed: readonly string[]; readonly failed: readonly string[] };
}

/** See the file's comment. */
export async function fileSection(options: SectionOptions): Promise<SectionResult> {
  const places: Place[] = [];
  for (const size of SIZES) places.push(await prepare(options.folder, Math.ceil(size * options.scale)));
  try {
    const { one, many } = await measure(places, options);
    const [small, , , large] = places as [Place, Place, Place, Place];
    const of = (standings: readonly Standing[], name: string) => standings.find((each) => each.name === name) as Standing;
    const floor = of(one, 'append + fdatasync');
    const ratio = (name: string, against: string) => timesAsFast(of(one, name), of(one, against));
    return {
      title: 'File',
      tables: [
        {
          title: 'File: one at a time',
          note: 'An item is one claim plus one outcome; a commit is durable. The number is how many items are there already.',
          standings: one,
          floor: floor.name,
        },
        { title: 'File: 64 workers', note: 'The same, by 64 workers in one process.', standings: many, floor: `commit, ${small.size}` },
      ],
      budgets: [
        {
          name: 'file, 1 worker: items / (append + fdatasync, twice per item)',
          figure: 2 * ratio(`item, ${small.size}`, floor.name),
          bound: 0.65,
          side: 'at least',
        },
        {
          name: 'file, 1 worker: commit / append + fdatasync, p50',
          figure: timesAsLong(of(one, `commit, ${small.size}`), floor),
          bound: 1.5,
          side: 'at most',
        },
        {
          name: 'file, growth, 1 worker: item at 1,000,000 / at 100, p50',
          figure: timesAsLong(of(one, `item, ${large.size}`), of(one, `item, ${small.size}`)),
          bound: 1.15,
          side: 'at most',
        },
        {
          name: 'file, growth, 64 workers: item at 1,000,000 / at 100, time',
          figure: timesAsFast(of(many, `item, ${small.size}`), of(many, `item, ${large.size}`)),
          bound: 1.3,
          side: 'at most',
        },
        {
          name: 'file, 64 workers: items / (append + fdatasync, twice per item)',
          figure: 2 * timesAsFast(of(many, `item, ${small.size}`), floor),
          bound: 18,
          side: 'at least',
        },
        {
          name: 'file, 64 workers: commits per second / of one worker',
          figure: timesAsFast(of(many, `commit, ${small.size}`), of(one, `commit, ${small.size}`)),
          bound: 10,
          side: 'at least',
        },
      ],
    };
  } finally {
    for (const { state } of places) await state.close();
  }
}

async function measure(places: readonly Place[], { folder, rounds, scale }: SectionOptions) {
  const serial = Math.ceil(SERIAL * scale);
  const parallel = Math.ceil(PARALLEL * scale);
  const contestants: Contestant[] = [
    { name: 'append + fdatasync', turn: (round) => appendSynchronously(join(folder, `floor-${round}`), serial) },
    { name: 'append + fdatasync, asynchronous', turn: (round) => appendAsynchronously(join(folder, `floor-async-${round}`), serial) },
    ...places.flatMap((place): Contestant[] => [
      { name: `item, ${place.size}`, turn: () => oneByOne(serial, () => beginAndEnd(place)) },
      { name: `commit, ${place.size}`, turn: () => oneByOne(serial, () => commitNew(place.backend)) },
      { name: `rewrite, ${place.size}`, turn: () => rewriteTheWholeFile(folder, place, place.size > 10_000 ? 2 : 20) },
    ]),
    ...places.flatMap((place): Contestant[] => [
      { name: `64 item, ${place.size}`, turn: () => inFlight(64, parallel, () => beginAndEnd(place)) },
      { name: `64 commit, ${place.size}`, turn: () => inFlight(64, parallel, () => commitNew(place.backend)) },
    ]),
  ];
  const standings = await compete(contestants, { rounds });
  const isParallel = ({ name }: Standing) => name.startsWith('64 ');
  return {
    one: standings.filter((standing) => !isParallel(standing)),
    many: standings.filter(isParallel).map((standing) => ({ ...standing, name: standing.name.slice(3) })),
  } satisfies Record<string, Table['standings']>;
}

async function prepare(folder: string, size: number): Promise<Place> {
  const backend = await openFileBackend(join(folder, `state-${size}.json`));
  const state = await LoopState.open(backend, { closeBackend: true });
  const ids = Array.from({ length: size }, () => newKey().slice('item/'.length));
  await inFlight(1_000, size, async (n) => {
    const id = ids[n] ?? '';
    await state.begin(id);
    await state.end(id, { status: 'success', output: { ok: true } });
  });
  return { size, backend, state, oldDocument: { completed: ids, failed: [] } };
}

async function beginAndEnd({ state }: Place): Promise<void> {
  const id = newKey();
  await state.begin(id);
  await state.end(id, { status: 'success', output: { ok: true } });
}

async function appendSynchronously(path: string, operations: number): Promise<Turn> {
  const descriptor = openSync(path, 'a');
  try {
    return await oneByOne(operations, () => {
      writeSync(descriptor, LINE);
      fdatasyncSync(descriptor);
    });
  } finally {
    closeSync(descriptor);
  }
}

async function appendAsynchronously(path: string, operations: number): Promise<Turn> {
  const file = await open(path, 'a');
  try {
    return await oneByOne(operations, async () => {
      await file.write(LINE);
      await file.datasync();
    });
  } finally {
    await file.close();
  }
}

async function rewriteTheWholeFile(folder: string, { oldDocument, size }: Place, operations: number): Promise<Turn> {
  const path = join(folder, `rewrite-${size}.json`);
  return await oneByOne(operations, async () => {
    const file = await open(`${path}.tmp`, 'w');
    await file.writeFile(JSON.stringify(oldDocument, null, 2));
    await file.sync();
    await file.close();
    await rename(`${path}.tmp`, path);
  });
}
