/**
 * Proves what opening does with the place and the words it is given: what it makes, shares, sets, and refuses untouched. On real files.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyvSqlite } from '@keyv/sqlite';
import { expect } from 'chai';
import { openAttached, type SqlConnection, withAttached } from '../src/connection.js';
import { updateFileHeader } from '../src/headers.js';
import { StoreNames } from '../src/names.js';
import { openSqliteBackend, type SqliteBackendOptions } from '../src/open-sqlite-backend.js';
import { openForWriting, setUp, USUAL } from '../src/opening.js';
import { isBusy } from '../src/trouble.js';
import {
  codeOf,
  contentOf,
  findingsOf,
  put,
  recordsOf,
  refusal,
  type SeeStatement,
  withDirectory,
  withStatementsCaught,
} from './stores.js';

const NFS = 0x6969;
const TMPFS = 0x01021994;
const NOBODY = 65_534;

/** Which files root finds. */
const LEFT_TO_ROOT: Record<string, (name: string) => boolean> = {
  'nothing is missing': () => true,
  'all but the copy is gone': (name) => name.endsWith('.backup'),
  'all but the database is gone': (name) => name === 'state.db',
};

async function made(path: string): Promise<void> {
  const store = await openSqliteBackend(path);
  await put(store, { kept: 1 });
  await store.close();
}

/** Runs `run`, in which the `nth` statement fails, whatever it is, where the driver hands it to SQLite. */
async function failingAt<T>(nth: number, run: () => Promise<T>): Promise<T> {
  const { prototype } = createRequire(import.meta.resolve('@keyv/sqlite'))('sqlite3').Database as { prototype: Driver };
  const { all } = prototype;
  let count = 0;
  prototype.all = function (...args) {
    count++;
    if (count === nth) queueMicrotask(() => (args.at(-1) as Done)(Object.assign(new Error('It fails.'), { code: 'SQLITE_IOERR' })));
    else all.apply(this, args);
  };
  try {
    return await run();
  } finally {
    prototype.all = all;
  }
}

type Done = (error: unknown, rows?: unknown) => void;

interface Driver {
  all(...args: unknown[]): void;
}

describe('sqlite: opening', () => {
  it('makes missing directories, and a database that only its owner can use, or whoever may write it later', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b', 'state.db');
      await made(path);
      for (const mode of ['600', '660']) {
        for (const name of fs.readdirSync(dirname(path))) {
          expect((fs.statSync(join(dirname(path), name)).mode & 0o777).toString(8), name).to.equal(mode);
        }
        fs.chmodSync(path, 0o660);
        await made(path);
      }
    }));

  it('sets what commits rely on, on each connection', () =>
    withDirectory(async (directory) => {
      const names = new StoreNames(join(directory, 'state.db'));
      const surroundings = { ...USUAL, job: 'a' };
      const both = [await openForWriting(names, surroundings), await openForWriting(names, surroundings)];
      for (const { connection } of both) {
        expect(await connection.query('PRAGMA store.journal_mode')).to.deep.equal([{ journal_mode: 'wal' }]);
        expect(await connection.query('PRAGMA store.synchronous')).to.deep.equal([{ synchronous: 2 }]);
        expect(await connection.query('PRAGMA wal_autocheckpoint')).to.deep.equal([{ wal_autocheckpoint: 0 }]);
        expect(await connection.query('PRAGMA busy_timeout')).to.deep.equal([{ timeout: 40 }]);
      }
      for (const { close } of both) await close();
    }));

  it('always-starts: the first opening may end at whichever statement, and the next one makes the store', async () => {
    let opened = false;
    let interrupted = 0;
    while (!opened) {
      await withDirectory(async (directory) => {
        const path = join(directory, 'state.db');
        opened = (await failingAt(interrupted + 1, () => refusal(path))) === 'opened';
        if (!opened) interrupted++;
        const store = await openSqliteBackend(path);
        expect(store.recovery.filter(({ severity }) => severity === 'loss')).to.deep.equal([]);
        expect(await put(store, { kept: 1 })).to.be.greaterThan(0);
        await store.close();
      });
    }
    expect(interrupted, 'statements at which it ended').to.be.greaterThan(15);
  });

  for (const pragma of ['store.journal_mode', 'store.synchronous']) {
    it(`refuses when ${pragma} does not take`, () =>
      withDirectory(async (directory) => {
        const names = new StoreNames(join(directory, 'state.db'));
        const connection = await openAttached(names.database, 'store');
        const deaf: SqlConnection = {
          ...connection,
          query: async (sql, parameters) => (sql.startsWith(`PRAGMA ${pragma} =`) ? [] : connection.query(sql, parameters)),
        };
        if (pragma === 'store.synchronous') await connection.query('PRAGMA store.synchronous = NORMAL');
        expect(await codeOf(setUp(deaf, names, { busyTimeoutMs: 0 }))).to.equal('LOOPSTATE_UNAVAILABLE');
        await connection.close();
      }));
  }

  const places: Record<string, { code: string; make(path: string): void | Promise<void>; options?: SqliteBackendOptions }> = {
    'a file that is no database': { code: 'LOOPSTATE_FOREIGN', make: (path) => fs.writeFileSync(path, 'Dear diary, '.repeat(500)) },
    'a short file that is no database': { code: 'LOOPSTATE_FOREIGN', make: (path) => fs.writeFileSync(path, '{}') },
    'a directory': { code: 'LOOPSTATE_BAD_OPTION', make: (path) => fs.mkdirSync(path) },
    'a table of our name that is not ours': {
      code: 'LOOPSTATE_FOREIGN',
      make: (path) => withAttached(path, 'store', async (db) => void (await db.query('CREATE TABLE store.loopstate_records (a)'))),
    },
    'a network file system': {
      code: 'LOOPSTATE_BAD_OPTION',
      make: () => undefined,
      options: { fileSystemType: async () => NFS },
    },
    'a newer format': {
      code: 'LOOPSTATE_NEWER_FORMAT',
      async make(path) {
        await made(path);
        const header = { format: 2, store: 'of the future', isOpen: false, untold: [] };
        await withAttached(path, 'store', (db) => updateFileHeader(db, header));
      },
    },
  };
  for (const [name, { code, make, options = {} }] of Object.entries(places)) {
    it(`refuses ${name}, and leaves it as it is`, () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'state.db');
        await make(path);
        fs.rmSync(`${path}.lock`, { force: true });
        const content = fs.existsSync(path) && fs.statSync(path).isDirectory() ? [] : contentOf(directory);
        expect(await refusal(path, options)).to.equal(code);
        expect(await refusal(path, { ...options, access: 'read' })).to.equal(code);
        if (!Array.isArray(content)) expect(contentOf(directory)).to.deep.equal(content);
      }));
  }

  it('refuses a place that cannot be written', async () => {
    expect(await refusal('/sys/loopstate/state.db')).to.equal('LOOPSTATE_UNAVAILABLE');
  });

  it('refuses words that it does not know, and writes nothing', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const words: Parameters<typeof openSqliteBackend>[0][] = [
        `sqlite:${path}?mode=ro`,
        `sqlite:${path}?job=a&job=b`,
        `sqlite:${path}?job=`,
        `sqlite:${path}?job=a%0Ab`,
        `sqlite:${path}#part`,
        `sqlite:${path}%zz`,
        'sqlite:',
        'sqlite::memory:',
        { path, job: 'x'.repeat(257) },
        { path, table: 'mine' } as { path: string },
        new KeyvSqlite(),
      ];
      for (const target of words) expect(await refusal(target), JSON.stringify(target)).to.equal('LOOPSTATE_BAD_OPTION');
      expect(await refusal(path, { access: 'rw' as 'read' })).to.equal('LOOPSTATE_BAD_OPTION');
      expect(fs.readdirSync(directory)).to.deep.equal([]);
    }));

  it('takes a path, a URL, a location and an adapter for the same store', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'a b?.db');
      const escaped = path.replace(' ', '%20').replace('?', '%3F');
      const adapter = new KeyvSqlite({ uri: `sqlite://${path}` });
      await adapter.set('theirs', 'untouched');
      const stores = [];
      for (const target of [path, `sqlite:${escaped}`, `sqlite://${escaped}?job=default`, { path }, adapter]) {
        stores.push(await openSqliteBackend(target));
      }
      await put(stores[0]!, { shared: 7 });
      for (const store of stores) expect((await store.read(['shared']))[0]?.value).to.equal(7);
      for (const store of stores) await store.close();
      // Their connection goes on, with their table.
      expect(await adapter.get('theirs')).to.equal('untouched');
      await adapter.close();
    }));

  it('once-recorded: a symlink leads to the same store, by whichever other one its directory is named', () =>
    withDirectory(async (directory) => {
      fs.mkdirSync(join(directory, 'a', 'b'), { recursive: true });
      fs.symlinkSync(join('a', 'b'), join(directory, 'short'));
      fs.symlinkSync(join('..', 'target.db'), join(directory, 'a', 'b', 'state.db'));
      await made(join(directory, 'a', 'b', 'state.db'));
      const store = await openSqliteBackend(join(directory, 'short', 'state.db'));
      expect((await recordsOf(store)).size).to.equal(1);
      await store.close();
    }));

  it('keeps several jobs of a file apart', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const [one, two] = [await openSqliteBackend(`sqlite:${path}?job=one`), await openSqliteBackend(`sqlite:${path}?job=two`)];
      await put(one!, { same: 'of one', own: 1 });
      await put(two!, { same: 'of two' });
      expect([...(await recordsOf(one!)).values()].map(({ value }) => value)).to.have.members(['of one', 1]);
      expect([...(await recordsOf(two!)).values()].map(({ value }) => value)).to.deep.equal(['of two']);
      // A job that rests is not told of the other's commits, nor does it miss its own after them.
      const cursor = (await two!.read(['same']))[0]!.revision;
      for (let count = 0; count < 5; count++) {
        await put(one!, { busy: count });
        for await (const change of two!.changes(cursor)) expect(change).to.equal('no change');
      }
      await put(two!, { late: 1 });
      const keys = [];
      for await (const { key } of two!.changes(cursor)) keys.push(key);
      expect(keys).to.deep.equal(['late']);
      await one!.close();
      await two!.close();
    }));

  it('reads beside a writer, makes nothing and writes nothing', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      expect(await refusal(path, { access: 'read' })).to.equal('LOOPSTATE_ABSENT');
      expect(fs.readdirSync(directory)).to.deep.equal([]);
      const writer = await openSqliteBackend(path);
      await put(writer, { one: 1 });
      expect(await refusal({ path, job: 'none' }, { access: 'read' })).to.equal('LOOPSTATE_ABSENT');
      const reader = await openSqliteBackend(path, { access: 'read' });
      expect((await reader.read(['one']))[0]?.value).to.equal(1);
      expect(await codeOf(reader.commit({ puts: [{ key: 'two', value: 2 }] }))).to.equal('LOOPSTATE_READ_ONLY');
      await put(writer, { two: 2 });
      expect([...(await recordsOf(reader)).keys()]).to.deep.equal(['one', 'two']);
      await writer.close();
      await reader.close();
    }));

  it('always-starts: who closes it last waits for another program that writes to it, and nobody is alarmed', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const store = await openSqliteBackend(path);
      await put(store, { one: 1 });
      const other = await openAttached(path, 'store');
      await other.query('BEGIN IMMEDIATE');
      await other.query('CREATE TABLE store.of_another (a)');
      const closed = store.close();
      await sleep(300);
      await other.query('COMMIT');
      await closed;
      await other.close();
      expect(findingsOf(store)).to.deep.equal([]);
      const again = await openSqliteBackend(path);
      expect(findingsOf(again)).to.deep.equal([]);
      await again.close();
    }));

  it('always-starts: who is killed as it opens, at whichever statement, while the other closes, leaves nothing that alarms the next', async () => {
    let isReached = true;
    for (let nth = 1; isReached; nth++) {
      isReached = false;
      await withDirectory(async (directory) => {
        const [here, left] = [join(directory, 'here'), join(directory, 'left')];
        const first = await openSqliteBackend(join(here, 'state.db'));
        await put(first, { one: 1 });
        let closing: Promise<void> | undefined;
        let count = 0;
        let refused = '';
        let tellWaiting: (() => void) | undefined;
        const see: SeeStatement = async (sql, pass) => {
          if (closing === undefined && ++count === nth) {
            isReached = true;
            const waiting = new Promise<void>((resolve) => {
              tellWaiting = resolve;
            });
            closing = first.close();
            // Whoever waits for the one that is held up here, or has closed, changes no file while they are copied.
            await Promise.race([closing, waiting]);
            fs.cpSync(here, left, { recursive: true });
          }
          return await pass().catch((error) => {
            // Refused once, a statement may be a question; whoever sends it again waits.
            if (isBusy(error) && sql === refused) tellWaiting?.();
            refused = sql;
            throw error;
          });
        };
        const second = await withStatementsCaught(see, () => openSqliteBackend(join(here, 'state.db')));
        await (closing ?? first.close());
        await second.close();
        if (!isReached) return;
        const next = await openSqliteBackend(join(left, 'state.db'));
        expect(findingsOf(next), `statement ${nth}`).to.deep.equal([]);
        expect([...(await recordsOf(next)).keys()]).to.deep.equal(['one']);
        await next.close();
      });
    }
  });

  // As another user than root it proves less: there is nobody then to whom the files could be lost.
  for (const [left, isLeft] of Object.entries(LEFT_TO_ROOT)) {
    it(`always-starts: a state that root has used belongs to its owner still, where ${left}`, () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'state.db');
        await made(path);
        for (const name of fs.readdirSync(directory)) {
          if (!isLeft(name)) fs.rmSync(join(directory, name));
          else if (process.geteuid?.() === 0) fs.chownSync(join(directory, name), NOBODY, NOBODY);
        }
        const { uid, gid } = fs.statSync(join(directory, fs.readdirSync(directory)[0] ?? ''));
        const store = await openSqliteBackend(path);
        await put(store, { more: 1 });
        await store.close();
        for (const name of fs.readdirSync(directory)) {
          const stats = fs.statSync(join(directory, name));
          expect([name, stats.uid, stats.gid]).to.deep.equal([name, uid, gid]);
        }
      }));
  }

  it('claims no more than the file system keeps', () =>
    withDirectory(async (directory) => {
      const store = await openSqliteBackend(join(directory, 'state.db'), { fileSystemType: async () => TMPFS });
      expect(store.traits).to.deep.equal({ name: 'sqlite', survives: 'process-crash', reach: 'host' });
      expect(findingsOf(store)).to.deep.equal([]);
      await store.close();
    }));
});
