/** A test that went through too little fails, and the table adds up what was gone through. On proofs made up for it. */
import { expect } from 'chai';
import { proofLines, proofs, prove, withoutProofs } from '../src/proofs.js';

describe('proofs', () => {
  it('fail where a count is below its least, is missing, or nothing is demanded', () =>
    withoutProofs(async () => {
      const proof = { test: 'T', backend: 'none', counts: { cases: 9 }, least: { cases: 9 } };
      expect(() => prove(proof)).to.not.throw();
      expect(() => prove({ ...proof, least: { cases: 10 } })).to.throw('9 cases');
      expect(() => prove({ ...proof, least: { kills: 1 } })).to.throw('0 kills');
      expect(() => prove({ ...proof, counts: { cases: 0 }, least: { cases: 0 } })).to.throw('0 cases');
      expect(() => prove({ ...proof, least: {} })).to.throw('nothing');
      expect(proofs().at(-1)).to.equal(proof);
    }));

  it('leave no trace of a suite that is itself under test', async () => {
    const before = proofs().length;
    await withoutProofs(async () => prove({ test: 'T', backend: 'none', counts: { cases: 1 }, least: { cases: 1 } }));
    expect(proofs().length).to.equal(before);
  });

  it('are added up by test and backend, in the order of the catalogue', () => {
    const of = (test: string, cases: number, kills?: number) => ({
      test,
      backend: 'file',
      counts: { cases, ...(kills === undefined ? {} : { kills }) },
      least: {},
    });
    const lines = proofLines([of('S10 b', 1), of('S9 a', 1_000), of('S9 a', 500, 3)]).map((line) => line.split(/ {2,}/));
    expect(lines).to.deep.equal([
      ['test', 'backend', 'cases', 'states', 'kills', 'commits', 'violations'],
      ['S9 a', 'file', '1,500', '3', '0'],
      ['S10 b', 'file', '1', '0'],
    ]);
  });
});
