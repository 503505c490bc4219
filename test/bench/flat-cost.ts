/**
 * What one durable step costs, and whether that grows with the history. In one run, in turns, so that a machine whose speed drifts
 * drifts for all: begin+end of an item with 100, 10,000 and 100,000 items there already; one durable commit; a bare append+fdatasync
 * of the same bytes on the same disk; the design that rewrites the whole file (temporary, fsync, rename); and 64 workers beside one.
 *
 * Run it by `pnpm bench`. It judges nothing but prints each budget beside its figure.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { mkdtemp, open, rename, rm, statfs } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { LoopState, openFileBackend, type StateBackend } from 'loopstate';

const SIZES = [100, 10_000, 100_000];
const ROUNDS = 9;
const STEPS = 120;

/** A line as long as a commit's line in the journal. */
const LINE = `["01234567",12345,1763800000000,[["item/one-3-117",{"status":"completed","attempt":1,"output":{"ok":true},"by":"bench.1"}]],[]]\n`;

// Beside the checkout, not in /tmp: that may be memory.
const folder = await mkdtemp(join(process.cwd(), 'node_modules', '.loopstate-bench-'));
try {
  await main();
} finally {
  await rm(folder, { recursive: true, force: true });
}

interface Place {
  readonly size: number;
  readonly backend: StateBackend;
  readonly state: LoopState;
  /** The same items as the first format would have written them. */
  readonly completed: string[];
}

async function main(): Promise<void> {
  const places: Place[] = [];
  for (const size of SIZES) places.push(await prepare(size));
  const samples = new Map<string, number[]>();
  const note = (name: string, us: number): void => void samples.set(name, [...(samples.get(name) ?? []), us]);
  for (let round = 0; round < ROUNDS; round++) {
    note('floor', await appendSynchronously(round));
    for (const place of places) note(`item ${place.size}`, await beginAndEnd(place, round));
    note('floor async', await appendAsynchronously(round));
    for (const place of places) note(`commit ${place.size}`, await commitOneByOne(place, round));
    for (const place of places) note(`64 ${place.size}`, await commitBySixtyFour(place, round));
    for (const place of places) note(`rewrite ${place.size}`, await rewriteTheWholeFile(place, place.size > 10_000 ? 2 : 5));
  }
  for (const { state } of places) await state.close();
  await report((name) => median(samples.get(name) ?? []));
}

async function report(us: (name: string) => number): Promise<void> {
  const { type } = await statfs(folder);
  console.log(
    `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? '?'}, ${Math.round(totalmem() / 2 ** 30)} GiB, file system type 0x${type.toString(16)}`,
  );
  console.log(`medians of ${ROUNDS} rounds in turns, microseconds; a round is ${STEPS} steps\n`);
  const row = (...cells: readonly (string | number)[]): void =>
    console.log(
      cells
        .map((cell, n) => (typeof cell === 'number' ? cell.toFixed(1) : cell)[n === 0 ? 'padEnd' : 'padStart'](n === 0 ? 46 : 12))
        .join(''),
    );
  row('', ...SIZES.map((size) => `${size} there`));
  row('begin + end of one item', ...SIZES.map((size) => us(`item ${size}`)));
  row('one durable commit', ...SIZES.map((size) => us(`commit ${size}`)));
  row('one durable commit, 64 workers', ...SIZES.map((size) => us(`64 ${size}`)));
  row('bare append + fdatasync, synchronous', us('floor'));
  row('bare append + fdatasync, asynchronous', us('floor async'));
  row('rewrite the whole file, once', ...SIZES.map((size) => us(`rewrite ${size}`)));
  console.log('');
  const budget = (name: string, figure: number, bound: number, isCeiling: boolean): void =>
    console.log(
      `${name.padEnd(66)} ${figure.toFixed(2).padStart(8)}  ${isCeiling ? '<=' : '>='} ${bound}  ${figure <= bound === isCeiling ? 'met' : 'MISSED'}`,
    );
  budget('begin + end: 100,000 there / 100 there', us('item 100000') / us('item 100'), 1.2, true);
  budget('one durable commit / bare append + fdatasync (synchronous)', us('commit 100') / us('floor'), 1.5, true);
  budget('one durable commit / bare append + fdatasync (asynchronous)', us('commit 100') / us('floor async'), 1.5, true);
  budget('commits per second of 64 workers / of one', us('commit 10000') / us('64 10000'), 10, false);
}

async function prepare(size: number): Promise<Place> {
  const backend = await openFileBackend(join(folder, `state-${size}.json`));
  const state = await LoopState.open(backend, { closeBackend: true });
  const completed = Array.from({ length: size }, (_, n) => `src/some/folder/file-${n}.ts`);
  const pending = completed.values();
  const worker = async (): Promise<void> => {
    for (const id of pending) {
      await state.begin(id);
      await state.end(id, { status: 'success', output: { ok: true } });
    }
  };
  await Promise.all(Array.from({ length: 64 }, worker));
  return { size, backend, state, completed };
}

async function beginAndEnd({ state }: Place, round: number): Promise<number> {
  return await timed(STEPS, async (step) => {
    const id = `src/some/other/folder/file-${round}-${step}.ts`;
    await state.begin(id);
    await state.end(id, { status: 'success', output: { ok: true } });
  });
}

async function commitOneByOne({ backend }: Place, round: number): Promise<number> {
  return await timed(STEPS, async (step) => void (await backend.commit(oneRecord(`one-${round}-${step}`))));
}

async function commitBySixtyFour({ backend }: Place, round: number): Promise<number> {
  const count = STEPS * 16;
  const pending = Array.from({ length: count }, (_, step) => step).values();
  const startMs = performance.now();
  const worker = async (): Promise<void> => {
    for (const step of pending) await backend.commit(oneRecord(`many-${round}-${step}`));
  };
  await Promise.all(Array.from({ length: 64 }, worker));
  return ((performance.now() - startMs) * 1_000) / count;
}

function oneRecord(name: string) {
  return {
    checks: [{ key: `item/${name}`, revision: 0 }],
    puts: [{ key: `item/${name}`, value: { status: 'completed', attempt: 1, output: { ok: true }, by: 'bench.1' } }],
  };
}

async function appendSynchronously(round: number): Promise<number> {
  const fd = openSync(join(folder, `floor-${round}`), 'a');
  try {
    return await timed(STEPS, () => {
      writeSync(fd, LINE);
      fdatasyncSync(fd);
    });
  } finally {
    closeSync(fd);
  }
}

async function appendAsynchronously(round: number): Promise<number> {
  const file = await open(join(folder, `floor-async-${round}`), 'a');
  try {
    return await timed(STEPS, async () => {
      await file.write(LINE);
      await file.datasync();
    });
  } finally {
    await file.close();
  }
}

async function rewriteTheWholeFile({ completed, size }: Place, steps: number): Promise<number> {
  const path = join(folder, `rewrite-${size}.json`);
  return await timed(steps, async () => {
    const file = await open(`${path}.tmp`, 'w');
    await file.writeFile(JSON.stringify({ completed, failed: [] }, null, 2));
    await file.sync();
    await file.close();
    await rename(`${path}.tmp`, path);
  });
}

async function timed(steps: number, step: (n: number) => unknown): Promise<number> {
  const startMs = performance.now();
  for (let n = 0; n < steps; n++) await step(n);
  return ((performance.now() - startMs) * 1_000) / steps;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
