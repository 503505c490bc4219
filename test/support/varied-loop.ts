/**
 * A loop that has everything a loop can have: every outcome, every field of a record, ids and outputs that are hard to carry, claims that were
 * left behind, and costs from before. The same for the same seed.
 */
import { type Json, LoopReader, type MovableEntry, type MovableItem, type StateBackend } from '@loopstate/core';
import { exportLines, LoopState, openBackend } from 'loopstate';
import { seeded } from './seeded.js';

const ID_BYTES = 1_024;

const HARD_IDS = [
  '__proto__',
  'constructor',
  'a:b%c_d*[e]{f}',
  'line\nbreak\r\n',
  'nul\0',
  'tab\t"quoted" \\ back',
  '\u2028 \ufeff',
  '日本語 😀',
  ' ',
  '-',
  '017',
  `${'ü'.repeat(ID_BYTES / 2)}`,
];

const HARD_OUTPUTS: readonly Json[] = [
  null,
  false,
  '',
  0.1 + 0.2,
  1e-300,
  Number.MAX_SAFE_INTEGER,
  [],
  {},
  JSON.parse('{"__proto__":{"a":1},"10":1,"9":[null],"":"\\u0000\\u2028\\ud83d\\ude00"}') as Json,
  Array.from({ length: 500 }).reduce<Json>((inner) => [inner], 'deep'),
  'x'.repeat(30_000),
];

/** The kinds of items, with how each is made from a random number. */
const KINDS: { readonly [kind: string]: (random: () => number) => MovableItem } = {
  completed: (random) => ({ status: 'completed', attempt: 1 + Math.floor(random() * 3), output: { n: Math.floor(random() * 1e9) } }),
  paid: (random) => ({ status: 'completed', attempt: 1, ...costs(random), digest: `d${Math.floor(random() * 9)}` }),
  'hard output': (random) => ({ status: 'completed', attempt: 1, output: HARD_OUTPUTS[Math.floor(random() ** 3 * HARD_OUTPUTS.length)]! }),
  failed: (random) => ({ status: 'failed', attempt: 3, reason: `exit ${Math.floor(random() * 256)}: ß\u001b[31m`, ...costs(random) }),
  refused: () => ({ status: 'failed', attempt: 1, reason: 'The result was refused.', code: 'LOOPSTATE_RESULT_REFUSED' }),
  quarantined: () => ({ status: 'failed', attempt: 1, crashes: 3, reason: 'Its process died 3 times.', quarantined: true }),
  glitched: (random) => ({ status: 'outstanding', attempt: 0, glitches: 2, waitMs: Math.ceil(random() * 60_000), lastError: '429' }),
  crashed: () => ({ status: 'outstanding', attempt: 1, crashes: 1, lastError: 'Its process died while it ran.' }),
  'another round': (random) => ({ status: 'outstanding', attempt: 0, round: 2 + Math.floor(random() * 3), ...costs(random) }),
  'recorded again': () => ({ status: 'completed', attempt: 2, recordedAgain: 'status', round: 2 }),
};

/** How many items are left in the hands of a run that is no longer there. */
const CLAIMED = 25;

/** Entries of all kinds, in a random order. */
export function variedEntries(count: number, seed: number): MovableEntry[] {
  const random = seeded(seed);
  const kinds = Object.values(KINDS);
  return Array.from({ length: count }, (_, n) => {
    const item = (n < kinds.length ? kinds[n] : kinds[Math.floor(random() * kinds.length)])!(random);
    return { id: HARD_IDS[n] ?? `${n}`.padEnd(1 + Math.floor(random() * 60), ' /ä'), item };
  });
}

/** Makes a varied loop at `url`, which must be empty. Claims are left behind in it, and costs from before. */
export async function makeVariedLoop(url: string, count: number, seed: number): Promise<void> {
  const backend = await openBackend(url, { access: 'write' });
  const state = await LoopState.open(backend);
  await state.putCarriedUsd(1.25);
  await state.putItems(variedEntries(count - CLAIMED, seed), () => true);
  for (let n = 0; n < CLAIMED; n++) {
    const claim = await state.claim(`held ${n}`, { digest: 'held' });
    if (n % 2 === 0) await claim?.end({ status: 'glitch', cost: { usd: 0.5 } });
    if (n % 2 === 0) await state.claim(`held ${n}`);
  }
  // Not the state: its claims stay, as those of a process that was killed.
  await backend.close();
}

/** What the records of a place are like, by their status and the names of their fields. */
export async function kindsAt(url: string): Promise<Set<string>> {
  return await withContent(url, async (loop) => {
    const kinds = new Set<string>();
    for await (const [, record] of loop.items()) kinds.add([record.status, ...Object.keys(record).sort()].join(' '));
    return kinds;
  });
}

/** How many items a place holds; 0 where there is none yet. */
export async function countAt(url: string): Promise<number> {
  let count = 0;
  await withContent(url, async (loop) => {
    for await (const _ of loop.items()) count += 1;
  }).catch(() => undefined);
  return count;
}

/** The export of a place. */
export async function exportAt(url: string): Promise<string> {
  return await withContent(url, async (loop) => {
    const lines: string[] = [];
    for await (const line of exportLines(loop)) lines.push(line);
    return lines.join('');
  });
}

async function withContent<T>(url: string, use: (loop: LoopReader) => Promise<T>): Promise<T> {
  const backend: StateBackend = await openBackend(url, { access: 'read' });
  try {
    return await use(await LoopReader.open(backend));
  } finally {
    await backend.close();
  }
}

function costs(random: () => number): Pick<MovableItem, 'cost' | 'costUsd'> {
  const usd = Math.round(random() * 1e6) / 1e9;
  return { cost: { usd, tokens: 1, costSource: 'provider' }, costUsd: usd * 2 };
}
