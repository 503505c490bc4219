import { expectExact } from './expectations.js';
import type { BackendFixture } from './fixture.js';
import { Fleet, type FleetLoop, type FleetWorker } from './fleet.js';
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
const GO_ON_WITHIN_MS = 500;
/** A worker that is told to stop may be between two items: so often it may try again. */
const TRIES_MAX = 100;
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
      await shareUnderFire(fleet, ground, { items, workMs: WORK_MS, leaseMs: LEASE_MS }, random);
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
  for (const sleeper of sleepers) held.push(await stopAtWork(sleeper, workers));
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

/** Stops a worker in the middle of an item, and resolves with that. The `others` can go on. */
async function stopAtWork(worker: FleetWorker, others: readonly FleetWorker[]): Promise<string> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    worker.signal('SIGSTOP');
    // What it had said by then arrives.
    await pause(20);
    const last = worker.events().findLast(({ type }) => type !== 'beat');
    if (last?.type === 'began' && last.id !== undefined && (await goOn(others))) return last.id;
    worker.signal('SIGCONT');
    await pause(5);
  }
  throw new Error('A worker was never in the middle of an item.');
}

/** Whether some of the workers begin another item: one that was stopped while it wrote may hold a lock of the store. */
async function goOn(workers: readonly FleetWorker[]): Promise<boolean> {
  const begun = () => workers.flatMap((worker) => worker.events()).filter(({ type }) => type === 'began').length;
  const before = begun();
  for (let waited = 0; waited < GO_ON_WITHIN_MS; waited += LOOK_EVERY_MS) {
    await pause(LOOK_EVERY_MS);
    if (begun() > before) return true;
  }
  return false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
