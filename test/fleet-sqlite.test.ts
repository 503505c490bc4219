/** Many worker processes share a loop in one SQLite database: see `fleet.ts` for what is proved, and how. */
import { sqliteFixture } from './fixtures/sqlite.js';
import { testFleet } from './fleet.js';

testFleet(sqliteFixture);
