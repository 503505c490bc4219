/**
 * Proves what is said of a database, by facts that are made up where a real one can't be brought to show them, and that looking at one
 * disturbs nobody who has it open. The command that shows it is tested in test/cli-doctor-sqlite.test.ts, on real files.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Diagnosis, LoopStateError, type StateRecord } from '@loopstate/core';
import { expect } from 'chai';
import { type DiagnoseSqliteOptions, diagnoseSqlite } from '../src/diagnosis.js';
import { FINDING_CODES } from '../src/findings.js';
import type { Inspection } from '../src/inspection.js';
import { type Examined, judgeSqlite, SQLITE_DIAGNOSES, type SqliteFacts } from '../src/judge-sqlite.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { codeOf, put, recordsOf, withDirectory } from './stores.js';

const PATH = '/data/state.db';
const NFS = 0x6969;
const TMPFS = 0x01021994;

const database: Inspection = { kind: 'sound', isOpen: false, store: 's', revision: 7, untold: [] };
const examined: Examined = { database, copy: database, outcome: { repairs: [] }, jobs: ['default', 'review'], records: 3 };
const sound: SqliteFacts = {
  place: {
    path: PATH,
    directory: '/data',
    nearestDirectory: '/data',
    isWritable: true,
    kind: 'file',
    isReadable: true,
    mode: 0o600,
    names: [],
  },
  survivesPowerLoss: true,
  storeBytes: 1_000,
  temporaries: [],
  putAside: [],
  job: 'default',
  closedTo: [],
  logBytes: 0,
  content: examined,
};

function saidOf({ findings }: Pick<Diagnosis, 'findings'>): string[] {
  return findings.filter(({ severity }) => severity !== 'ok').map(({ id, severity }) => `${severity} ${id}`);
}

async function diagnosed(path: string, options: DiagnoseSqliteOptions = {}): Promise<string[]> {
  return saidOf(await diagnoseSqlite(path, options)).filter((said) => !/file-system-forgets|disk-space-low/.test(said));
}

describe('judgeSqlite', () => {
  const reached = new Set<string>();
  const judge = (facts: Partial<SqliteFacts>): string[] => {
    const findings = judgeSqlite({ ...sound, ...facts });
    for (const { id, severity, found, remedy } of findings) {
      reached.add(id);
      expect(found, id).to.match(/^.+\.$/);
      if (severity !== 'ok') expect(remedy, id).to.match(/^.+\.$/);
    }
    return saidOf({ findings });
  };
  const content = (more: Partial<Examined>): Partial<SqliteFacts> => ({ content: { ...examined, ...more } });
  const refused = (code: 'LOOPSTATE_FOREIGN' | 'LOOPSTATE_NEWER_FORMAT' | 'LOOPSTATE_UNAVAILABLE', kind: Inspection['kind']) =>
    content({ database: { kind, reason: 'x' } as Inspection, outcome: { refusal: new LoopStateError(code, 'It is refused.') } });

  const CASES: readonly [what: string, facts: Partial<SqliteFacts>, said: string[]][] = [
    ['all is well', {}, []],
    ['nothing there', { content: 'absent' }, ['info no-state']],
    ['not looked at', { content: 'unknown' }, []],
    ['not to be copied', { content: { reason: 'No space is left.' } }, ['warning not-examined']],
    ['a network file system', { network: 'NFS' }, ['problem network-file-system']],
    [
      'not to be written',
      { closedTo: ['/d/state.db', '/d/state.db.lock'] },
      ['problem database-not-writable', 'problem database-not-writable'],
    ],
    ['a large log', { logBytes: 100_000_000 }, ['warning wal-large']],
    ['a log', { logBytes: 10_000_000 }, []],
    ['no database', refused('LOOPSTATE_FOREIGN', 'no-database'), ['problem not-a-database']],
    ['a foreign table', refused('LOOPSTATE_FOREIGN', 'foreign-table'), ['problem foreign-table']],
    ['a newer format', refused('LOOPSTATE_NEWER_FORMAT', 'newer'), ['problem newer-format']],
    ['nothing to be read of it', refused('LOOPSTATE_UNAVAILABLE', 'damaged'), ['problem damaged-beyond-repair']],
    ['another trouble', refused('LOOPSTATE_UNAVAILABLE', 'sound'), ['problem not-readable']],
    ['another job', { job: 'misspelt' }, ['info no-such-job']],
    ['no job at all', content({ jobs: [] }), ['info no-state']],
    ['no copy', content({ copy: { kind: 'absent' } }), ['warning backup-missing']],
    ['no copy yet', content({ copy: { kind: 'absent' }, database: { ...database, isOpen: true } }), ['info backup-missing']],
    ['nothing to copy yet', content({ copy: { kind: 'absent' }, database: { ...database, revision: 0 } }), []],
    ['a copy with a damaged page', content({ copy: { kind: 'damaged', reason: 'x' } }), ['warning backup-damaged']],
  ];
  for (const [what, facts, said] of CASES) it(what, () => expect(judge(facts)).to.deep.equal(said));

  it('every repair that opening would do has its telling', () => {
    for (const code of Object.keys(FINDING_CODES)) {
      if (code === 'backup-failed') continue; // It befalls a store that is open.
      for (const severity of ['warning', 'loss'] as const) {
        const repairs = [{ code, severity, where: '/tmp/copy', message: 'x' }];
        expect(judge(content({ outcome: { repairs } }))).to.deep.equal([`warning ${code}`]);
        // What was tried on copies names the files themselves.
        expect(JSON.stringify(judgeSqlite({ ...sound, ...content({ outcome: { repairs } }) }))).to.not.include('/tmp/copy');
      }
    }
  });

  it('every id is reached', () => expect([...reached]).to.include.members(Object.keys(SQLITE_DIAGNOSES)));
});

describe('diagnoseSqlite', () => {
  it('gives each record of the job, in the order of revisions, with what is in the log', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const store = await openSqliteBackend(path);
      for (const key of ['c', 'a', 'b']) await put(store, { [key]: key });
      await store.commit({ deletes: ['a'] });
      const other = await openSqliteBackend({ path, job: 'other' });
      await put(other, { foreign: 1 });
      const records: StateRecord[] = [];
      await diagnoseSqlite(path, { onRecord: (record) => records.push(record) });
      expect(records).to.deep.equal([...(await recordsOf(store)).values()]);
      expect(records.map(({ key }) => key)).to.deep.equal(['c', 'b']);
      await store.close();
      await other.close();
    }));

  it('takes the file system for what it is', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      expect(await diagnosed(path, { fileSystemType: async () => NFS })).to.deep.equal(['problem network-file-system', 'info no-state']);
      const forgetful = saidOf(await diagnoseSqlite(path, { fileSystemType: async () => TMPFS }));
      expect(forgetful).to.include('warning file-system-forgets');
      expect(fs.readdirSync(directory)).to.deep.equal([]);
    }));

  it('acked-survives: takes no lock from this process, which has the database open', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const store = await openSqliteBackend(path);
      await put(store, { a: 1 });
      expect(await diagnosed(path)).to.deep.equal(['info backup-missing']);
      // Whoever closes as the last one takes the log in, and removes it: this one must not take itself for that.
      const script = `import { KeyvSqlite } from '@keyv/sqlite';
        const database = new KeyvSqlite({ uri: 'sqlite://:memory:' });
        await database.query('ATTACH ? AS store', [process.argv[1]]);
        await database.query('SELECT count(*) FROM store.loopstate_records');
        await database.close();`;
      const cwd = fileURLToPath(new URL('..', import.meta.url));
      await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, '--', path], { cwd });
      expect(fs.existsSync(`${path}-wal`)).to.equal(true);
      await put(store, { b: 2 });
      await store.close();
      const again = await openSqliteBackend(path);
      expect(again.recovery).to.deep.equal([]);
      expect([...(await recordsOf(again)).keys()]).to.deep.equal(['a', 'b']);
      await again.close();
    }));

  it('looks at a database that is written to all the time', async function () {
    this.timeout(60_000);
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const store = await openSqliteBackend(path);
      let isDone = false;
      let commits = 0;
      const writing = (async () => {
        for (; !isDone; commits++) await put(store, { [`item/${commits % 50}`]: commits });
      })();
      const records = new Set<string>();
      const said = await diagnosed(path, { onRecord: ({ key }) => records.add(key) });
      isDone = true;
      await writing;
      expect(said.filter((id) => !id.endsWith('backup-missing'))).to.deep.equal([]);
      expect(records.size).to.be.within(1, 50);
      await store.close();
    });
  });

  it('leaves nothing among the temporary files, and refuses what opening refuses', () =>
    withDirectory(async (directory) => {
      const before = process.env.TMPDIR;
      process.env.TMPDIR = join(directory, 'temporary');
      fs.mkdirSync(process.env.TMPDIR);
      try {
        const path = join(directory, 'state.db');
        await (await openSqliteBackend(path)).close();
        fs.writeFileSync(`${path}.backup`, 'spoilt');
        expect(await diagnosed(path)).to.deep.equal(['warning backup-damaged']);
        expect(fs.readdirSync(process.env.TMPDIR)).to.deep.equal([]);
        fs.rmSync(process.env.TMPDIR, { recursive: true });
        expect(await diagnosed(path)).to.deep.equal(['warning not-examined']);
        // A directory in the place of the copy can't be copied.
        process.env.TMPDIR = directory;
        fs.rmSync(`${path}.backup`);
        fs.mkdirSync(`${path}.backup`);
        const { findings } = await diagnoseSqlite(path);
        expect(saidOf({ findings })).to.include('warning not-examined');
        for (const { found } of findings) expect(found).to.match(/^[^\n]+\.$/);
      } finally {
        if (before === undefined) delete process.env.TMPDIR;
        else process.env.TMPDIR = before;
      }
      expect(await codeOf(diagnoseSqlite('sqlite:x?mode=ro'))).to.equal('LOOPSTATE_BAD_OPTION');
    }));
});
