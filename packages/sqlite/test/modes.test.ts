/**
 * Proves that nobody who may not read a database can read a copy of it, whatever it is made for, and at no moment: each statement is followed
 * by a look at all files, so also at those on their way to another name, under a umask that lets everybody read.
 */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { codeOf, findingsOf, put, withDirectory, withStatementsCaught } from './stores.js';

/** Longer than a store goes without a look at its file. */
const UNSEEN_MS = 550;

/** What is done to a closed store (`older` is its database from before the last commit), and which copy is made of it then. */
const CASES: Record<string, { readonly copy: RegExp; run(path: string): Promise<void> }> = {
  'that is closed': {
    copy: /\.tmp$/,
    async run(path) {
      const store = await openSqliteBackend(path);
      await put(store, { more: 1 });
      await store.close();
    },
  },
  'that is older than its copy': {
    copy: /\.damaged-/,
    async run(path) {
      fs.copyFileSync(join(dirname(path), 'older'), path);
      expect(await foundIn(path)).to.deep.equal(['database-older', 'started-from-backup']);
    },
  },
  'that is damaged, while others may read its copy': {
    copy: /\.tmp$/,
    async run(path) {
      fs.writeFileSync(path, fs.readFileSync(path).fill(0, 4_096, 8_192));
      fs.chmodSync(`${path}.backup`, 0o644);
      expect(await foundIn(path)).to.deep.equal(['database-damaged', 'started-from-backup']);
    },
  },
  'that is removed while it is open': {
    copy: /\.tmp$/,
    async run(path) {
      const store = await openSqliteBackend(path);
      for (const suffix of ['', '-wal', '-shm']) fs.rmSync(`${path}${suffix}`);
      await sleep(UNSEEN_MS);
      expect(await codeOf(put(store, { more: 1 }))).to.equal('LOOPSTATE_WENT_BACKWARDS');
      await store.close();
    },
  },
  'that is removed just before one is due': {
    copy: /\.(tmp|backup)$/,
    async run(path) {
      const store = await openSqliteBackend(path, { now: () => Date.now() + 120_000 });
      await put(store, Object.fromEntries(Array.from({ length: 255 }, (_, index) => [`more/${index}`, 1])));
      for (const suffix of ['', '-wal', '-shm']) fs.rmSync(`${path}${suffix}`);
      // A slow machine may have seen by then that it is gone.
      await put(store, { last: 1 }).catch(() => undefined);
      await store.close();
    },
  },
  'that is replaced while it is open': {
    copy: /\.tmp$/,
    async run(path) {
      const store = await openSqliteBackend(path);
      await put(store, { before: 1 });
      fs.renameSync(join(dirname(path), 'older'), path);
      await sleep(UNSEEN_MS);
      expect(await codeOf(put(store, { more: 1 }))).to.equal('LOOPSTATE_WENT_BACKWARDS');
      await store.close();
    },
  },
};

describe('sqlite: modes', () => {
  for (const [name, { copy, run }] of Object.entries(CASES)) {
    it(`a copy of a database ${name} is never readable for more people than it`, () =>
      withDirectory(async (directory) => {
        const umask = process.umask(0o022);
        try {
          const path = join(directory, 'state.db');
          await committed(path);
          fs.copyFileSync(path, join(directory, 'older'));
          await committed(path);
          const modes = await modesSeen(directory, copy, () => run(path));
          expect([...modes]).to.deep.equal(['600']);
        } finally {
          process.umask(umask);
        }
      }));
  }
});

/** The modes that any file of `directory` whose name matches `copy` has after any statement of `run`. */
async function modesSeen(directory: string, copy: RegExp, run: () => Promise<void>): Promise<Set<string>> {
  const modes = new Set<string>();
  const look = (): void => {
    for (const name of fs.readdirSync(directory)) {
      if (copy.test(name)) modes.add((fs.statSync(join(directory, name)).mode & 0o777).toString(8));
    }
  };
  await withStatementsCaught(async (_, pass) => await pass().finally(look), run);
  look();
  return modes;
}

async function committed(path: string): Promise<void> {
  const store = await openSqliteBackend(path);
  for (let count = 0; count < 40; count++) await put(store, { [`item/${count}`]: `${count} `.repeat(100) });
  await store.close();
}

async function foundIn(path: string): Promise<string[]> {
  const store = await openSqliteBackend(path);
  await store.close();
  return findingsOf(store);
}
