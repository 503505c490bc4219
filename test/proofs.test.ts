/**
 * The last word of a run: what all repeated tests went through. A whole run that lacks a test of the catalogue is red, so that none is
 * lost by an oversight.
 */
import { proofLines, proofs } from '@loopstate/conformance';
import { expect } from 'chai';

/** The catalogue; `README.md` beside this file says what each proves. */
const CATALOGUE: readonly (readonly [test: string, backends: readonly string[]])[] = [
  ['S1 power cuts', ['file']],
  ['S2 power cuts in recovery and compaction', ['file']],
  ['S3 kill, then power cut', ['file']],
  ['S4 failed syncs', ['file']],
  ['S5 damage', ['file']],
  ['S6 seeded defects', ['file', 'sqlite', 'redis', 'loop-state']],
  ['S7 leftovers of kills', ['file']],
  ['S9 disk errors', ['file']],
  ['S10 database damage', ['sqlite']],
  ['S11 server crashes', ['redis']],
  ['S11 lost replies', ['redis']],
  ['S11 refusals', ['redis']],
  ['S13 locks', ['file']],
  ['S14 clocks', ['loop-state']],
  ['S15 released formats', ['file']],
];

after(() => {
  const lines = proofLines();
  if (lines.length > 1) console.log(`\n${lines.map((line) => `  ${line}`).join('\n')}\n`);
  // Only where no files were named, and none was left out by a pattern, was the run a whole one.
  const isWhole = !process.argv.some((arg) => /^(--grep|-g|--fgrep|-f)\b|^[^*]*\.test\.ts$/.test(arg));
  if (!isWhole) return;
  const done = new Set(proofs().map(({ test, backend }) => `${test}, ${backend}`));
  const missing = CATALOGUE.flatMap(([test, backends]) => backends.map((backend) => `${test}, ${backend}`)).filter((row) => !done.has(row));
  expect(missing, 'tests of the catalogue that did not run').to.deep.equal([]);
});

describe('the catalogue', () => {
  it('names each test once', () => {
    const names = CATALOGUE.map(([test]) => test);
    expect(new Set(names).size).to.equal(names.length);
  });
});
