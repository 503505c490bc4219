/** A million items: opening a state that has them, asking for them, looping over them, and compacting them under load. */
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openFileBackend } from 'loopstate';
import { inFlight, median, type Turn } from './contest.js';
import { remember } from './processes.js';
import type { SectionOptions, SectionResult } from './section.js';
import { commitNew, complete } from './workload.js';

const ITEMS = 1_000_000;
const MIB = 1_024 * 1_024;

/** See the file's comment. */
export async function millionSection({ folder, rounds, scale }: SectionOptions): Promise<SectionResult> {
  const items = Math.ceil(ITEMS * scale);
  const path = join(folder, 'million.json');
  await complete(path, items, (n) => ({ id: `src/some/folder/file-${n}.ts`, output: { ok: true, words: n } }));
  const documentPath = join(folder, 'document.json');
  writeDocument(documentPath, items);
  const [size, documentSize] = [statSync(path).size, statSync(documentPath).size];
  const measured = { json: [] as Measure[], backend: [] as Measure[], state: [] as Measure[], ask: [] as Measure[] };
  for (let round = 0; round < Math.max(3, rounds); round++) {
    measured.json.push(await remember('json', documentPath));
    measured.backend.push(await remember('backend', path));
    measured.state.push(await remember('state', path));
    measured.ask.push(await remember('ask', path, `${items}`));
  }
  const loop = await remember('loop', join(folder, 'streamed.json'), `${items}`);
  const compaction = await compactUnderLoad(path);
  const ms = (name: keyof typeof measured): number => median(measured[name].map(({ elapsedMs }) => elapsedMs));
  const heap = (name: keyof typeof measured): number => median(measured[name].map(({ heapBytes }) => heapBytes));
  const lines = (['json', 'backend', 'state'] as const).map(
    (name) => `${name}: ${ms(name).toFixed(0)} ms, ${(heap(name) / MIB).toFixed(0)} MiB`,
  );
  return {
    title: 'A million items',
    tables: [],
    notes: [
      `A state of ${items.toLocaleString('en')} completed items, ${(size / MIB).toFixed(0)} MiB; the older document, ${(documentSize / MIB).toFixed(0)} MiB, read by JSON.parse into a Map. Opened: ${lines.join('; ')}.`,
      `Compaction under 64 workers: ${compaction.during.toFixed(0)} commits per second beside ${compaction.before.toFixed(0)} before it; the slowest took ${compaction.worstMs.toFixed(0)} ms.`,
    ],
    budgets: [
      {
        name: 'file, open at 1,000,000: time of the backend / JSON.parse + Map',
        figure: ms('backend') / ms('json'),
        bound: 0.3,
        side: 'at most',
      },
      {
        name: 'file, open at 1,000,000: heap of the backend / JSON.parse + Map',
        figure: heap('backend') / heap('json'),
        bound: 0.75,
        side: 'at most',
      },
      {
        name: 'file, open at 1,000,000: time of LoopState / JSON.parse + Map',
        figure: ms('state') / ms('json'),
        bound: 0.3,
        side: 'at most',
      },
      {
        name: 'file, open at 1,000,000: heap of LoopState / JSON.parse + Map',
        figure: heap('state') / heap('json'),
        bound: 0.75,
        side: 'at most',
      },
      { name: 'view, isOutstanding at 1,000,000', figure: (ms('ask') * 1_000) / items, bound: 2, side: 'at most', unit: ' us' },
      { name: 'memory, a loop over 1,000,000 streamed items', figure: loop.heapBytes / MIB, bound: 150, side: 'at most', unit: ' MiB' },
      {
        name: 'file, compaction at 1,000,000, 64 workers: rate during / before',
        figure: compaction.during / compaction.before,
        bound: 0.8,
        side: 'at least',
      },
      {
        name: 'file, compaction at 1,000,000, 64 workers: slowest commit',
        figure: compaction.worstMs,
        bound: 50,
        side: 'at most',
        unit: ' ms',
      },
    ],
  };
}

type Measure = Awaited<ReturnType<typeof remember>>;

/** The same items in the second of the older formats. */
function writeDocument(path: string, items: number): void {
  const results: Record<string, object> = {};
  for (let n = 0; n < items; n++)
    results[`src/some/folder/file-${n}.ts`] = { status: 'success', output: { ok: true, words: n }, cost: { usd: 0 } };
  writeFileSync(path, JSON.stringify({ version: 2, results, claims: {}, totalUsd: 0 }));
}

/** Commits by 64 workers until a compaction has begun and ended, in windows of a tenth of a second. */
async function compactUnderLoad(path: string): Promise<{ before: number; during: number; worstMs: number }> {
  const backend = await openFileBackend(path);
  const folder = join(path, '..');
  const isCompacting = (): boolean => readdirSync(folder).some((name) => name.startsWith('million.json.') && name.endsWith('.tmp'));
  const windows: { readonly turn: Turn; readonly isCompacting: boolean }[] = [];
  let hasCompacted = false;
  while (windows.length < 1_000) {
    const endMs = performance.now() + 100;
    const began = isCompacting();
    const turn = await inFlight(
      64,
      Number.POSITIVE_INFINITY,
      () => commitNew(backend),
      () => performance.now() >= endMs,
    );
    windows.push({ turn, isCompacting: began && isCompacting() });
    if (began) hasCompacted = true;
    if (hasCompacted && !isCompacting()) break;
  }
  await backend.close();
  const rates = (isDuring: boolean): number[] =>
    windows.filter((window) => window.isCompacting === isDuring).map(({ turn }) => (turn.operations * 1_000) / turn.elapsedMs);
  return {
    before: median(rates(false)),
    during: median(rates(true)),
    worstMs: Math.max(...windows.filter(({ isCompacting }) => isCompacting).map(({ turn }) => Math.max(...turn.latenciesUs))) / 1_000,
  };
}
