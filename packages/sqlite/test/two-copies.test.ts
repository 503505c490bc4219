/**
 * Proves that a program with an adapter of its own, and so with another copy of SQLite, does not lose its locks to itself. On two real
 * copies of the add-on, of which the second stands beside the test's database, and with a second process that looks for the locks.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { KeyvSqlite } from '@keyv/sqlite';
import { expect } from 'chai';
import { connectBy, withAttached } from '../src/connection.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { put, recordsOf, refusal, withDirectory } from './stores.js';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));

/** Says `free` if the database can be written to, else the code of the error. */
const TRY_TO_WRITE = `import { KeyvSqlite } from '@keyv/sqlite';
  const database = new KeyvSqlite({ uri: 'sqlite://:memory:' });
  await database.query('ATTACH ? AS store', [process.argv[1]]);
  console.log(await database.query('BEGIN IMMEDIATE').then(() => 'free', (error) => error.code));
  await database.close();`;

/** `KeyvSqlite` on a copy of SQLite of its own, which is put into `directory`. */
async function anotherCopy(directory: string): Promise<typeof KeyvSqlite> {
  const modules = join(directory, 'node_modules');
  const [adapter, require] = [fileURLToPath(import.meta.resolve('@keyv/sqlite')), createRequire(import.meta.url)];
  const driver = dirname(createRequire(fs.realpathSync(adapter)).resolve('sqlite3/package.json'));
  fs.mkdirSync(join(modules, 'sqlite3/build/Release'), { recursive: true });
  for (const part of ['package.json', 'lib', 'build/Release/node_sqlite3.node']) {
    fs.cpSync(join(driver, part), join(modules, 'sqlite3', part), { recursive: true });
  }
  fs.symlinkSync(join(driver, '../bindings'), join(modules, 'bindings'));
  fs.symlinkSync(join(dirname(require.resolve('keyv')), '..'), join(modules, 'keyv'));
  const copy = join(modules, 'adapter.mjs');
  fs.copyFileSync(adapter, copy);
  return ((await import(pathToFileURL(copy).href)) as { KeyvSqlite: typeof KeyvSqlite }).KeyvSqlite;
}

/** What another process is told that tries to write. */
async function writingElsewhere(path: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', TRY_TO_WRITE, '--', path], { cwd: PACKAGE });
  return stdout.trim();
}

describe('sqlite: two copies of SQLite in one process', () => {
  // What makes the connections is the process's: the other tests get back what they had.
  afterEach(() => connectBy(KeyvSqlite));

  it('once-recorded: an adapter that is given and then closed takes no lock away from the state', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const store = await openSqliteBackend(path);
      await put(store, { one: 1 });
      await store.close();
      const Theirs = await anotherCopy(directory);
      const adapter = new Theirs({ uri: `sqlite://${path}` });
      await adapter.set('theirs', 'untouched');
      const again = await openSqliteBackend(adapter);
      await withAttached(path, 'store', async (connection) => {
        await connection.query('BEGIN IMMEDIATE');
        await adapter.close();
        expect(await writingElsewhere(path)).to.equal('SQLITE_BUSY');
        await connection.query('ROLLBACK');
      });
      expect((await recordsOf(again)).size).to.equal(1);
      await again.close();
    }));

  it('an adapter of another copy than that in use is refused, and taken once nothing is open', () =>
    withDirectory(async (directory) => {
      const Theirs = await anotherCopy(directory);
      class Derived extends Theirs {
        constructor(name: string) {
          super({ uri: `sqlite://${join(directory, name)}` });
        }
      }
      const store = await openSqliteBackend(join(directory, 'by-path.db'));
      const adapter = new Derived('theirs.db');
      expect(await refusal(adapter)).to.equal('LOOPSTATE_BAD_OPTION');
      await put(store, { one: 1 });
      await store.close();
      const theirs = await openSqliteBackend(adapter);
      expect(await refusal(new KeyvSqlite({ uri: `sqlite://${join(directory, 'by-path.db')}` }))).to.equal('LOOPSTATE_BAD_OPTION');
      const byPath = await openSqliteBackend(join(directory, 'by-path.db'));
      expect((await recordsOf(byPath)).size).to.equal(1);
      for (const open of [byPath, theirs]) await open.close();
      await adapter.close();
    }));
});
