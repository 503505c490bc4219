/**
 * Proves *fenced* whatever the clocks do: wall clocks that are wrong, frozen, jump or run backwards decide nothing, and a jump of the
 * clock by which a lease is measured neither takes a claim from a live run nor leaves one stuck. In a world whose clocks the test holds.
 */
import { expect } from 'chai';
import { proveEach } from '../../../test/support/prove-each.js';
import { type FleetRun, fleet, LEASE_MS } from './support/fleet.js';
import type { TestProcess } from './support/world.js';

const TWO_HOURS_MS = 7_200_000;

const WALL_CLOCKS: Readonly<Record<string, (worldMs: number) => number>> = {
  'is two hours ahead': (ms) => ms + TWO_HOURS_MS,
  'is two hours behind': (ms) => ms - TWO_HOURS_MS,
  'is frozen': () => 1_000,
  'runs backwards': (ms) => -ms,
  'jumps two hours to and fro': (ms) => ms + (Math.floor(ms / 4_000) % 2 === 0 ? TWO_HOURS_MS : -TWO_HOURS_MS),
};

/** A holder of `x` and an observer, on hosts of their own. */
async function pair(prepare: (holder: TestProcess, observer: TestProcess) => void) {
  const { world, open } = fleet();
  const [holder, observer] = [world.process('host-a'), world.process('host-b')];
  prepare(holder, observer);
  const a = await open(holder);
  const b = await open(observer);
  const claim = await a.state.claim('x');
  await b.state.begin('own');
  if (claim === undefined) throw new Error('The first claim must succeed.');
  return { world, a, b, fence: claim.fence };
}

/** How long it takes the observer to get the item, to the second; undefined: it does not within ten leases. */
async function takenAfterMs({ world, b }: { world: ReturnType<typeof fleet>['world']; b: FleetRun }): Promise<number | undefined> {
  for (let ms = 0; ms <= 10 * LEASE_MS; ms += 1_000) {
    if ((await b.state.claim('x')) !== undefined) return ms;
    await world.advance(1_000);
  }
  return undefined;
}

describe('Clocks', () => {
  proveEach({ test: 'S14 clocks', backend: 'loop-state', least: { cases: 50 } });

  for (const [name, wallClock] of Object.entries(WALL_CLOCKS)) {
    for (const whose of ['the holder', 'the observer', 'both'] as const) {
      const set = (holder: TestProcess, observer: TestProcess): void => {
        if (whose !== 'the observer') holder.wallClock = wallClock;
        if (whose !== 'the holder') observer.wallClock = wallClock;
      };

      it(`fenced: a wall clock of ${whose} that ${name} takes nothing from a run that beats`, async () => {
        const { world, a, b } = await pair(set);
        await world.advance(5 * LEASE_MS);
        expect(await b.state.claim('x')).to.equal(undefined);
        expect(await a.state.end('x', { status: 'success' })).to.equal('completed');
        expect([...a.events, ...b.events]).to.deep.equal([]);
      });

      it(`fenced: a wall clock of ${whose} that ${name} leaves no claim of a silent run stuck`, async () => {
        const { world, a, b, fence } = await pair(set);
        a.process.isPaused = true;
        expect(await takenAfterMs({ world, b })).to.be.within(LEASE_MS, 1.5 * LEASE_MS);
        expect((await b.state.read('x'))?.revision).to.be.greaterThan(fence);
      });

      it(`fenced: a wall clock of ${whose} that ${name} hides no death on the same host`, async () => {
        const { world, open } = fleet();
        const [holder, observer] = [world.process('host-a'), world.process('host-a')];
        set(holder, observer);
        const [a, b] = [await open(holder), await open(observer)];
        const first = await a.state.claim('x');
        expect(await b.state.claim('x'), 'while the holder lives').to.equal(undefined);
        holder.isDead = true;
        const second = await b.state.claim('x');
        expect(second?.fence).to.be.greaterThan(first?.fence ?? Number.POSITIVE_INFINITY);
      });
    }
  }

  for (const jumpMs of [TWO_HOURS_MS, -TWO_HOURS_MS]) {
    it(`fenced: a jump of the observer's monotonic clock by ${jumpMs} ms takes nothing from a run that beats`, async () => {
      const { world, a, b } = await pair(() => undefined);
      for (let jumps = 0; jumps < 5; jumps++) {
        await world.advance(LEASE_MS / 2);
        b.process.clockOffsetMs += jumpMs;
      }
      expect(await b.state.claim('x')).to.equal(undefined);
      expect(await a.state.end('x', { status: 'success' })).to.equal('completed');
    });

    it(`fenced: a jump of the observer's monotonic clock by ${jumpMs} ms begins the count of a silent run anew, and no later`, async () => {
      const { world, a, b } = await pair(() => undefined);
      a.process.isPaused = true;
      await world.advance(LEASE_MS * 0.8);
      b.process.clockOffsetMs += jumpMs;
      expect(await takenAfterMs({ world, b })).to.be.within(LEASE_MS, 1.5 * LEASE_MS);
    });

    it(`fenced: a holder goes on beating after a jump of its monotonic clock by ${jumpMs} ms`, async () => {
      const { world, a, b } = await pair(() => undefined);
      a.process.clockOffsetMs += jumpMs;
      await world.advance(3 * LEASE_MS);
      expect(await b.state.claim('x')).to.equal(undefined);
      expect(await a.state.end('x', { status: 'success' })).to.equal('completed');
      expect(a.events).to.deep.equal([]);
    });
  }

  it('fenced: a frozen monotonic clock of the observer takes nothing from anybody', async () => {
    const { world, a, b } = await pair(() => undefined);
    const frozenAtMs = b.process.monotonicMs();
    b.process.monotonicMs = () => frozenAtMs;
    a.process.isPaused = true;
    await world.advance(5 * LEASE_MS);
    expect(await b.state.claim('x')).to.equal(undefined);
  });
});
