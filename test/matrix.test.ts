/**
 * Every backend keeps every law of the contract: each is run through the whole of `@loopstate/conformance`, from the same
 * fixtures that its child processes open.
 */
import { testConcurrency, testConformance, testCrash } from '@loopstate/conformance';
import { fileFixture } from './fixtures/file.js';
import { memoryFixture } from './fixtures/memory.js';
import { createRedisClusterFixture, createRedisFixture, createRedisSentinelFixture } from './fixtures/redis.js';
import { createServedFixture } from './fixtures/served.js';
import { sqliteFixture } from './fixtures/sqlite.js';

const redisFixtures = [createRedisFixture(), createRedisClusterFixture(), createRedisSentinelFixture()];

for (const fixture of [memoryFixture, fileFixture, sqliteFixture, createServedFixture(), ...redisFixtures]) {
  testConformance(fixture);
  testConcurrency(fixture);
  testCrash(fixture);
}
