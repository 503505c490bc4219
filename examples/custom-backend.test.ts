/** All that it takes to hold a backend against every law of the contract: one fixture, and the suite. Run it with mocha. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BackendFixture, testConcurrency, testConformance, testCrash } from '@loopstate/conformance';
import { openPlace } from './custom-backend.js';

const fixture: BackendFixture = {
  name: 'log',
  traits: { name: 'log', survives: 'power-loss', reach: 'process' },
  opener: import.meta.resolve('./custom-backend.js'),
  async createPlace() {
    const directory = await mkdtemp(join(tmpdir(), 'log-'));
    return { url: join(directory, 'log'), remove: () => rm(directory, { recursive: true }) };
  },
  open: openPlace,
  faults: { failpoints: true },
};

testConformance(fixture);
testConcurrency(fixture);
testCrash(fixture);
