/**
 * Proves that a repair may end at any moment: all that it would have kept is there, and what it would have told is told. The directory of a
 * damaged store is copied before each statement and each call of the file system in a repair, as a SIGKILL would leave it, and opened.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import type { StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { proveEach } from '../../../test/support/prove-each.js';
import { withAttached } from '../src/connection.js';
import { diagnoseSqlite } from '../src/diagnosis.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { TABLE } from '../src/records.js';
import { contentOf, findingsOf, put, recordsOf, refusal, withDirectory, withStatementsCaught } from './stores.js';

const COUNT = 60;
const PAGE_BYTES = 4_096;
const VALUE = 'what an item has become '.repeat(12);

/** The calls by which files get, change and lose their names. */
const CALLS = ['chmod', 'copyFile', 'link', 'open', 'rename', 'rm'] as const;
type Call = (typeof CALLS)[number];

const CASES = {
  'a damaged page, without any copy': (path: string) => {
    zeroPage(path);
    fs.rmSync(`${path}.backup`);
  },
  'a damaged page beside a copy': (path: string) => zeroPage(path),
  'a damaged page beside a damaged copy': (path: string) => {
    zeroPage(path);
    flip(`${path}.backup`, fs.readFileSync(`${path}.backup`).indexOf(`9 ${VALUE}`) + 5);
  },
  'a damaged page and a damaged log': (path: string) => {
    zeroPage(path);
    flip(`${path}-wal`, fs.statSync(`${path}-wal`).size / 2);
  },
  'a damaged log': (path: string) => flip(`${path}-wal`, fs.statSync(`${path}-wal`).size / 2),
  'a database that is gone, beside a copy': (path: string) => fs.rmSync(path),
  'a database and a copy that are gone, beside a log': (path: string) => {
    for (const name of [path, `${path}.backup`]) fs.rmSync(name);
  },
  'a database that was emptied, beside a copy': (path: string) => fs.truncateSync(path, 0),
  'a database that is older than its copy': (path: string) => {
    fs.rmSync(`${path}-wal`);
    fs.copyFileSync(`${path}-older`, path);
  },
};

describe('sqlite: a repair that is interrupted', () => {
  const counts = proveEach({ test: 'S10 interrupted repairs', backend: 'sqlite', least: { cases: 13, kills: 100 } });

  for (const [name, damage] of Object.entries(CASES)) {
    it(`acked-survives, always-starts: killed at each step, of ${name}`, () =>
      withDirectory(async (directory) => {
        const path = await makeLeft(directory, damage);
        const { values, findings } = await repairedCopy(directory);
        const { copies, store } = await copiedAtEachStep(directory, () => openSqliteBackend(path));
        await store.close();
        for (const copy of copies) {
          await expectRepaired(copy, { values, findings });
          counts.kills++;
        }
      }));
  }

  it('acked-survives: whichever call of it fails, the next opening ends it', async () => {
    let failed = 0;
    for (let isThrough = false; !isThrough; failed++) {
      await withDirectory(async (directory) => {
        const path = await makeLeft(directory, CASES['a damaged page, without any copy']);
        const { values, findings } = await repairedCopy(directory);
        let before = failed;
        const failing = async (call: Call): Promise<void> => {
          if ((call === 'rename' || call === 'open') && before-- === 0) throw Object.assign(new Error('i/o error'), { code: 'EIO' });
        };
        const opened = await withCallsCaught(failing, () => openSqliteBackend(path).catch(({ code }) => code as string));
        isThrough = before >= 0;
        if (typeof opened !== 'string') return await opened.close();
        expect(opened).to.equal('LOOPSTATE_UNAVAILABLE');
        const store = await openSqliteBackend(path);
        expect(await valuesOf(store), `what is there after call ${failed} failed`).to.deep.equal(values);
        expect(findingsOf(store), `what is told after call ${failed} failed`).to.deep.equal(findings);
        await store.close();
      });
    }
    expect(failed, 'calls that failed').to.be.greaterThan(6);
  });

  it('always-starts: what it had finished does not replace a sound database that was put there since', () =>
    withWaiting(async (path) => {
      fs.copyFileSync(`${path}-older`, path);
      const store = await openSqliteBackend(path);
      expect(await valuesOf(store)).to.deep.equal({ first: 1 });
      await store.close();
      expect(fs.existsSync(`${path}.restored`)).to.equal(false);
      expect(fs.readdirSync(join(path, '..')).filter((name) => /damaged-.*\.restored$/.test(name))).to.have.length(1);
    }));

  it('always-starts: what it had finished is taken into a database that another program made since, and leaves the rest of it', () =>
    withWaiting(async (path, { values, findings }) => {
      await withAttached(path, 'store', async (db) => void (await db.query('CREATE TABLE store.of_another (a)')));
      const store = await openSqliteBackend(path);
      expect(await valuesOf(store)).to.deep.equal(values);
      expect(findingsOf(store)).to.deep.equal([...findings, 'database-emptied', 'started-from-backup']);
      await store.close();
      await withAttached(path, 'store', async (db) => void (await db.query('SELECT a FROM store.of_another')));
    }));

  it('always-starts: what it had finished, damaged since, costs what is damaged of it', () =>
    withWaiting(async (path, { values }) => {
      const spoil = `UPDATE ${TABLE} SET value = '"spoilt"' WHERE key = 'item/9'`;
      await withAttached(`${path}.restored`, 'store', async (db) => void (await db.query(spoil)));
      const store = await openSqliteBackend(path);
      expect(findingsOf(store)).to.deep.equal(['database-damaged', 'database-damaged']);
      expect(Object.keys(await valuesOf(store))).to.have.length(Object.keys(values).length - 1);
      await store.close();
    }));
});

interface Kept {
  readonly values: Record<string, unknown>;
  readonly findings: readonly string[];
}

/** Opens what a kill has left in `directory`. */
async function expectRepaired(directory: string, { values, findings }: Kept): Promise<void> {
  const path = join(directory, 'state.db');
  const names = `killed where there is ${fs.readdirSync(directory)}`;
  const isWaiting = fs.existsSync(`${path}.restored`);
  if (isWaiting) {
    const { findings: said } = await diagnoseSqlite(path);
    expect(
      said.map(({ id }) => id),
      names,
    ).to.include.members(findings);
    if (!fs.existsSync(path)) expect(await refusal(path, { access: 'read' })).to.equal('LOOPSTATE_UNAVAILABLE');
  }
  const store = await openSqliteBackend(path);
  expect(await valuesOf(store), names).to.deep.equal(values);
  expect(findingsOf(store), names).to.deep.equal(findings);
  expect(await put(store, { later: 1 }), 'commit/one-revision').to.be.greaterThan(COUNT + 1);
  await store.close();
  expect(fs.readdirSync(directory).filter((name) => /tmp|^state\.db\.restored/.test(name))).to.deep.equal([]);
  if (!isWaiting) return;
  const again = await openSqliteBackend(path);
  expect(findingsOf(again), 'what is told once more').to.deep.equal([]);
  await again.close();
}

/** A store as a killed process left it, then damaged, in `left` of `directory`; resolves to its path. */
async function makeLeft(directory: string, damage: (path: string) => void): Promise<string> {
  const [source, left] = [join(directory, 'source', 'state.db'), join(directory, 'left', 'state.db')];
  await committed(source, { first: 1 });
  fs.mkdirSync(join(left, '..'));
  fs.copyFileSync(source, `${left}-older`);
  await committed(source, items(0, COUNT / 2));
  await committed(source, items(COUNT / 2, COUNT), () => {
    for (const suffix of ['', '-wal', '.backup', '.lock']) fs.copyFileSync(`${source}${suffix}`, `${left}${suffix}`);
  });
  damage(left);
  return left;
}

async function committed(path: string, values: Record<string, string | number>, whileOpen = () => {}): Promise<void> {
  const store = await openSqliteBackend(path);
  for (const [key, value] of Object.entries(values)) await put(store, { [key]: value });
  whileOpen();
  await store.close();
}

function items(from: number, to: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: to - from }, (_, index) => [`item/${from + index}`, `${from + index} ${VALUE}`]));
}

/** What a repair keeps and tells that nobody interrupts. */
async function repairedCopy(directory: string): Promise<Kept> {
  fs.cpSync(join(directory, 'left'), join(directory, 'uninterrupted'), { recursive: true });
  const store = await openSqliteBackend(join(directory, 'uninterrupted', 'state.db'));
  const kept = { values: await valuesOf(store), findings: findingsOf(store) };
  await store.close();
  return kept;
}

/** Runs with a repair that ended when its database was put aside. */
async function withWaiting(run: (path: string, kept: Kept) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const path = await makeLeft(directory, CASES['a damaged page, without any copy']);
    const kept = await repairedCopy(directory);
    const failing = async (call: Call, _: unknown, to: unknown): Promise<void> => {
      if (call === 'rename' && to === path) throw Object.assign(new Error('i/o error'), { code: 'EIO' });
    };
    expect(await withCallsCaught(failing, () => refusal(path))).to.equal('LOOPSTATE_UNAVAILABLE');
    expect([fs.existsSync(path), fs.existsSync(`${path}.restored`)]).to.deep.equal([false, true]);
    await run(path, kept);
  });
}

/** Copies `left` of `directory` before each statement and call of `open`; resolves to where the copies are, each state once. */
async function copiedAtEachStep(
  directory: string,
  open: () => Promise<StateBackend>,
): Promise<{ copies: readonly string[]; store: StateBackend }> {
  const seen = new Map<string, string>();
  const left = join(directory, 'left');
  const copy = (): void => {
    const state = createHash('sha256')
      .update(JSON.stringify(contentOf(left)))
      .digest('hex');
    if (seen.has(state)) return;
    seen.set(state, join(directory, `killed-${seen.size}`));
    fs.cpSync(left, seen.get(state)!, { recursive: true });
  };
  const see = async (_: string, pass: () => Promise<unknown>): Promise<unknown> => {
    copy();
    return await pass();
  };
  const store = await withStatementsCaught(see, () => withCallsCaught(async () => copy(), open));
  return { copies: [...seen.values()], store };
}

/** Calls `before` before each of {@link CALLS}; what it rejects with, the call rejects with. */
async function withCallsCaught<T>(before: (call: Call, ...args: unknown[]) => Promise<void>, run: () => Promise<T>): Promise<T> {
  const real = Object.fromEntries(CALLS.map((call) => [call, fs.promises[call]]));
  const caught = CALLS.map((call) => {
    const through = real[call] as (...args: unknown[]) => Promise<unknown>;
    return [call, async (...args: unknown[]) => before(call, ...args).then(() => through(...args))];
  });
  Object.assign(fs.promises, Object.fromEntries(caught));
  try {
    return await run();
  } finally {
    Object.assign(fs.promises, real);
  }
}

async function valuesOf(store: StateBackend): Promise<Record<string, unknown>> {
  return Object.fromEntries([...(await recordsOf(store))].map(([key, { value }]) => [key, value]));
}

/** The page of the database that an item of the middle ends on, and no log holds. */
function zeroPage(path: string): void {
  const page = Math.floor(fs.readFileSync(path).indexOf(`15 ${VALUE}`) / PAGE_BYTES);
  const bytes = fs.readFileSync(path).fill(0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  fs.writeFileSync(path, bytes);
}

function flip(path: string, at: number): void {
  const bytes = fs.readFileSync(path);
  bytes[Math.floor(at)]! ^= 1;
  fs.writeFileSync(path, bytes);
}
