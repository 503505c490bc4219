/** The catalogue is in order, its rows are told of in `README.md`, and a row that nobody proved is missed. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { CATALOGUE, missingFrom } from './catalogue.js';

describe('the catalogue', () => {
  it('names each test once, and `README.md` tells of it', () => {
    const names = CATALOGUE.map(([test]) => test);
    expect(new Set(names).size).to.equal(names.length);
    const told = readFileSync(new URL('README.md', import.meta.url), 'utf8');
    for (const name of names) expect(told).to.include(`| ${name} `);
  });

  it('misses what nobody proved', () => {
    const all = CATALOGUE.flatMap(([test, backends]) => backends.map((backend) => ({ test, backend, counts: {}, least: {} })));
    expect(missingFrom(all)).to.deep.equal([]);
    expect(missingFrom(all.slice(1))).to.have.length(1);
  });
});
