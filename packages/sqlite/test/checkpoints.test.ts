/**
 * Proves that the log of a database does not grow without end, and that nobody can commit while it is taken in: a checkpoint beside commits
 * is what SQLite up to 3.51.2 can lose one by. The statements are caught where the driver hands them to SQLite.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { type SqlConnection, whenFree, withAttached } from '../src/connection.js';
import { isLogAtLeast } from '../src/log-inspection.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { isBusy } from '../src/trouble.js';
import { findingsOf, put, recordsOf, type SeeStatement, withDirectory, withStatementsCaught } from './stores.js';

const MIB = 1_024 * 1_024;
const LARGE = 'x'.repeat(200_000);

describe('sqlite: checkpoints', () => {
  it('acked-survives: the database is written to at checkpoints alone, and nobody can commit during one', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      await (await openSqliteBackend(path)).close();
      await withAttached(path, 'store', async (other) => {
        const seen = { checkpoints: 0, unlocked: 0, writtenBy: [] as string[] };
        let isOpen = false;
        let written = '';
        const see: SeeStatement = async (sql, pass) => {
          if (!isOpen) return await pass();
          const isCheckpoint = sql.includes('wal_checkpoint');
          if (isCheckpoint && !(await isLocked(other))) seen.unlocked++;
          const answer = await pass();
          if (isCheckpoint && !(await isLocked(other))) seen.unlocked++;
          if (isCheckpoint) seen.checkpoints++;
          else if (stampOf(path) !== written) seen.writtenBy.push(sql);
          written = stampOf(path);
          return answer;
        };
        const store = await withStatementsCaught(see, () => openSqliteBackend(path));
        written = stampOf(path);
        isOpen = true;
        await fill(store, 'k', 80);
        expect(seen.checkpoints).to.be.at.least(2);
        expect(seen).to.deep.include({ unlocked: 0, writtenBy: [] });
        expect(fs.statSync(`${path}-wal`).size).to.be.below(8 * MIB);
        isOpen = false;
        await store.close();
      });
    }));

  it('acked-survives: while another holds the lock, or reads, nothing is lost, and the log is taken in later', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      let isHeldUp = true;
      const see: SeeStatement = async (sql, pass) => {
        if (isHeldUp && sql === 'PRAGMA store.wal_checkpoint(PASSIVE)')
          throw Object.assign(new Error('busy, as the test wants it'), { code: 'SQLITE_BUSY' });
        return await pass();
      };
      const store = await withStatementsCaught(see, () => openSqliteBackend(path, { logBytesMax: MIB }));
      await fill(store, 'busy', 10);
      expect(await isLogAtLeast(`${path}-wal`, 1.5 * MIB)).to.equal(true);
      isHeldUp = false;
      await withAttached(path, 'store', async (other) => {
        await other.query('BEGIN');
        await other.query('SELECT count(*) FROM store.loopstate_records');
        await fill(store, 'read', 10);
        expect(await isLogAtLeast(`${path}-wal`, 3.5 * MIB), 'what a reader still needs stays').to.equal(true);
        await other.query('COMMIT');
      });
      await fill(store, 'free', 10);
      expect(await isLogAtLeast(`${path}-wal`, 3 * MIB)).to.equal(false);
      expect(await recordsOf(store)).to.have.property('size', 30);
      await store.close();
    }));

  it('flat-cost: beside one that rests, many that write little do not let the log grow', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const resting = await openSqliteBackend(path);
      for (let n = 0; n < 12; n++) {
        const store = await openSqliteBackend(path, { logBytesMax: MIB });
        await put(store, { [`k${n}`]: LARGE });
        await store.close();
      }
      expect(fs.statSync(`${path}-wal`).size).to.be.below(1.6 * MIB);
      expect(await recordsOf(resting)).to.have.property('size', 12);
      await resting.close();
    }));

  it('acked-survives: who is killed in between leaves a store with all that was acknowledged', () =>
    withDirectory(async (directory) => {
      const source = join(directory, 'source');
      fs.mkdirSync(source);
      const left: { path: string; records: number }[] = [];
      let records = 0;
      const leave = () => {
        const copy = join(directory, `left ${left.length}`);
        fs.cpSync(source, copy, { recursive: true });
        left.push({ path: join(copy, 'state.db'), records });
      };
      const see: SeeStatement = async (sql, pass) => {
        const isOfCheckpoint = records > 0 && /^(BEGIN IMMEDIATE|PRAGMA store.wal_checkpoint|ROLLBACK)/.test(sql);
        if (isOfCheckpoint) leave();
        const answer = await pass();
        if (isOfCheckpoint) leave();
        return answer;
      };
      const store = await withStatementsCaught(see, () => openSqliteBackend(join(source, 'state.db'), { logBytesMax: MIB }));
      for (; records < 16; records++) await put(store, { [`k${records}`]: LARGE });
      await store.close();
      expect(left.length).to.be.at.least(12);
      for (const { path, records: expected } of left) {
        const again = await openSqliteBackend(path);
        expect(findingsOf(again)).to.deep.equal([]);
        expect((await recordsOf(again)).size).to.be.within(expected, expected + 1);
        await again.close();
      }
    }));

  it('a log tells how long it is, also when it was begun anew', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      expect(await isLogAtLeast(`${path}-wal`, 1)).to.equal(false);
      const store = await openSqliteBackend(path, { logBytesMax: Number.POSITIVE_INFINITY });
      await fill(store, 'first', 8);
      const { size } = fs.statSync(`${path}-wal`);
      expect(await isLogAtLeast(`${path}-wal`, size)).to.equal(true);
      expect(await isLogAtLeast(`${path}-wal`, size + 1)).to.equal(false);
      await withAttached(path, 'store', (other) => whenFree(1_000, () => other.query('PRAGMA store.wal_checkpoint(PASSIVE)')));
      await put(store, { small: 1 });
      expect(fs.statSync(`${path}-wal`).size, 'the file does not shrink').to.equal(size);
      expect(await isLogAtLeast(`${path}-wal`, 1)).to.equal(true);
      expect(await isLogAtLeast(`${path}-wal`, 100_000)).to.equal(false);
      await store.close();
    }));
});

/** Whether nobody else can commit now. */
async function isLocked(other: SqlConnection): Promise<boolean> {
  try {
    await other.query('BEGIN IMMEDIATE');
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  }
  await other.query('ROLLBACK');
  return false;
}

async function fill(store: StateBackend, prefix: string, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await put(store, { [`${prefix}${n}`]: LARGE });
}

/** Changes whenever the database itself is written to. */
function stampOf(path: string): string {
  const { size, mtimeNs } = fs.statSync(path, { bigint: true });
  return `${size} ${mtimeNs}`;
}
