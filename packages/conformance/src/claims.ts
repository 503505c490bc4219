import { expectExact } from './expectations.js';
import type { BackendFixture } from './fixture.js';
import { Fleet, type FleetLoop } from './fleet.js';
import { type Ground, testLaw } from './law-test.js';
import { prove } from './proofs.js';
import { announceSeed, type Random } from './seed.js';

const ITEMS = 150;
const WORKERS = 4;
const KILLS = 2;
const PAUSES = 2;
/** Short, so that others take over soon from a worker that is stopped. */
const LEASE_MS = 1_000;
const WORK_MS = 30;
const LOOK_EVERY_MS = 100;
const TIMEOUT_MS = 120_000;

/**
 * Registers the test in which worker processes share one loop while some of them are killed and replaced, and others are stopped for
 * so long that their items are taken over and finished. Each item gets one outcome, and who comes back late is refused and told.
 */
export function testClaims(fixture: BackendFixture): void {
  const items = Math.ceil(ITEMS * (fixture.effort ?? 1));
  const title = `${WORKERS} workers share ${items} items, ${PAUSES} are stopped beyond their lease and ${KILLS} killed: each is recorded once`;
  testLaw(fixture, 'commit/check-now', title, async (ground) => {
    const random = announceSeed();
    const fleet = new Fleet(fixture);
    try {
      // A loop of fewer items lasts as long: it must not be through before the last worker has started.
      const workMs = (WORK_MS * ITEMS) / items;
      await shareUnderFire(fleet, ground, { items, workMs, leaseMs: LEASE_MS }, random);
      await fleet.finished();
      // Before what is left is looked at, since it says more.
      expectExact(fleet.broken().slice(0, 3), [], 'broken promises');
      await fleet.expectAllRecorded(ground.url, items);
      expectExact(fleet.broken().slice(0, 3), [], 'broken promises');
    } finally {
      fleet.remove();
    }
    prove({
      test: 'S12 claims under pauses and kills',
      backend: fixture.name,
      counts: { cases: items, kills: KILLS },
      least: { cases: items, kills: KILLS },
    });
  }).timeout(TIMEOUT_MS);
}

async function shareUnderFire(fleet: Fleet, { url }: Ground, loop: FleetLoop, random: Random): Promise<void> {
  const workers = await fleet.startAll(WORKERS, url, loop);
  const take = () => workers.splice(random.next(workers.length), 1)[0]!;
  const sleepers = Array.from({ length: PAUSES }, take);
  const held: string[] = [];
  for (const sleeper of sleepers) held.push(await fleet.stopAtWork(sleeper, workers));
  for (let kills = 0; kills < KILLS; kills++) {
    fleet.kill(take());
    workers.push(await fleet.start(url, loop));
    await pause(random.next(150));
  }
  // What the sleepers hold is finished by others: so their own outcomes come too late, for certain.
  await fleet.until(async () => {
    await pause(LOOK_EVERY_MS);
    const { items } = await fleet.look(url);
    return held.every((id) => items.get(id)?.output !== undefined);
  });
  for (const sleeper of sleepers) sleeper.signal('SIGCONT');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
