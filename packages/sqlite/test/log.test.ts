/**
 * A write-ahead log that a killed process left behind is taken over without a word when it is whole; what is wrong with it is said, and kept.
 * The logs are those of real databases, copied while they are open, as a SIGKILL would leave them.
 */
import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect } from 'chai';
import { inspectLeft } from '../src/inspection.js';
import { keepLog, putLogBack } from '../src/kept-log.js';
import { judgeLog, type LogKind } from '../src/log-inspection.js';
import { StoreNames } from '../src/names.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { contentOf, findingsOf, put, recordsOf, refusal, type SeeStatement, withDirectory, withStatementsCaught } from './stores.js';

const COMMITS = 12;
const MIB = 1_024 * 1_024;
const HEADER_BYTES = 32;
const FRAME_BYTES = 24 + 4_096;
const NOBODY = 65_534;

describe('sqlite: a log that was left behind', () => {
  for (const hasLock of [true, false]) {
    const which = hasLock ? 'with its lock file' : 'without its lock file';

    it(`acked-survives, always-starts: it is taken over, and nothing is wrong, ${which}`, () =>
      withLeftStore({ hasLock }, async (path) => {
        for (let count = 0; count < 2; count++) {
          const store = await openSqliteBackend(path);
          expect(findingsOf(store)).to.deep.equal([]);
          expect(await recordsOf(store)).to.have.property('size', COMMITS);
          await store.close();
        }
      }));

    it(`always-starts: damage in its middle is a loss that is told, and it is kept, ${which}`, () =>
      withLeftStore({ hasLock }, async (path) => {
        const log = fs.readFileSync(`${path}-wal`);
        log[Math.floor(log.length / 2)]! ^= 1;
        fs.writeFileSync(`${path}-wal`, log);
        // Who only looks must not take the log away.
        expect(await refusal(path, { access: 'read' })).to.equal('LOOPSTATE_UNAVAILABLE');
        const store = await openSqliteBackend(path);
        expect(store.recovery.map(({ code, severity }) => [code, severity])).to.deep.equal([['wal-damaged', 'loss']]);
        expect(fs.readFileSync(store.recovery[0]!.keptAs!).equals(log)).to.equal(true);
        expect(await put(store, { next: 1 }), 'commit/one-revision').to.be.greaterThan(COMMITS);
        await store.close();
        const again = await openSqliteBackend(path);
        expect(findingsOf(again)).to.deep.equal([]);
        await again.close();
      }));
  }

  for (const [what, change] of Object.entries({
    damaged: (log: Buffer) => log.fill(0x55, HEADER_BYTES + FRAME_BYTES, HEADER_BYTES + FRAME_BYTES + 40),
    torn: (log: Buffer) => log.subarray(0, -100),
  })) {
    it(`always-starts: of two that find it ${what} at once, where no lock is yet, only the first keeps it`, () =>
      withLeftStore({ hasLock: false }, async (path) => {
        fs.writeFileSync(`${path}-wal`, change(fs.readFileSync(`${path}-wal`)));
        const stores = await Promise.all([openSqliteBackend(path), openSqliteBackend(path)]);
        const kept = fs.readdirSync(dirname(path)).filter((name) => /damaged|tmp/.test(name));
        const told = stores.flatMap(({ recovery }) => recovery.flatMap(({ keptAs }) => (keptAs === undefined ? [] : [basename(keptAs)])));
        expect(kept).to.deep.equal(told);
        for (const store of stores) await store.close();
      }));
  }

  // As another user than root it proves less: there is nobody then to whom the log could be lost.
  it('always-starts: the log of a place that is refused belongs to its owner still', () =>
    withLeftStore({ hasLock: false }, async (path) => {
      const names = new StoreNames(path);
      fs.truncateSync(names.log, fs.statSync(names.log).size - 100);
      fs.chmodSync(names.log, 0o660);
      if (process.geteuid?.() === 0) fs.chownSync(names.log, NOBODY, NOBODY);
      const { uid, gid, mode } = fs.statSync(names.log);
      const kept = await keepLog(names, Date.now());
      // As SQLite does when it has looked.
      fs.rmSync(names.log);
      await putLogBack(names, kept);
      const back = fs.statSync(names.log);
      expect([back.uid, back.gid, back.mode]).to.deep.equal([uid, gid, mode]);
    }));

  it('always-starts: a commit that was cut short is mentioned, and its revision is given to nobody', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      fs.truncateSync(`${path}-wal`, fs.statSync(`${path}-wal`).size - 100);
      const store = await openSqliteBackend(path);
      expect(store.recovery.map(({ code, severity }) => [code, severity])).to.deep.equal([['wal-torn', 'info']]);
      expect(await recordsOf(store)).to.have.property('size', COMMITS - 1);
      expect(await put(store, { next: 1 }), 'commit/one-revision').to.be.greaterThan(COMMITS);
      await store.close();
      expect(fs.readdirSync(dirname(path)).filter((name) => /damaged|tmp/.test(name))).to.deep.equal([]);
    }));

  it('always-starts: who dies while its revisions are skipped leaves a store that can be read', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      // So little is left of the last commit that the next one covers it: then the log is whole again.
      fs.truncateSync(`${path}-wal`, lastCommitIn(fs.readFileSync(`${path}-wal`)) + 50);
      const copies = await copiedBeforeInserts(dirname(path), async () => (await openSqliteBackend(path)).close());
      expect(copies.length).to.be.greaterThan(1);
      for (const copy of copies) {
        const store = await openSqliteBackend(join(copy, basename(path)));
        expect(await recordsOf(store)).to.have.property('size', COMMITS - 1);
        expect(await put(store, { next: 1 }), 'commit/one-revision').to.be.greaterThan(COMMITS);
        await store.close();
      }
    }));

  it('always-starts: it is judged anew when another made the store since, and was killed', () =>
    withLeftStore({ hasLock: true }, async (left) => {
      const directory = join(dirname(left), 'new');
      const { mkdir } = fs.promises;
      // By then the place was looked at.
      fs.promises.mkdir = (async (...args: Parameters<typeof mkdir>) => {
        fs.promises.mkdir = mkdir;
        fs.mkdirSync(directory);
        for (const name of fs.readdirSync(dirname(left)).filter((other) => other !== 'new'))
          fs.copyFileSync(join(dirname(left), name), join(directory, name));
        return await mkdir(...args);
      }) as typeof mkdir;
      const store = await openSqliteBackend(join(directory, basename(left)));
      expect(fs.promises.mkdir).to.equal(mkdir);
      expect(findingsOf(store)).to.deep.equal([]);
      expect(await recordsOf(store)).to.have.property('size', COMMITS);
      await store.close();
    }));

  it('always-starts: it stands while it is judged, so that whoever is killed meanwhile leaves it to the next', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      const log = fs.readFileSync(`${path}-wal`);
      const { found, release } = await inspectLeft(new StoreNames(path));
      expect(found.kind).to.equal('sound');
      expect(fs.readFileSync(`${path}-wal`).equals(log)).to.equal(true);
      await release();
      await release();
    }));

  it('always-starts: who only looked at it, and closed it last, leaves nothing behind that alarms the next', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      const reader = await openSqliteBackend(path, { access: 'read' });
      expect(await recordsOf(reader)).to.have.property('size', COMMITS);
      await reader.close();
      const store = await openSqliteBackend(path);
      expect(findingsOf(store)).to.deep.equal([]);
      expect(await recordsOf(store)).to.have.property('size', COMMITS);
      await store.close();
    }));

  it('always-starts: who only looked at one that ends in half a commit leaves it to the next to tell, and its revision to nobody', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      fs.truncateSync(`${path}-wal`, fs.statSync(`${path}-wal`).size - 100);
      for (let count = 0; count < 2; count++) expect(await refusal(path, { access: 'read' })).to.equal('opened');
      const store = await openSqliteBackend(path);
      expect(store.recovery.map(({ code, severity }) => [code, severity])).to.deep.equal([['wal-torn', 'info']]);
      expect(await put(store, { next: 1 }), 'commit/one-revision').to.be.greaterThan(COMMITS);
      await store.close();
    }));

  it('always-starts: who only looked where it is lost leaves that to the next to tell, and its revisions to nobody', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      await (await openSqliteBackend(path)).close();
      const [store, lost] = [await openSqliteBackend(path), join(dirname(path), 'lost.db')];
      const before = await put(store, { last: 1 });
      fs.copyFileSync(path, lost);
      const log = fs.readFileSync(`${path}-wal`);
      await store.close();
      for (let count = 0; count < 2; count++) expect(await refusal(lost, { access: 'read' })).to.equal('opened');
      const reader = await openSqliteBackend(lost, { access: 'read' });
      // As one leaves it who was about to note it, and was killed.
      fs.writeFileSync(`${lost}-wal`, log.subarray(0, HEADER_BYTES + 100));
      await reader.close();
      const reopened = await openSqliteBackend(lost);
      expect(findingsOf(reopened)).to.deep.equal(['wal-missing']);
      expect(await put(reopened, { next: 1 }), 'commit/one-revision').to.be.greaterThan(before);
      await reopened.close();
    }));

  for (const access of ['read', 'write'] as const) {
    it(`always-starts: who closes it on a full disk does not make the next one miss it, access ${access}`, () =>
      withLeftStore({ hasLock: true }, async (path) => {
        let isFull = false;
        let hasRoom = false;
        // What is left of the log's own file is room enough, once it was taken in.
        const see: SeeStatement = async (sql, pass) => {
          if (isFull && sql.includes('wal_checkpoint')) hasRoom = true;
          if (isFull && !hasRoom && sql.startsWith('UPDATE')) throw Object.assign(new Error('SQLITE_FULL'), { code: 'SQLITE_FULL' });
          return await pass();
        };
        await withStatementsCaught(see, async () => {
          const store = await openSqliteBackend(path, { access });
          isFull = true;
          await store.close();
          expect(findingsOf(store)).to.deep.equal([]);
        });
        expect([hasRoom, fs.existsSync(`${path}-wal`)]).to.deep.equal([true, false]);
        const next = await openSqliteBackend(path);
        expect(findingsOf(next)).to.deep.equal([]);
        expect(await recordsOf(next)).to.have.property('size', COMMITS);
        await next.close();
      }));

    it(`LOOPSTATE_FOREIGN: it is not written into a file that is no database, access ${access}`, () =>
      withLeftStore({ hasLock: false }, async (path) => {
        fs.writeFileSync(path, 'Dear diary, '.repeat(1_000));
        for (const log of [fs.readFileSync(`${path}-wal`), Buffer.from('and so on')]) {
          fs.writeFileSync(`${path}-wal`, log);
          fs.rmSync(`${path}-shm`, { force: true });
          const content = contentOf(dirname(path));
          expect(await refusal(path, { access })).to.equal('LOOPSTATE_FOREIGN');
          expect(contentOf(dirname(path))).to.deep.equal(content);
        }
      }));
  }

  it('acked-survives: one that is longer than 2 GiB is taken over, and others get their turn while it is read', async function () {
    this.timeout(180_000);
    await withLeftStore({ hasLock: true }, async (path) => {
      const { size } = fs.statSync(`${path}-wal`);
      // As a log was that has been begun anew: what is behind is none of it.
      fs.truncateSync(`${path}-wal`, 2_048 * MIB + size);
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const store = await openSqliteBackend(path).finally(() => clearInterval(timer));
      expect(turns, 'turns of others').to.be.greaterThan(100);
      expect(findingsOf(store)).to.deep.equal([]);
      expect(await recordsOf(store)).to.have.property('size', COMMITS);
      await store.close();
    });
  });

  it('acked-survives: one that is read in several pieces is judged as a whole', () =>
    withLongLog(async (log) => {
      expect(await judged(log)).to.equal('whole');
      const edge = HEADER_BYTES + Math.floor((4 * MIB) / FRAME_BYTES) * FRAME_BYTES;
      expect(log.length).to.be.greaterThan(2 * edge);
      for (const at of [edge - FRAME_BYTES, edge - 1, edge, edge + 9, edge + FRAME_BYTES, 2 * edge]) {
        log[at]! ^= 0x10;
        expect(await judged(log), `byte ${at}`).to.equal('damaged');
        log[at]! ^= 0x10;
      }
      for (const end of [edge - 1, edge + 1, edge + FRAME_BYTES - 1]) expect(await judged(log.subarray(0, end))).to.equal('torn');
      expect(await judged(log.subarray(0, edge))).to.equal('whole');
    }));

  it('always-starts: one that cannot be read is not shown to SQLite, which would take it away', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      const log = fs.readFileSync(`${path}-wal`);
      log[Math.floor(log.length / 2)]! ^= 1;
      fs.writeFileSync(`${path}-wal`, log);
      const { open } = fs.promises;
      fs.promises.open = (async (...args: Parameters<typeof open>) => {
        if (args[0] === `${path}-wal`) throw Object.assign(new Error('i/o error'), { code: 'EIO' });
        return await open(...args);
      }) as typeof open;
      try {
        expect(await refusal(path, { access: 'read' })).to.equal('LOOPSTATE_UNAVAILABLE');
      } finally {
        fs.promises.open = open;
      }
      expect(fs.readFileSync(`${path}-wal`).equals(log)).to.equal(true);
      const store = await openSqliteBackend(path);
      expect(findingsOf(store)).to.deep.equal(['wal-damaged']);
      await store.close();
    }));

  it('no flipped bit, and no cut within a frame, passes for a whole log', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      const log = fs.readFileSync(`${path}-wal`);
      expect(await judged(log)).to.equal('whole');
      const found = { torn: 0, damaged: 0 };
      for (let at = 0; at < log.length; at++) {
        log[at]! ^= 0x10;
        const kind = await judged(log);
        expect(kind, `byte ${at}`).to.not.equal('whole');
        found[kind as 'torn' | 'damaged'] += 1;
        log[at]! ^= 0x10;
        at += at % 4_096 < 64 ? 0 : 63; // Every byte of the headers, and every 64th of the pages.
      }
      expect(found.damaged).to.be.greaterThan(found.torn);
      for (let end = 33; end < log.length; end += 53) {
        if ((end - HEADER_BYTES) % FRAME_BYTES !== 0) expect(await judged(log.subarray(0, end)), `cut at ${end}`).to.equal('torn');
      }
    }));

  it('no frame that was wiped, but for the last one, passes for a whole log', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      const log = fs.readFileSync(`${path}-wal`);
      const found = { torn: 0, damaged: 0 };
      for (let at = HEADER_BYTES; at < log.length - FRAME_BYTES; at += FRAME_BYTES) {
        const kind = await judged(Buffer.from(log).fill(0, at, at + FRAME_BYTES));
        expect(kind, `frame at ${at}`).to.be.oneOf(['torn', 'damaged']);
        found[kind as 'torn' | 'damaged'] += 1;
      }
      expect(found.damaged).to.be.greaterThan(found.torn);
    }));

  it('what a longer log has left behind its successor is nothing wrong', () =>
    withLeftStore({ hasLock: true }, async (path) => {
      const { size } = fs.statSync(`${path}-wal`);
      const store = await openSqliteBackend(path);
      await put(store, { next: 1 });
      const log = fs.readFileSync(`${path}-wal`);
      await store.close();
      expect(log.length).to.be.at.least(size);
      // So that it is another log indeed.
      expect(log.subarray(16, 24).equals(log.subarray(log.length - FRAME_BYTES + 8, log.length - FRAME_BYTES + 16))).to.equal(false);
      expect(await judged(log)).to.equal('whole');
    }));
});

/** Runs with the path of a database whose process was killed after some commits. */
async function withLeftStore({ hasLock }: { hasLock: boolean }, run: (path: string) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const [source, left] = [join(directory, 'source'), join(directory, 'left')];
    fs.mkdirSync(source);
    fs.mkdirSync(left);
    const store = await openSqliteBackend(join(source, 'state.db'));
    for (let count = 1; count <= COMMITS; count++) await put(store, { [`key ${count}`]: count });
    for (const name of fs.readdirSync(source)) {
      if (hasLock || !name.endsWith('.lock')) fs.copyFileSync(join(source, name), join(left, name));
    }
    await store.close();
    await run(join(left, 'state.db'));
  });
}

/** Runs with a log of some MiB, of whole commits. */
async function withLongLog(run: (log: Buffer) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    const path = join(directory, 'state.db');
    const store = await openSqliteBackend(path, { logBytesMax: Number.POSITIVE_INFINITY });
    for (let count = 0; count < 20; count++) await put(store, { [`key ${count}`]: 'x'.repeat(500_000) });
    const log = fs.readFileSync(`${path}-wal`);
    await store.close();
    await run(log);
  });
}

function judged(log: Buffer): Promise<LogKind> {
  return judgeLog(async (from, to) => log.subarray(from, to));
}

/** Where the last commit begins in a log of pages of 4,096 bytes: after the frame before it that ends a commit (it says how large the file is). */
function lastCommitIn(log: Buffer): number {
  let at = log.length - 2 * FRAME_BYTES;
  while (log.readUInt32BE(at + 4) === 0) at -= FRAME_BYTES;
  return at + FRAME_BYTES;
}

/** Copies a directory before each INSERT that `run` makes, as a SIGKILL would leave it; returns where the copies are. */
async function copiedBeforeInserts(directory: string, run: () => Promise<void>): Promise<string[]> {
  const copies: string[] = [];
  const see: SeeStatement = async (sql, pass) => {
    if (sql.startsWith('INSERT')) {
      const copy = join(directory, '..', `${basename(directory)}-${copies.push('') - 1}`);
      fs.cpSync(directory, copy, { recursive: true });
      copies[copies.length - 1] = copy;
    }
    return await pass();
  };
  await withStatementsCaught(see, run);
  return copies;
}
