import { expect } from 'chai';
import { it } from 'mocha';
import type { BackendFixture } from './fixture.js';
import { describeSuite, onFreshGround } from './law-test.js';
import { testChangesLaws } from './laws/changes-laws.js';
import { testCloseLaws } from './laws/close-laws.js';
import { testCommitLaws } from './laws/commit-laws.js';
import { testConflictLaws } from './laws/conflict-laws.js';
import { testKeyLaws } from './laws/key-laws.js';
import { testModelLaws } from './laws/model-laws.js';
import { testReadLaws } from './laws/read-laws.js';
import { testReopenLaws } from './laws/reopen-laws.js';
import { testShapeLaws } from './laws/shape-laws.js';
import { testValueLaws } from './laws/value-laws.js';

/**
 * Registers, with mocha's `describe` and `it`, a test or more for every law of the contract, each on an empty place of its
 * own. Takes some seconds; needs nothing but what the fixture needs.
 */
export function testConformance(fixture: BackendFixture): void {
  describeSuite(fixture, 'conformance', () => {
    it('a handle says of itself what the fixture declares, and a new store has nothing to report', () =>
      onFreshGround(fixture, async ({ open }) => {
        const store = await open();
        expect(store.traits).to.deep.equal(fixture.traits);
        expect(store.recovery).to.deep.equal([]);
      }));
    testCommitLaws(fixture);
    testConflictLaws(fixture);
    testShapeLaws(fixture);
    testReadLaws(fixture);
    testChangesLaws(fixture);
    testKeyLaws(fixture);
    testValueLaws(fixture);
    testReopenLaws(fixture);
    testModelLaws(fixture);
    testCloseLaws(fixture);
  });
}
