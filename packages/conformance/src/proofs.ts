/**
 * What repeated tests went through: how many cases, kills, states or commits. A test that went through fewer than it must has proved
 * nothing, and fails; a run ends with the table of all.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { AssertionError } from 'chai';

/** What is counted. */
export type Counted = 'cases' | 'states' | 'kills' | 'commits';

/** What a test went through without finding a violation: a violation fails it before it comes to this. */
export interface Proof {
  /** The test, by its name in the catalogue, such as `S1 power cuts`. */
  readonly test: string;
  readonly backend: string;
  readonly counts: Readonly<Partial<Record<Counted, number>>>;
  /** What is demanded at the least; at least one count is. */
  readonly least: Readonly<Partial<Record<Counted, number>>>;
}

const COLUMNS: readonly Counted[] = ['cases', 'states', 'kills', 'commits'];

/** One for all copies of this package in a process. */
const KEY = Symbol.for('loopstate.conformance.proofs');

/** The environment variable that names the file in which the processes of a run take down their proofs together, a line each. */
export const PROOFS_VARIABLE = 'LOOPSTATE_PROOFS';

/** Takes down what a test went through, and prints it. Throws an `AssertionError` where that is less than it must be. */
export function prove(proof: Proof): void {
  const { test, counts, least } = proof;
  const demands = Object.entries(least) as [Counted, number][];
  if (demands.length === 0) throw new TypeError(`${test} demands nothing of itself.`);
  for (const [counted, demanded] of demands) {
    const went = counts[counted] ?? 0;
    if (went < Math.max(1, demanded)) throw new AssertionError(`${test} went through ${went} ${counted}, and ${demanded} are demanded`);
  }
  ledger().push(proof);
  const shared = process.env[PROOFS_VARIABLE];
  // What is short is appended whole, whoever else appends.
  if (shared) appendFileSync(shared, `${JSON.stringify(proof)}\n`);
  const said = COLUMNS.flatMap((counted) => (counts[counted] === undefined ? [] : `${counts[counted].toLocaleString('en')} ${counted}`));
  console.log(`      ${said.join(', ')}`);
}

/** All that was taken down so far in this process. */
export function proofs(): readonly Proof[] {
  return ledger();
}

/** All that was taken down so far in a file of {@link PROOFS_VARIABLE}. Errors: any system error. */
export function proofsIn(path: string): Proof[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Proof);
}

/** Lets `run` prove what it likes without a trace: a suite that is itself under test. */
export async function withoutProofs<T>(run: () => Promise<T>): Promise<T> {
  const before = ledger().length;
  const shared = process.env[PROOFS_VARIABLE];
  delete process.env[PROOFS_VARIABLE];
  try {
    return await run();
  } finally {
    ledger().length = before;
    if (shared !== undefined) process.env[PROOFS_VARIABLE] = shared;
  }
}

/** The table of all proofs, a line each; those of one test on one backend are added up. */
export function proofLines(all: readonly Proof[] = ledger()): string[] {
  const rows = new Map<string, { test: string; backend: string; sums: Map<Counted, number> }>();
  for (const { test, backend, counts } of all) {
    const key = `${test}\n${backend}`;
    const row = rows.get(key) ?? { test, backend, sums: new Map() };
    for (const [counted, count] of Object.entries(counts) as [Counted, number][])
      row.sums.set(counted, (row.sums.get(counted) ?? 0) + count);
    rows.set(key, row);
  }
  const sorted = [...rows.values()].sort(
    (a, b) => a.test.localeCompare(b.test, 'en', { numeric: true }) || a.backend.localeCompare(b.backend),
  );
  const texts = [
    ['test', 'backend', ...COLUMNS, 'violations'],
    ...sorted.map(({ test, backend, sums }) => [
      test,
      backend,
      ...COLUMNS.map((counted) => sums.get(counted)?.toLocaleString('en') ?? ''),
      '0',
    ]),
  ];
  const widths = texts[0]?.map((_, column) => Math.max(...texts.map((row) => row[column]?.length ?? 0))) ?? [];
  return texts.map((row) =>
    row.map((text, column) => (column < 2 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join('  '),
  );
}

function ledger(): Proof[] {
  const scope = globalThis as { [KEY]?: Proof[] };
  scope[KEY] ??= [];
  return scope[KEY];
}
