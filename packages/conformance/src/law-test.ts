import type { Commit, Law, StateBackend } from '@loopstate/core';
import { AssertionError } from 'chai';
import { after, before, describe, it, type Test } from 'mocha';
import type { BackendFixture } from './fixture.js';
import { show } from './show.js';

/** One empty place, for the length of one test. */
export interface Ground {
  readonly url: string;
  /** Opens one more handle. It is closed after the test, should the test not have done so. */
  open(): Promise<StateBackend>;
}

// A fixture may have to start a server, on a machine that does much else.
const START_TIMEOUT_MS = 120_000;
// Some tests make several hundred calls, one after another, and each may go through a network.
const TEST_TIMEOUT_MS = 60_000;

/** Registers one suite of a fixture, which is started before and stopped after it. */
export function describeSuite(fixture: BackendFixture, name: string, define: () => void): void {
  describe(`${fixture.name}: ${name}`, function () {
    // Whoever set more than that, or no timeout at all, gets it.
    if (this.timeout() > 0) this.timeout(Math.max(this.timeout(), TEST_TIMEOUT_MS));
    before(async function () {
      this.timeout(START_TIMEOUT_MS);
      await fixture.start?.();
    });
    after(async () => fixture.stop?.());
    define();
  });
}

/** Registers a test whose title names its law, so that the laws and the tests can be held against each other. */
export function testLaw(fixture: BackendFixture, law: Law, title: string, body: (ground: Ground) => Promise<void>): Test {
  return it(`${law}: ${title}`, () => onFreshGround(fixture, body));
}

/** Makes a place, lets `body` work on it, and leaves nothing behind, whatever happens. */
export async function onFreshGround<T>(fixture: BackendFixture, body: (ground: Ground) => Promise<T>): Promise<T> {
  const place = await fixture.createPlace();
  const handles: StateBackend[] = [];
  const open = async (): Promise<StateBackend> => {
    const handle = await fixture.open(place.url);
    handles.push(handle);
    return handle;
  };
  try {
    return await body({ url: place.url, open });
  } finally {
    // A handle that fails to close must not hide why the test failed; close/final has tests of its own.
    await Promise.allSettled(handles.map((handle) => handle.close()));
    await place.remove();
  }
}

/** Commits what must succeed; resolves with the revision. */
export async function mustCommit(store: StateBackend, commit: Commit): Promise<number> {
  const result = await store.commit(commit);
  if (result.ok) return result.revision;
  throw new AssertionError(`the commit must succeed, and was refused: ${show(result)}`);
}

/** Commits what must be refused by a check; resolves with the conflicts. */
export async function mustConflict(
  store: StateBackend,
  commit: Commit,
): Promise<Extract<Awaited<ReturnType<StateBackend['commit']>>, { ok: false }>['conflicts']> {
  const result = await store.commit(commit);
  if (!result.ok) return result.conflicts;
  throw new AssertionError(`the commit must be refused, and was made at revision ${result.revision}`);
}
