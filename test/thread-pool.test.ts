/**
 * Work on files whose wake-up was lost can not be made at will, so this proves the remedy only: that there is other work, each second,
 * while a store is open, and none for its sake afterwards.
 */
import fs from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StateBackend } from '@loopstate/core';
import { openFileBackend } from '@loopstate/file';
import { openSqliteBackend } from '@loopstate/sqlite';
import { expect } from 'chai';

const A_PERIOD_MS = 1_200;

describe('The pool of threads that works on files', () => {
  let folder = '';
  const original = fs.stat;
  let calls = 0;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'loopstate-pool-'));
    fs.stat = ((...args: Parameters<typeof original>) => {
      calls += 1;
      original(...args);
    }) as typeof original;
    syncBuiltinESMExports();
  });
  afterEach(async () => {
    fs.stat = original;
    syncBuiltinESMExports();
    await rm(folder, { recursive: true });
  });

  const callsWithin = async (ms: number): Promise<number> => {
    const before = calls;
    await sleep(ms);
    return calls - before;
  };

  const OPEN: readonly [string, () => Promise<StateBackend>][] = [
    ['file', () => openFileBackend(join(folder, 'state.json'))],
    ['sqlite', () => openSqliteBackend(join(folder, 'state.db'))],
  ];
  for (const [name, open] of OPEN) {
    it(`always-starts: it is given work each second while a store is open, and not after: ${name}`, async () => {
      const store = await open();
      const other = await open();
      await other.close();
      await other.close();
      expect(await callsWithin(A_PERIOD_MS), 'while one is open').to.be.greaterThan(0);
      await store.close();
      expect(await callsWithin(A_PERIOD_MS), 'after the last was closed').to.equal(0);
    });
  }
});
