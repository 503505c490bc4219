/**
 * Proves when a copy is written beside the commits, and that its time is right: what is told of a repair says up to when the copy holds
 * everything. Copies are asked for as the backend does after many commits, under clocks that the tests set.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { BackupKeeper, isBackupBehind, writeBackup } from '../src/backup.js';
import { StoreNames } from '../src/names.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { findingsOf, put, type SeeStatement, withDirectory, withStatementsCaught } from './stores.js';

const COMMITS_ENOUGH = 1_000;
const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

describe('sqlite: the copy', () => {
  it('has the time when it was begun, also the one that is made at closing', () =>
    withDirectory(async (directory) => {
      const [path, closedAt, begunAt] = [join(directory, 'state.db'), Date.now() - 3 * HOUR_MS, Date.now() - 2 * HOUR_MS];
      const store = await openSqliteBackend(path, { now: () => closedAt });
      await put(store, { one: 1 });
      await store.close();
      const { backup } = new StoreNames(path);
      expect(fs.statSync(backup).mtimeMs).to.be.closeTo(closedAt, 1);
      expect(await copiesMade(path, { now: () => begunAt, failing: false, isOld: true })).to.equal(1);
      expect(fs.statSync(backup).mtimeMs).to.be.closeTo(begunAt, 1);
    }));

  it('keeps its time when the next one fails', () =>
    withStore(async (path) => {
      const { backup } = new StoreNames(path);
      const before = fs.statSync(backup).mtimeMs;
      expect(await copiesMade(path, { failing: true, isOld: true })).to.equal(0);
      expect(fs.statSync(backup).mtimeMs).to.equal(before);
    }));

  it('is written where the last one is old, and not where another was just finished or is on its way', () =>
    withStore(async (path) => {
      expect(await copiesMade(path, { isOld: true })).to.equal(1);
      expect(await copiesMade(path, { isOld: false })).to.equal(0);
      expect(await copiesMade(path, { now: () => Date.now() - SECOND_MS }), 'as seen by a clock that is a little behind').to.equal(0);
      fs.rmSync(new StoreNames(path).backup);
      const temporary = new StoreNames(path).temporary();
      fs.writeFileSync(temporary, '');
      expect(await copiesMade(path, { isOld: false })).to.equal(0);
      fs.rmSync(temporary);
      expect(await copiesMade(path, { isOld: false })).to.equal(1);
    }));

  it('acked-survives: is not replaced by one of an older database, or of another store', () =>
    withDirectory(async (directory) => {
      const [path, other] = [join(directory, 'state.db'), join(directory, 'other.db')];
      for (const at of [path, other, path]) {
        const store = await openSqliteBackend(at);
        await put(store, { one: 1 });
        await store.close();
        if (!fs.existsSync(`${path}.older`)) fs.copyFileSync(path, `${path}.older`);
      }
      const names = new StoreNames(path);
      const copy = fs.readFileSync(names.backup);
      for (const replacement of [`${path}.older`, other]) {
        fs.copyFileSync(replacement, path);
        const failed = await writeBackup(names, Date.now()).then(
          () => false,
          () => true,
        );
        expect(failed).to.equal(true);
        expect(await isBackupBehind(names)).to.equal(false);
        expect(fs.readFileSync(names.backup).equals(copy)).to.equal(true);
      }
    }));

  it('commit/one-revision: is written after a repair, so that the next one does not give the same revisions again', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const first = await openSqliteBackend(path);
      await put(first, { one: 1 });
      await first.close();
      const names = new StoreNames(path);
      const lose = (): void => {
        for (const name of fs.readdirSync(directory)) if (join(directory, name) !== names.backup) fs.rmSync(join(directory, name));
      };
      const revisions: number[] = [];
      for (const lost of ['once', 'again']) {
        lose();
        const store = await openSqliteBackend(path);
        const copy = fs.readFileSync(names.backup);
        const result = await store.commit({ puts: [{ key: lost, value: null }] });
        revisions.push(result.ok ? result.revision : 0);
        await store.close();
        // As if it had been killed: what it put into the copy as it closed is not there.
        fs.writeFileSync(names.backup, copy);
      }
      expect(revisions[1]).to.be.greaterThan(revisions[0] ?? 0);
    }));

  it('acked-survives: is written by a start that finds none, so that a store that is killed each time has one', () =>
    withDirectory(async (directory) => {
      const [killed, left] = [new StoreNames(join(directory, 'state.db')), new StoreNames(join(directory, 'left.db'))];
      const first = await openSqliteBackend(killed.database);
      await put(first, { one: 1 });
      // As a kill would leave it.
      fs.copyFileSync(killed.database, left.database);
      fs.copyFileSync(killed.log, left.log);
      await first.close();
      const second = await openSqliteBackend(left.database);
      const copy = fs.existsSync(left.backup) ? fs.readFileSync(left.backup) : undefined;
      await second.close();
      for (const path of [...left.files, left.backup]) fs.rmSync(path, { force: true });
      if (copy !== undefined) fs.writeFileSync(left.backup, copy);
      const third = await openSqliteBackend(left.database);
      expect(findingsOf(third)).to.deep.equal(['database-missing', 'started-from-backup']);
      expect((await third.read(['one']))[0]?.value).to.equal(1);
      await third.close();
    }));

  it('always-starts: a copy that can not be written after a repair keeps nobody from starting, and is told of', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const first = await openSqliteBackend(path);
      await put(first, { one: 1 });
      await first.close();
      fs.rmSync(path);
      const see: SeeStatement = async (sql, pass) => {
        if (sql.startsWith('VACUUM')) throw Object.assign(new Error('SQLITE_FULL'), { code: 'SQLITE_FULL' });
        return await pass();
      };
      const store = await withStatementsCaught(see, () => openSqliteBackend(path));
      expect(findingsOf(store)).to.deep.equal(['database-missing', 'started-from-backup', 'backup-failed']);
      await store.close();
    }));

  it('is written after the clock was put back', () =>
    withStore(async (path) => {
      expect(await copiesMade(path, { now: () => Date.now() - HOUR_MS })).to.equal(1);
    }));
});

/** Runs with the path of a store that is open, and has a copy. */
async function withStore(run: (path: string) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const path = join(directory, 'state.db');
    const store = await openSqliteBackend(path);
    await put(store, { one: 1 });
    await store.close();
    const again = await openSqliteBackend(path);
    await run(path);
    await again.close();
  });
}

/** How many copies are written after many commits; `isOld`: as seen some minutes later. */
async function copiesMade(
  path: string,
  { now = Date.now, isOld = false, failing = false }: { now?: () => number; isOld?: boolean; failing?: boolean },
): Promise<number> {
  let copies = 0;
  const see: SeeStatement = async (sql, pass) => {
    if (!sql.startsWith('VACUUM')) return await pass();
    if (failing) throw Object.assign(new Error('SQLITE_FULL'), { code: 'SQLITE_FULL' });
    copies++;
    return await pass();
  };
  let calls = 0;
  const failures: unknown[] = [];
  await withStatementsCaught(see, async () => {
    const keeper = new BackupKeeper(new StoreNames(path), {
      // The first call asks how old the copy is.
      now: () => (isOld && calls++ === 0 ? Date.now() + 5 * MINUTE_MS : now()),
      onFailure: (error) => failures.push(error),
    });
    keeper.note(COMMITS_ENOUGH);
    await keeper.settle();
  });
  expect(failures).to.have.length(failing ? 1 : 0);
  return copies;
}
