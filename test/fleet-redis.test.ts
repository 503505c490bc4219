/** Many worker processes share a loop on one Redis server: see `fleet.ts` for what is proved, and how. */

import { createRedisFixture } from './fixtures/redis.js';
import { testFleet } from './fleet.js';

const fixture = createRedisFixture();

testFleet({
  ...fixture,
  async createPlace() {
    const { url, remove } = await fixture.createPlace();
    // 32 processes that begin at once on two cores take longer to connect than a server that is away should be waited for.
    return { url: `${url}&connectTimeoutMs=60000`, remove };
  },
});
