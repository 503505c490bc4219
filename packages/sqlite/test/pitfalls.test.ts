/**
 * Pins what KeyvSqlite and its driver do where this backend depends on it, or on staying clear of it: a new release that behaves
 * otherwise turns one of these red.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { KeyvSqlite } from '@keyv/sqlite';
import { expect } from 'chai';
import { openConnection, withAttached } from '../src/connection.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { put, withDirectory } from './stores.js';

describe('sqlite: pitfalls of the adapter', () => {
  it('it makes its table at once, in the file it is given: ours never gets one', () =>
    withDirectory(async (directory) => {
      const [theirs, ours] = [join(directory, 'theirs.db'), join(directory, 'ours.db')];
      const adapter = new KeyvSqlite({ uri: `sqlite://${theirs}` });
      expect(await adapter.query('SELECT name FROM sqlite_schema WHERE type = ?', 'table')).to.deep.equal([{ name: 'keyv' }]);
      await adapter.close();
      const store = await openSqliteBackend(ours);
      await put(store, { one: 1 });
      await store.close();
      const tables = await withAttached(ours, 'store', (db) => db.query("SELECT name FROM store.sqlite_schema WHERE type = 'table'"));
      expect(tables).to.deep.equal([{ name: 'loopstate_records' }]);
    }));

  it('it runs only the first statement of a string', async () => {
    const connection = await openConnection();
    await connection.query('BEGIN; COMMIT');
    let isOpen = false;
    await connection.query('BEGIN').catch(() => {
      isOpen = true;
    });
    expect(isOpen, 'the transaction is still open').to.equal(true);
    await connection.close();
  });

  it('it sets neither WAL nor FULL on what is attached', () =>
    withDirectory(async (directory) => {
      await withAttached(join(directory, 'a.db'), 'store', async (connection) => {
        expect(await connection.query('PRAGMA store.journal_mode')).to.deep.equal([{ journal_mode: 'delete' }]);
      });
    }));

  it('a path that cannot be opened rejects, and ends no process', async () => {
    const failed = await withAttached('/nowhere/at/all.db', 'store', async () => 'opened').catch((error: { code: string }) => error.code);
    expect(failed).to.equal('SQLITE_CANTOPEN');
  });

  it('a path is never parsed', () =>
    withDirectory(async (directory) => {
      for (const name of ['sqlite://a.db', 'file:b.db?mode=memory', "c'; DROP TABLE x; --.db", 'd?job=e.db']) {
        const path = join(directory, ...name.split('/').filter((part) => part !== ''));
        const store = await openSqliteBackend({ path });
        await put(store, { one: 1 });
        await store.close();
        expect(fs.statSync(path).size, name).to.be.greaterThan(0);
      }
    }));

  it('whole numbers beyond 32 bits come back exact, and text with what SQLite cuts at', async () => {
    const connection = await openConnection();
    const number = 8_000_000_000_001 * 1_024;
    const rows = await connection.query('SELECT CAST(?1 AS INTEGER) AS number, ?2 AS text', [number, 'a\u0001b']);
    expect(rows).to.deep.equal([{ number, text: 'a\u0001b' }]);
    await connection.close();
  });
});
