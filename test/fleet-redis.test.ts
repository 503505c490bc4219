/** Many worker processes share a loop on one Redis server: see `fleet.ts` for what is proved, and how. */

import { createRedisFixture } from './fixtures/redis.js';
import { testFleet } from './fleet.js';

testFleet(createRedisFixture());
