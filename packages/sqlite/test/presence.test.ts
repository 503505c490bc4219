/** Proves that the first to open a database and the last to close it know that they are, however the steps of others fall between theirs. */
import fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { compactSqlite } from '../src/compact-sqlite.js';
import { StoreNames } from '../src/names.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { openForWriting, USUAL } from '../src/opening.js';
import { Presence } from '../src/presence.js';
import { codeOf, findingsOf, put, refusal, type SeeStatement, withDirectory, withStatementsCaught } from './stores.js';

/** Longer than SQLite itself waits for a lock. */
const HELD_UP_MS = 60;
/** More than two that enter or leave have together. */
const STATEMENTS = 24;
const NOBODY = 65_534;

const nothing = async (): Promise<void> => undefined;

describe('sqlite: presence', () => {
  it('always-starts: of two that enter, one failing as it prepares and held up anywhere, none is present with nothing prepared', async () => {
    await withEachHeldUp(async (names) => {
      let calls = 0;
      let isPrepared = false;
      const enter = async (): Promise<{ presence: Presence; foundPrepared: boolean }> => {
        const whenAlone = async (): Promise<void> => {
          calls++;
          if (calls === 1) throw new Error('it ends while it prepares');
          isPrepared = true;
        };
        const presence = await Presence.enter(names, { whenAlone, whenOthers: nothing });
        return { presence, foundPrepared: isPrepared };
      };
      const [first, second] = await Promise.allSettled([enter(), enter()]);
      for (const entered of [first, second]) {
        if (entered.status === 'rejected') continue;
        expect(entered.value.foundPrepared).to.equal(true);
        await entered.value.presence.leave({ whenLast: nothing, whenOthers: nothing });
      }
      expect(calls).to.equal(2);
    });
  });

  it('LOOPSTATE_UNAVAILABLE: what the name of a lock leads to is neither emptied nor given away', () =>
    withDirectory(async (directory) => {
      const { database, door, presence } = new StoreNames(join(directory, 'state.db'));
      await (await openSqliteBackend(database)).close();
      fs.chmodSync(database, 0o660);
      const other = join(directory, 'other');
      for (const path of [door, presence]) {
        for (const link of [fs.symlinkSync, fs.linkSync]) {
          fs.writeFileSync(other, 'of somebody else', { mode: 0o600 });
          fs.rmSync(path);
          link(other, path);
          expect(await refusal(database)).to.equal('LOOPSTATE_UNAVAILABLE');
          expect([fs.readFileSync(other, 'utf8'), fs.statSync(other).mode & 0o777]).to.deep.equal(['of somebody else', 0o600]);
          fs.rmSync(other);
        }
        fs.rmSync(path);
      }
      await (await openSqliteBackend(database)).close();
    }));

  for (const [damage, bytes] of Object.entries({
    'zeros, as a power cut leaves it': Buffer.alloc(4_096),
    garbage: Buffer.alloc(9_000, 'x'),
  })) {
    it(`always-starts: the file of a lock may hold ${damage}`, () =>
      withDirectory(async (directory) => {
        const { database, door, presence } = new StoreNames(join(directory, 'state.db'));
        const store = await openSqliteBackend(database);
        await put(store, { one: 1 });
        await store.close();
        for (const path of [door, presence]) {
          fs.writeFileSync(path, bytes);
          const again = await openSqliteBackend(database);
          expect(findingsOf(again)).to.deep.equal([]);
          expect((await again.read(['one']))[0]?.value).to.equal(1);
          await again.close();
        }
      }));
  }

  it('always-starts: whoever enters by a door on a full disk is present, and no more once he has left', () =>
    withDirectory(async (directory) => {
      const names = new StoreNames(join(directory, 'state.db'));
      let commits = 0;
      const see: SeeStatement = async (sql, pass) => {
        // The first is that of the presence.
        if (sql === 'COMMIT' && ++commits === 2) throw Object.assign(new Error('It fails.'), { code: 'SQLITE_FULL' });
        return await pass();
      };
      const presence = await withStatementsCaught(see, () => Presence.enter(names, { whenAlone: nothing, whenOthers: nothing }));
      expect(commits).to.equal(2);
      expect(await Presence.ifAlone(names, nothing)).to.equal(false);
      await presence.leave({ whenLast: nothing, whenOthers: nothing });
      expect(await Presence.ifAlone(names, nothing)).to.equal(true);
    }));

  it('always-starts: what root could not repair has locks that its owner may use', () =>
    withDirectory(async (directory) => {
      const { database } = new StoreNames(join(directory, 'state.db'));
      // By its header a database, and nothing behind it.
      await (await openSqliteBackend(database)).close();
      fs.writeFileSync(database, fs.readFileSync(database).fill('x', 100));
      for (const name of fs.readdirSync(directory)) if (name !== 'state.db') fs.rmSync(join(directory, name));
      fs.chmodSync(database, 0o660);
      if (process.geteuid?.() === 0) fs.chownSync(database, NOBODY, NOBODY);
      const { uid, gid, mode } = fs.statSync(database);
      expect(await refusal(database)).to.equal('LOOPSTATE_UNAVAILABLE');
      const names = fs.readdirSync(directory);
      expect(names).to.include.members(['state.db.door', 'state.db.lock']);
      for (const name of names) {
        const stats = fs.statSync(join(directory, name));
        expect([name, stats.uid, stats.gid, stats.mode]).to.deep.equal([name, uid, gid, mode]);
      }
    }));

  it('always-starts: of two that leave, held up anywhere, one is the last', async () => {
    await withEachHeldUp(async (names) => {
      const left: string[] = [];
      const enter = () => Presence.enter(names, { whenAlone: nothing, whenOthers: nothing });
      const present = [await enter(), await enter()];
      const leave = (presence: Presence) =>
        presence.leave({
          whenLast: async () => {
            left.push('last');
          },
          whenOthers: async () => {
            left.push('others');
          },
        });
      await Promise.all(present.map(leave));
      expect(left).to.deep.equal(['others', 'last']);
    });
  });

  for (const file of ['door', 'lock'] as const) {
    it(`once-recorded: who may not write the ${file} does not take itself for alone`, () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'state.db');
        const store = await openSqliteBackend(path);
        await put(store, { one: 1 });
        await withReadOnly(directory, `${path}.${file}`, async () => {
          for (const opening of [openForWriting(new StoreNames(path), { ...USUAL, job: 'a' }), compactSqlite(path)])
            expect(await codeOf(opening)).to.equal('LOOPSTATE_UNAVAILABLE');
          const reader = await openSqliteBackend(path, { access: 'read' });
          expect((await reader.read(['one']))[0]?.value).to.equal(1);
          await reader.close();
        });
        // Nobody has noted that it was closed.
        fs.cpSync(path, `${path}-left`);
        await store.close();
        const left = await openSqliteBackend(`${path}-left`);
        expect(findingsOf(left)).to.deep.equal(['wal-missing']);
        await left.close();
      }));
  }
});

/** Runs `run` as a user that may read one file of a directory, and write all others. */
async function withReadOnly(directory: string, path: string, run: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0;
  for (const name of ['', ...fs.readdirSync(directory)]) if (isRoot) fs.chownSync(join(directory, name), NOBODY, NOBODY);
  fs.chmodSync(path, 0o444);
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    await run();
  } finally {
    if (isRoot) process.seteuid?.(0);
    fs.chmodSync(path, 0o644);
  }
}

/** Runs `run` as often as two processes have statements, each time with another of them held up. */
async function withEachHeldUp(run: (names: StoreNames) => Promise<void>): Promise<void> {
  for (let heldUp = 0; heldUp < STATEMENTS; heldUp++) {
    let statement = 0;
    const see: SeeStatement = async (_sql, pass) => {
      if (statement++ === heldUp) await sleep(HELD_UP_MS);
      return await pass();
    };
    await withDirectory((directory) => withStatementsCaught(see, () => run(new StoreNames(join(directory, 'state.db')))));
  }
}
