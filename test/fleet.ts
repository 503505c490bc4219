/**
 * The tests of many worker processes that share one loop: they are the same for every backend that more than one process can open.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BackendFixture, Fleet, type FleetWorker, type Place } from '@loopstate/conformance';
import { expect } from 'chai';
import { launchCompiled } from './fixtures/launch-compiled.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';

const SHORT_LEASE_MS = 1_500;

/** Adds the tests for one backend. */
export function testFleet(fixture: BackendFixture): void {
  describe(`A fleet on ${fixture.name}`, () => {
    let place: Place;
    let fleet: Fleet;
    before(async function () {
      this.timeout(120_000);
      await fixture.start?.();
    });
    after(() => fixture.stop?.());
    beforeEach(async () => {
      place = await fixture.createPlace();
      fleet = new Fleet(fixture);
    });
    afterEach(async () => {
      fleet.remove();
      await place.remove();
    });

    it('once-recorded, fenced: 8 workers over 600 items, three of them killed and replaced', async () => {
      const seed = seedFromEnvironment();
      const random = seeded(seed);
      console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
      const loop = { items: 600, workMs: 8 };
      const first = await fleet.startAll(8, place.url, loop);
      for (let n = 0; n < 3; n++) {
        fleet.kill(first.splice(Math.floor(random() * first.length), 1)[0] as FleetWorker);
        await fleet.start(place.url, loop);
        await sleep(100 + random() * 200);
      }
      await fleet.finished();
      expect(fleet.events('lost', 'claim-lost'), 'claims taken from the living').to.deep.equal([]);
      expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
      await fleet.expectAllRecorded(place.url, loop.items);
    }).timeout(180_000);

    it('fenced: a worker that is stopped beyond its lease is refused and told, and goes on', async () => {
      const loop = { items: 60, workMs: 100, leaseMs: SHORT_LEASE_MS };
      const [sleeper, other] = (await fleet.startAll(2, place.url, loop)) as [FleetWorker, FleetWorker];
      const began = (worker: FleetWorker) => worker.events().filter(({ type }) => type === 'began');
      await fleet.stopAtWork(sleeper, [other]);
      await fleet.until(() => other.events().some(({ type }) => type === 'took-over'), 30_000);
      await sleep(1_000);
      sleeper.signal('SIGCONT');
      await fleet.finished();
      expect(sleeper.events().some(({ type }) => type === 'run-replaced')).to.equal(true);
      const taken = began(other).filter(({ id }) => began(sleeper).some((event) => event.id === id));
      // If the other worker took what the sleeper held, the sleeper was told so.
      if (taken.length > 0) expect(sleeper.events().some(({ type }) => type === 'lost' || type === 'aborted')).to.equal(true);
      expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
      await fleet.expectAllRecorded(place.url, loop.items);
    }).timeout(90_000);

    it('one-item, fenced: workers in pid namespaces of their own take nobody for dead by a pid', async function () {
      const under = ownNamespace();
      if (under === undefined) return this.skip();
      const loop = { items: 80, workMs: 200, leaseMs: 2 * SHORT_LEASE_MS };
      const launch: BackendFixture['launch'] = (program, args) => launchCompiled(program, args, under);
      const [first, second] = [await fleet.start(place.url, loop, launch), await fleet.start(place.url, loop, launch)] as const;
      await fleet.until(() => [first, second].every((worker) => worker.events().some(({ type }) => type === 'completed')));
      const outside = await fleet.start(place.url, loop);
      await fleet.until(() => outside.events().some(({ type }) => type === 'completed'));
      expect(fleet.events('took-over', 'lost', 'claim-lost', 'run-replaced')).to.deep.equal([]);
      fleet.kill(first);
      await fleet.finished();
      expect(fleet.events('took-over').map(({ death }) => death)).to.deep.equal(['presumed']);
      expect(fleet.events('lost', 'claim-lost', 'run-replaced')).to.deep.equal([]);
      expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
      await fleet.expectAllRecorded(place.url, loop.items);
    }).timeout(90_000);

    it('wastes at most 15 % of the claims of 16 workers over 1,000 items', async () => {
      const loop = { items: 1_000, workMs: 20 };
      await Promise.all(Array.from({ length: 16 }, () => fleet.start(place.url, loop)));
      await fleet.finished();
      const [asked, refused] = [total(fleet, 'asked'), total(fleet, 'refused')];
      console.log(`      ${asked} claims asked, ${refused} refused: ${((100 * refused) / asked).toFixed(1)} %`);
      expect(refused / asked).to.be.below(0.15);
      expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
      await fleet.expectAllRecorded(place.url, loop.items);
    }).timeout(240_000);

    it('one-item: 24 workers at once disturb nobody', async () => {
      const loop = { items: 400, workMs: 1 };
      await Promise.all(Array.from({ length: 24 }, () => fleet.start(place.url, loop)));
      await fleet.finished();
      expect(fleet.events('unavailable', 'lease-at-risk', 'lost', 'claim-lost')).to.deep.equal([]);
      expect(fleet.broken().slice(0, 3)).to.deep.equal([]);
      await fleet.expectAllRecorded(place.url, loop.items);
    }).timeout(240_000);
  });
}

/** What starts a command as the first process of a new pid namespace, as in a container of its own; undefined where that is not allowed. */
function ownNamespace(): string[] | undefined {
  const namespace = ['--pid', '--fork', '--mount-proc', '--kill-child'];
  const commands = [
    ['unshare', ...namespace],
    ['unshare', '--user', '--map-root-user', ...namespace],
  ];
  return commands.find(([command = '', ...args]) => spawnSync(command, [...args, 'true']).status === 0);
}

function total(fleet: Fleet, counted: 'asked' | 'refused'): number {
  return fleet.events('done').reduce((sum, event) => sum + (event[counted] ?? 0), 0);
}
