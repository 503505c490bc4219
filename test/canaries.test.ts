/**
 * The suite is worth something: backends that are right in everything but one thing turn it red, each in a test that names the
 * law it breaks, while the same wrapper around nothing broken stays green.
 */
import { type BackendFixture, testConcurrency, testConformance, testCrash } from '@loopstate/conformance';
import { createMemoryStore, LAWS, type MemoryStore, OutcomeUnknownError, openMemoryBackend, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { type Canary, wrap } from './canaries/canary.js';
import { commitCanaries } from './canaries/commit-canaries.js';
import { otherCanaries } from './canaries/other-canaries.js';
import { runSuite, type SuiteOutcome } from './canaries/run-suite.js';
import { memoryFixture } from './fixtures/memory.js';
import { createServedFixture, openPlace } from './fixtures/served.js';

const canaries: readonly Canary[] = [...commitCanaries, ...otherCanaries];
const table: string[] = [];

describe('canaries', () => {
  after(() => console.log(`\n    canary × law × tests that caught it\n${table.map((row) => `    ${row}`).join('\n')}`));

  it('the wrapper of the canaries, with nothing broken, is green', async () => {
    const fixture = createCanaryFixture({ name: 'sound', breaks: 'commit/shape', replace: () => ({}) });
    const { passed, failures } = await runSuite(() => {
      testConformance(fixture);
      testConcurrency(fixture);
    });
    expect(failures).to.deep.equal([]);
    expect(passed).to.be.greaterThan(100);
  });

  it('a store that takes its time is waited for, longer than mocha would by itself', async () => {
    const fixture = createCanaryFixture({
      name: 'slow',
      breaks: 'commit/shape',
      replace: (inner) => ({
        async commit(commit) {
          await new Promise((resolve) => setTimeout(resolve, 10));
          return await inner.commit(commit);
        },
      }),
    });
    const outcome = await runSuite(() => testConformance(fixture), { only: /a put needs no check/, timeoutMs: 20 });
    expect(outcome).to.deep.equal({ passed: 1, failures: [] });
  });

  it('there is a canary for every law', () => {
    expect(new Set(canaries.map((canary) => canary.breaks))).to.deep.equal(new Set(Object.keys(LAWS)));
  });

  for (const canary of canaries) {
    it(`${canary.breaks}: one that ${canary.name} is caught`, async () => {
      const outcome = await runSuite(() => testConformance(createCanaryFixture(canary)));
      expectCaught(outcome, canary);
    });
  }

  for (const beginning of ['judges the checks', 'guards only what it writes']) {
    it(`commit/check-now: one that ${beginning} is caught by contention alone`, async () => {
      const canary = canaries.find(({ name }) => name.startsWith(beginning));
      if (canary === undefined) throw new Error('The canary is gone.');
      expectCaught(await runSuite(() => testConcurrency(createCanaryFixture(canary))), { ...canary, name: `${canary.name} (contention)` });
    });
  }

  it('close/final: one that keeps its process alive is caught', async function () {
    this.timeout(60_000);
    const fixture = { ...memoryFixture, opener: import.meta.resolve('./canaries/restless.js') };
    const outcome = await runSuite(() => testConformance(fixture), { only: /\(child process\)/, timeoutMs: 50_000 });
    expectCaught(outcome, { name: 'keeps its process alive', breaks: 'close/final' });
  });

  for (const [module, name, breaks, only] of [
    ['hasty', 'acknowledges before it sends (killed)', 'commit/acked-survives', /8 in flight, synced/],
    ['hasty', 'acknowledges before it sends (killed at failpoints)', 'commit/acked-survives', /each durable step/],
    ['halving', 'sends a commit in two halves (killed)', 'commit/all-or-nothing', /8 in flight, synced/],
  ] as const) {
    it(`${breaks}: one that ${name} is caught`, async function () {
      this.timeout(60_000);
      const fixture = createServedFixture(undefined, import.meta.resolve(`./canaries/${module}.js`));
      const outcome = await runSuite(() => testCrash(fixture), { only, timeoutMs: 50_000 });
      expectCaught(outcome, { name, breaks });
    });
  }

  it('changes/no-gap: one that passes over what was deleted before a crash is caught', async function () {
    this.timeout(60_000);
    const fixture = createServedFixture(openPassingOver);
    const outcome = await runSuite(() => testCrash(fixture), { only: /8 in flight, synced/, timeoutMs: 50_000 });
    expectCaught(outcome, { name: 'passes over what was deleted before a crash (killed)', breaks: 'changes/no-gap' });
  });

  for (const repeats of [false, true]) {
    const name = repeats ? 'sends a commit again by itself when its reply was lost (network)' : 'loses replies, and says so (network)';
    it(`commit/three-answers: one that ${name} is ${repeats ? 'caught' : 'green'}`, async () => {
      const outcome = await runSuite(() => testConcurrency(createForgetfulFixture({ repeats })), { only: /network fails/ });
      if (repeats) expectCaught(outcome, { name, breaks: 'commit/three-answers' });
      else expect(outcome).to.deep.equal({ passed: 1, failures: [] });
    });
  }

  it('commit/check-now: one that records outcomes whoever holds the claim (shared loop) is caught', async function () {
    this.timeout(60_000);
    const fixture = createServedFixture(undefined, import.meta.resolve('./canaries/fenceless.js'));
    const outcome = await runSuite(() => testConcurrency(fixture), { only: /workers share/, timeoutMs: 50_000 });
    expectCaught(outcome, { name: 'records outcomes whoever holds the claim (shared loop)', breaks: 'commit/check-now' });
    expect(outcome.failures[0]?.message).to.match(/once-recorded|fenced/);
  });
});

function expectCaught({ failures }: SuiteOutcome, { name, breaks }: Pick<Canary, 'name' | 'breaks'>): void {
  const caught = failures.filter(({ title, message }) => title.includes(breaks) || message.includes(breaks));
  table.push(`${name.padEnd(64)} ${breaks.padEnd(27)} ${caught.length} of ${failures.length} red`);
  expect(caught, `red tests of ${breaks}; red are ${failures.map(({ title }) => title).join('; ')}`).not.to.deep.equal([]);
}

function createCanaryFixture(canary: Canary): BackendFixture {
  const stores = new Map<string, MemoryStore>();
  return {
    ...memoryFixture,
    name: canary.name,
    async createPlace() {
      const url = `canary:${stores.size}`;
      stores.set(url, createMemoryStore());
      return { url, remove: async () => {} };
    },
    async open(url) {
      const store = stores.get(url) ?? createMemoryStore();
      const inner = openMemoryBackend({ store });
      return wrap(inner, canary.replace(inner, store));
    },
  };
}

/** Tells nobody of deletions that were made before it was opened. */
async function openPassingOver(url: string): Promise<StateBackend> {
  const inner = await openPlace(url);
  let opened = 0;
  for await (const { revision } of inner.changes(0)) opened = revision;
  return wrap(inner, {
    async *changes(since) {
      for await (const change of inner.changes(since)) if (change.record !== undefined || change.revision > opened) yield change;
    },
  });
}

/** One whose network loses replies for a while; its handles say that they don't know, or else send the commit again, later and unchecked. */
function createForgetfulFixture({ repeats }: { repeats: boolean }): BackendFixture {
  let isLosing = false;
  const fixture = createCanaryFixture({
    name: 'forgetful',
    breaks: 'commit/three-answers',
    replace: (inner) => ({
      async commit(commit) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        const result = await inner.commit(commit);
        if (!isLosing) return result;
        if (repeats) setTimeout(() => void inner.commit({ ...commit, checks: [] }), 5);
        throw new OutcomeUnknownError('The reply was lost.');
      },
    }),
  });
  const disturb = async () => {
    isLosing = true;
    await new Promise((resolve) => setTimeout(resolve, 5));
    isLosing = false;
  };
  return { ...fixture, faults: { network: async (url) => ({ url, disturb, remove: async () => {} }) } };
}
