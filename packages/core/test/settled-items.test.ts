/** What is kept in brief of items that are done is what was set last, however large revisions have become. */
import { expect } from 'chai';
import { SettledItems } from '../src/settled-items.js';

describe('SettledItems', () => {
  for (const first of [1, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, Number.MAX_SAFE_INTEGER - 2]) {
    it(`keeps what is newest, from revision ${first} on`, () => {
      const items = new SettledItems();
      const done = { revision: first + 1, status: 'completed', quarantined: false, costUsd: 0.5 } as const;
      expect(items.setNewer('a', done)).to.equal(undefined);
      expect(items.revisionOf('a')).to.equal(first + 1);
      const older = { ...done, revision: first, status: 'failed' } as const;
      expect(items.setNewer('a', older)).to.include(done);
      expect(items.get('a')).to.include(done);
      const newer = { revision: first + 2, status: 'failed', quarantined: true, costUsd: 0 } as const;
      expect(items.setNewer('a', newer)).to.include(done);
      expect([...items.entries()]).to.deep.equal([['a', { ...newer, seenMs: 0 }]]);
      items.delete('a');
      expect([items.has('a'), items.revisionOf('a')]).to.deep.equal([false, 0]);
      // Whoever takes its slot has nothing of it.
      items.setNewer('b', { ...done, revision: 3 });
      expect(items.revisionOf('b')).to.equal(3);
    });
  }
});
