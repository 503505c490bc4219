/**
 * Proves that compacting a database gives its unused space back, loses no record, and is refused while others have it open. On real
 * files, in a directory of its own.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { compactSqlite } from '../src/compact-sqlite.js';
import { openSqliteBackend } from '../src/open-sqlite-backend.js';
import { codeOf, contentOf, findingsOf, put, recordsOf, withDirectory } from './stores.js';

describe('sqlite: compaction', () => {
  it('acked-survives: the space of what was forgotten is given back, and all jobs keep their records and revisions', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const [one, two] = [await openSqliteBackend({ path, job: 'one' }), await openSqliteBackend({ path, job: 'two' })];
      await put(one, Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`k${n}`, 'x'.repeat(2_000)])));
      await put(two, { kept: 2 });
      for (let n = 0; n < 499; n++) await one.commit({ deletes: [`k${n}`] });
      const before = await recordsOf(one);
      await one.close();
      await two.close();
      const { bytesBefore, bytesAfter, recovery } = await compactSqlite({ path, job: 'one' });
      expect(recovery).to.deep.equal([]);
      expect(bytesAfter)
        .to.equal(fs.statSync(path).size)
        .and.to.be.below(bytesBefore / 2);
      expect(fs.statSync(`${path}.backup`).size).to.be.at.most(bytesAfter);
      const again = await openSqliteBackend({ path, job: 'one' });
      expect(await recordsOf(again)).to.deep.equal(before);
      expect(findingsOf(again)).to.deep.equal([]);
      const result = await again.commit({ puts: [{ key: 'new', value: 1 }] });
      expect(result)
        .to.have.property('revision')
        .above([...before.values()][0]?.revision ?? Number.NaN);
      await again.close();
      const other = await openSqliteBackend({ path, job: 'two' });
      expect([...(await recordsOf(other)).keys()]).to.deep.equal(['kept']);
      await other.close();
    });
  });

  it('acked-survives: while another has it open it is refused, and that one goes on', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const other = await openSqliteBackend({ path });
      await put(other, { a: 1 });
      expect(await codeOf(compactSqlite({ path }))).to.equal('LOOPSTATE_LOCKED');
      await put(other, { b: 2 });
      expect([...(await recordsOf(other)).keys()]).to.deep.equal(['a', 'b']);
      await other.close();
      expect((await compactSqlite({ path })).recovery).to.deep.equal([]);
    });
  });

  it('read/fresh: one who only looks on does not stand in its way', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const writer = await openSqliteBackend({ path });
      await put(writer, { a: 1 });
      await writer.close();
      const reader = await openSqliteBackend({ path }, { access: 'read' });
      await compactSqlite({ path });
      expect([...(await recordsOf(reader)).keys()]).to.deep.equal(['a']);
      await reader.close();
    });
  });

  it('always-starts: what is damaged is repaired first, and said', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.db');
      const writer = await openSqliteBackend({ path });
      await put(writer, { a: 1 });
      await writer.close();
      fs.writeFileSync(path, fs.readFileSync(path).fill(0xff, 0, 4_096));
      expect((await compactSqlite({ path })).recovery.map(({ code }) => code)).to.include('database-damaged');
      const again = await openSqliteBackend({ path });
      expect([...(await recordsOf(again)).keys()]).to.deep.equal(['a']);
      await again.close();
    });
  });

  it('commit/all-or-nothing: what is not there is not made', async () => {
    await withDirectory(async (directory) => {
      expect(await codeOf(compactSqlite({ path: join(directory, 'state.db') }))).to.equal('LOOPSTATE_ABSENT');
      expect(contentOf(directory)).to.deep.equal({});
    });
  });
});
