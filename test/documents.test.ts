/**
 * What the program says of itself is what the documents say: each generated document is made anew, and must be the one that stands there;
 * every exported name has a doc comment.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { apiReference } from './documents/api-reference.js';
import { GENERATED_DOCUMENTS } from './documents/generated.js';
import { WORKSPACE } from './support/compiled.js';

describe('Generated documents', () => {
  for (const { path, write } of GENERATED_DOCUMENTS) {
    it(`${path} is what the program says now; \`pnpm run docs\` writes it`, async function () {
      this.timeout(120_000);
      const now = readFileSync(join(WORKSPACE, path), 'utf8');
      expect(await write(now)).to.equal(now);
    });
  }

  it('say something of every exported name', function () {
    this.timeout(120_000);
    expect(apiReference().uncommented).to.deep.equal([]);
  });
});
