/**
 * `loopstate doctor` names what is wrong with a state in SQLite, changes nothing (neither the database nor its log), and repairs it when
 * asked, without losing what was acknowledged. Each case makes a state, breaks it in one way, and has the program look at it twice.
 */
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KeyvSqlite } from '@keyv/sqlite';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { freshDirectories } from './support/cli.js';
import { doctor, gravityOf, idsOf, startHolder, treeOf } from './support/doctor.js';
import { proveEach } from './support/prove-each.js';

const COUNT = 60;
const PAGE_BYTES = 4_096;
const TEXT = 'what an item has become '.repeat(10);

async function makeClosed(path: string): Promise<void> {
  const state = await LoopState.open(`sqlite:${path}`);
  await complete(state, 'item', COUNT);
  await state.close();
}

/** What a machine that stopped would leave. */
async function makeLeft(path: string): Promise<void> {
  const live = join(path, '..', 'live');
  mkdirSync(live);
  const state = await LoopState.open(`sqlite:${join(live, 'state.db')}`);
  await complete(state, 'item', COUNT);
  for (const name of readdirSync(live)) cpSync(join(live, name), join(path, '..', name));
  await state.close();
  rmSync(live, { recursive: true });
}

async function complete(state: LoopState, prefix: string, count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    await state.begin(`${prefix}-${n}`);
    await state.end(`${prefix}-${n}`, { status: 'success', output: `${n} ${TEXT}` });
  }
}

async function sql(path: string, ...statements: readonly string[]): Promise<void> {
  const database = new KeyvSqlite({ uri: 'sqlite://:memory:' });
  database.on('error', () => undefined);
  await database.query('ATTACH ? AS store', [path]);
  for (const statement of statements) await database.query(statement);
  await database.close();
}

function overwrite(path: string, position: number, bytes: Buffer): void {
  const all = readFileSync(path);
  bytes.copy(all, position);
  writeFileSync(path, all);
}

/** Where the value of an item stands. */
const valueAt = (path: string, n: number): number => readFileSync(path).indexOf(`"${n} ${TEXT}`);

interface Case {
  readonly make?: (path: string) => void | Promise<void>;
  readonly broken: (path: string) => void | Promise<void>;
  readonly ids: readonly string[];
  readonly gravity: 'ok' | 'info' | 'warning' | 'problem';
  readonly left?: readonly string[];
  /** How many items must be completed after the repair. Default: all. */
  readonly completed?: number | 'no state';
}

const nothing = (): void => undefined;

const CASES: Readonly<Record<string, Case>> = {
  'a state as it should be': { broken: nothing, ids: [], gravity: 'ok' },
  'no state': { make: nothing, broken: nothing, ids: ['no-state'], gravity: 'info', left: ['no-state'], completed: 'no state' },
  'a directory in the place of the file': {
    make: nothing,
    broken: (path) => mkdirSync(path),
    ids: ['not-a-file'],
    gravity: 'problem',
    left: ['not-a-file'],
    completed: 'no state',
  },
  'no database': {
    make: nothing,
    broken: (path) => writeFileSync(path, 'Dear diary, '.repeat(500), { mode: 0o600 }),
    ids: ['not-a-database'],
    gravity: 'problem',
    left: ['not-a-database'],
    completed: 'no state',
  },
  'a table that is not ours': {
    make: nothing,
    async broken(path) {
      writeFileSync(path, '', { mode: 0o600 });
      await sql(path, 'CREATE TABLE store.loopstate_records (a)');
    },
    ids: ['foreign-table'],
    gravity: 'problem',
    left: ['foreign-table'],
    completed: 'no state',
  },
  'a newer format': {
    async broken(path) {
      const header = '{"format":2,"store":"s","isOpen":false}';
      await sql(path, `UPDATE store.loopstate_records SET value = '${header}' WHERE job = '' AND key = ''`);
    },
    ids: ['newer-format'],
    gravity: 'problem',
    left: ['newer-format'],
    completed: 'no state',
  },
  'a database that is gone': {
    broken: (path) => rmSync(path),
    ids: ['database-missing', 'started-from-backup'],
    gravity: 'warning',
  },
  'a database that is gone, of which only the log is left': {
    make: makeLeft,
    broken: (path) => rmSync(path),
    ids: ['database-missing'],
    gravity: 'warning',
    completed: 0,
  },
  'a database that was emptied': {
    broken: (path) => truncateSync(path, 0),
    ids: ['database-emptied', 'started-from-backup'],
    gravity: 'warning',
  },
  'a database that has lost our table': {
    broken: (path) => sql(path, 'DROP TABLE store.loopstate_records'),
    ids: ['database-emptied', 'started-from-backup'],
    gravity: 'warning',
  },
  'a page of zeros': {
    broken: (path) => overwrite(path, Math.floor(valueAt(path, 30) / PAGE_BYTES) * PAGE_BYTES, Buffer.alloc(PAGE_BYTES)),
    ids: ['database-damaged', 'started-from-backup'],
    gravity: 'warning',
  },
  'a flipped byte in a value': {
    broken: (path) => overwrite(path, valueAt(path, 30) + 10, Buffer.from('#')),
    ids: ['database-damaged', 'started-from-backup'],
    gravity: 'warning',
  },
  'a flipped byte in a value, and no copy': {
    broken(path) {
      rmSync(`${path}.backup`);
      overwrite(path, valueAt(path, 30) + 10, Buffer.from('#'));
    },
    ids: ['database-damaged'],
    gravity: 'warning',
    completed: COUNT - 1,
  },
  'an index that points to another page': {
    broken: (path) =>
      sql(
        path,
        'PRAGMA writable_schema = ON',
        `UPDATE store.sqlite_schema SET rootpage = (SELECT rootpage FROM store.sqlite_schema WHERE type = 'table') WHERE type = 'index'`,
      ),
    ids: ['database-damaged', 'started-from-backup'],
    gravity: 'warning',
  },
  'a database of which nothing can be read, without a copy': {
    broken(path) {
      rmSync(`${path}.backup`);
      overwrite(path, 100, Buffer.alloc(readFileSync(path).length - 100, 0xff));
    },
    ids: ['damaged-beyond-repair'],
    gravity: 'problem',
    left: ['damaged-beyond-repair'],
    completed: 'no state',
  },
  'a database that someone put back': {
    async broken(path) {
      copyFileSync(path, `${path}.older`);
      const state = await LoopState.open(`sqlite:${path}`);
      await complete(state, 'later', 5);
      await state.close();
      copyFileSync(`${path}.older`, path);
      rmSync(`${path}.older`);
    },
    ids: ['database-older', 'started-from-backup'],
    gravity: 'warning',
    completed: COUNT + 5,
  },
  'a copy that is gone': { broken: (path) => rmSync(`${path}.backup`), ids: ['backup-missing'], gravity: 'warning' },
  'a copy that is damaged at its beginning': {
    broken: (path) => overwrite(`${path}.backup`, 0, Buffer.alloc(200, 'x')),
    ids: ['backup-damaged'],
    gravity: 'warning',
  },
  'a copy that is damaged in its middle, which opening does not notice': {
    broken: (path) => overwrite(`${path}.backup`, valueAt(`${path}.backup`, 30) + 10, Buffer.from('#')),
    ids: ['backup-damaged'],
    gravity: 'warning',
    left: ['backup-damaged'],
  },
  'a copy of another state': {
    async broken(path) {
      const other = join(path, '..', 'other.db');
      await makeClosed(other);
      copyFileSync(`${other}.backup`, `${path}.backup`);
      for (const name of readdirSync(join(path, '..'))) if (name.startsWith('other.db')) rmSync(join(path, '..', name));
    },
    ids: ['backup-of-other-store'],
    gravity: 'warning',
  },
  'a log that is lost': {
    make: makeLeft,
    broken(path) {
      rmSync(`${path}-wal`);
      rmSync(`${path}-shm`);
    },
    ids: ['wal-missing'],
    gravity: 'warning',
    completed: 0,
  },
  'a log that has grown large': {
    make: makeLeft,
    broken: (path) => truncateSync(`${path}-wal`, 65 * 1_024 * 1_024),
    ids: ['backup-missing', 'run-at-work', 'wal-large'],
    gravity: 'warning',
    left: ['run-at-work'],
  },
  'leftover temporaries, and files that were put aside': {
    broken(path) {
      writeFileSync(`${path}.0123456789abcdef.tmp`, 'x');
      writeFileSync(`${path}.damaged-20260101T000000.000Z`, 'x');
    },
    ids: ['put-aside-earlier', 'temporaries-left'],
    gravity: 'info',
  },
  'a process that was killed': {
    make: async (path) => (await startHolder(`sqlite:${path}`, { count: COUNT })).kill(),
    broken: nothing,
    ids: ['backup-missing', 'run-gone'],
    gravity: 'warning',
  },
};

describe('loopstate doctor on a state in SQLite', function () {
  this.timeout(60_000);
  proveEach({ test: 'D1 findings of doctor', backend: 'sqlite', least: { cases: 25 } });
  const directory = freshDirectories();
  let path = '';
  beforeEach(() => {
    mkdirSync(join(directory(), 'place'));
    path = join(directory(), 'place', 'state.db');
  });

  for (const [name, { make = makeClosed, broken, ids, gravity, left = [], completed = COUNT }] of Object.entries(CASES)) {
    it(`always-starts, acked-survives: ${name}: ${ids.join(', ') || 'all is well'}`, async () => {
      await make(path);
      await broken(path);
      const before = treeOf(directory());
      const first = await doctor(`sqlite:${path}`);
      expect(idsOf(first.findings)).to.deep.equal(ids);
      expect(gravityOf(first.findings)).to.equal(gravity);
      expect(treeOf(directory()), 'the first look changed something').to.deep.equal(before);
      const second = await doctor(`sqlite:${path}`, '--repair');
      const isAside = second.repair?.recovery.some(({ keptAs }) => keptAs !== undefined) || ids.includes('put-aside-earlier');
      expect(idsOf(second.findings)).to.deep.equal([...left, ...(isAside ? ['put-aside-earlier'] : [])].sort());
      if (completed === 'no state') {
        expect(treeOf(directory()), 'what can not be repaired').to.deep.equal(before);
        return;
      }
      const state = await LoopState.open(`sqlite:${path}`, { access: 'read' });
      expect(state.progress.completed).to.equal(completed);
      await state.close();
    });
  }

  it('names another job than there is, and makes none', async () => {
    await makeClosed(path);
    const before = treeOf(directory());
    const { findings } = await doctor(`sqlite:${path}?job=misspelt`, '--repair');
    expect(idsOf(findings)).to.deep.equal(['no-such-job']);
    expect(findings.find(({ id }) => id === 'no-such-job')?.found).to.include('"default"');
    expect(treeOf(directory())).to.deep.equal(before);
  });

  it('looks on beside a process that is at work', async () => {
    const holder = await startHolder(`sqlite:${path}`);
    const before = treeOf(directory());
    const { findings, exitCode } = await doctor(`sqlite:${path}`);
    expect(idsOf(findings)).to.deep.equal(['backup-missing', 'run-at-work']);
    expect(exitCode).to.equal(0);
    expect(treeOf(directory())).to.deep.equal(before);
    await holder.kill();
  });
});
