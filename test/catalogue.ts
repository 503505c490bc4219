/**
 * The last word of a run of the tests: what all repeated tests went through, in whichever process. A whole run that lacks a test of the
 * catalogue is red, so that none is lost by an oversight. Loaded by mocha, which calls what is exported.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PROOFS_VARIABLE, type Proof, proofLines, proofsIn } from '@loopstate/conformance';
import { expect } from 'chai';

const STORES = ['file', 'sqlite', 'redis'];

/** The catalogue; `README.md` beside this file says what each proves. */
export const CATALOGUE: readonly (readonly [test: string, backends: readonly string[]])[] = [
  ['S1 power cuts', ['file']],
  ['S2 power cuts in recovery and compaction', ['file']],
  ['S3 kill, then power cut', ['file']],
  ['S4 failed syncs', ['file']],
  ['S5 damage', ['file']],
  ['S6 seeded defects', ['file', 'sqlite', 'redis', 'loop-state']],
  ['S7 failpoint kills', ['file', 'sqlite']],
  ['S7 leftovers of kills', ['file']],
  ['S8 random kills', STORES],
  ['S8 store crashes', ['redis']],
  ['S8 soak', STORES],
  ['S9 disk errors', ['file']],
  ['S10 database damage', ['sqlite']],
  ['S10 interrupted repairs', ['sqlite']],
  ['S11 server crashes', ['redis']],
  ['S11 lost replies', ['redis']],
  ['S11 refusals', ['redis']],
  ['S11 disturbed network', ['redis']],
  ['S12 races of handles', ['memory', ...STORES]],
  ['S12 claims under pauses and kills', ['sqlite', 'redis']],
  ['S12 checker of histories', ['none']],
  ['S12 checker of loops', ['none']],
  ['S13 locks', ['file']],
  ['S14 clocks', ['loop-state']],
  ['S15 released formats', ['file']],
  ['M1 copies', ['all']],
  ['M2 killed copies', STORES],
  ['M3 cut exports', ['none']],
  ['M4 damaged exports', ['none']],
  ['M5 killed imports', STORES],
  ['C1 killed compactions', ['file', 'sqlite']],
  ['D1 findings of doctor', STORES],
  ['P1 random commits', ['memory', ...STORES]],
  ['P2 ids and values', ['memory', ...STORES]],
  ['P3 random files', ['file', 'sqlite']],
  ['P4 random command lines', ['every']],
  ['P5 random URLs', ['every', 'file', 'redis']],
  ['P6 random shell commands', ['every']],
];

export function mochaGlobalSetup(): void {
  const path = join(mkdtempSync(join(tmpdir(), 'loopstate-proofs-')), 'proofs.jsonl');
  writeFileSync(path, '');
  // The processes that run the tests inherit it.
  process.env[PROOFS_VARIABLE] = path;
  // Where it is set, every start of Node reads all the certificates that it names, which takes longer than the rest of it. The tests start
  // thousands, and none of them speaks to a host that has one.
  delete process.env.NODE_EXTRA_CA_CERTS;
}

export function mochaGlobalTeardown(): void {
  const path = process.env[PROOFS_VARIABLE] ?? '';
  const all = proofsIn(path);
  rmSync(dirname(path), { recursive: true });
  if (all.length > 0)
    console.log(
      `\n${proofLines(all)
        .map((line) => `  ${line}`)
        .join('\n')}\n`,
    );
  // Only where no files were named, and none was left out by a pattern, was the run a whole one.
  const isWhole = !process.argv.some((arg) => /^(--grep|-g|--fgrep|-f)\b|^[^*]*\.test\.ts$/.test(arg));
  if (isWhole) expect(missingFrom(all), 'tests of the catalogue that did not run').to.deep.equal([]);
}

/** What of the catalogue nobody proved. */
export function missingFrom(all: readonly Proof[]): string[] {
  const done = new Set(all.map(({ test, backend }) => `${test}, ${backend}`));
  return CATALOGUE.flatMap(([test, backends]) => backends.map((backend) => `${test}, ${backend}`)).filter((row) => !done.has(row));
}
