/**
 * The contract and its suite speak of the same laws: every law of `LAWS` stands in the title of a test, and every law that a title
 * names is one of `LAWS`. Proved by registering the suite, without running it, and reading the titles.
 */
import { type BackendFixture, testConcurrency, testConformance, testCrash } from '@loopstate/conformance';
import { LAWS } from '@loopstate/core';
import { expect } from 'chai';
import { listTitles } from './canaries/run-suite.js';
import { memoryFixture } from './fixtures/memory.js';
import { createServedFixture } from './fixtures/served.js';

describe('laws', () => {
  const laws = Object.keys(LAWS).sort();

  for (const fixture of [memoryFixture, createServedFixture()]) {
    it(`each stands in a title of the suite, and no title names another (survives: ${fixture.traits.survives})`, () => {
      const named = titlesOf(fixture).flatMap((title) => /^[a-z]+\/[a-z-]+(?=: )/.exec(title)?.[0] ?? []);
      expect([...new Set(named)].sort()).to.deep.equal(laws);
    });
  }

  it('no two tests of a fixture share a title, and few name no law', () => {
    const titles = titlesOf(createServedFixture());
    expect(new Set(titles).size).to.equal(titles.length);
    expect(titles.filter((title) => !laws.some((law) => title.startsWith(`${law}: `)))).to.have.lengthOf(1);
  });

  it('every law has a sentence', () => {
    for (const sentence of Object.values(LAWS)) expect(sentence).to.match(/\.$/);
  });
});

function titlesOf(fixture: BackendFixture): string[] {
  return listTitles(() => {
    testConformance(fixture);
    testConcurrency(fixture);
    testCrash(fixture);
  });
}
