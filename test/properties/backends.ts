/** The backends that properties are held against, each on real parts; a store of its own for every input. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackendFixture } from '@loopstate/conformance';
import type { StateBackend } from '@loopstate/core';
import { openFileBackend } from '@loopstate/file';
import { memoryFixture } from '../fixtures/memory.js';
import { createRedisFixture } from '../fixtures/redis.js';
import { sqliteFixture } from '../fixtures/sqlite.js';

/** The file compacts every few commits, so that snapshots, and what was forgotten, take part. */
const restlessFile: BackendFixture = {
  name: 'file',
  traits: { name: 'file', survives: 'power-loss', reach: 'process' },
  opener: import.meta.url,
  async createPlace() {
    const directory = await mkdtemp(join(tmpdir(), 'loopstate-place-'));
    return { url: join(directory, 'state.json'), remove: () => rm(directory, { recursive: true, force: true }) };
  },
  open: (url) => openFileBackend(url, { compactAtBytes: 1_000, journalSpaceBytes: 400 }),
};

const fixtures: readonly BackendFixture[] = [memoryFixture, restlessFile, sqliteFixture, createRedisFixture()];

/** Adds tests for each backend, with how many inputs it gets: what costs more gets fewer. */
export function forEachBackend(
  what: string,
  cases: Readonly<Record<'memory' | 'file' | 'sqlite' | 'redis', number>>,
  addTests: (backend: { readonly fixture: BackendFixture; readonly cases: number }) => void,
): void {
  for (const fixture of fixtures) {
    describe(`${what}: ${fixture.name}`, () => {
      before(async function () {
        this.timeout(120_000);
        if (fixture.traits.reach === 'network') await fixture.start?.();
      });
      after(() => fixture.stop?.());
      addTests({ fixture, cases: cases[fixture.name as keyof typeof cases] });
    });
  }
}

/** Runs with a new store; every handle that `open` made is closed, and the store removed, however that ends. */
export async function withStore(fixture: BackendFixture, run: (open: () => Promise<StateBackend>) => Promise<void>): Promise<void> {
  const place = await fixture.createPlace();
  const handles: StateBackend[] = [];
  try {
    await run(async () => {
      const handle = await fixture.open(place.url);
      handles.push(handle);
      return handle;
    });
  } finally {
    await Promise.all(handles.map((handle) => handle.close()));
    await place.remove();
  }
}
