import { expect } from 'chai';
import { expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { mustCommit, testLaw } from '../law-test.js';

/** What `read` answers, on every handle. */
export function testReadLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'read/fresh', 'a read sees every commit that resolved, on whichever handle', async ({ open }) => {
    const [writer, reader] = [await open(), await open()];
    for (let count = 1; count <= 25; count++) {
      const revision = await mustCommit(writer, { puts: [{ key: 'a', value: count }] });
      expectRecord((await reader.read(['a']))[0], { key: 'a', value: count, revision });
      if (count % 5 !== 0) continue;
      await mustCommit(reader, { deletes: ['a'] });
      expect((await writer.read(['a']))[0], 'a deleted record').to.equal(undefined);
    }
  });

  testLaw(fixture, 'read/fresh', 'a handle opened after a commit sees it, while older handles stay open', async ({ open }) => {
    const first = await open();
    const revision = await mustCommit(first, { puts: [{ key: 'a', value: 1 }] });
    const second = await open();
    expectRecord((await second.read(['a']))[0], { key: 'a', value: 1, revision });
    const later = await mustCommit(second, { puts: [{ key: 'a', value: 2 }] });
    expectRecord((await first.read(['a']))[0], { key: 'a', value: 2, revision: later });
  });

  testLaw(fixture, 'read/fresh', 'a check is judged against what other handles committed', async ({ open }) => {
    const [one, two] = [await open(), await open()];
    let revision = 0;
    for (let count = 0; count < 20; count++) {
      const commit = { checks: [{ key: 'baton', revision }], puts: [{ key: 'baton', value: count }] };
      revision = await mustCommit(count % 2 === 0 ? one : two, commit);
    }
  });

  testLaw(fixture, 'read/fresh', 'records come in the order of the keys, also of absent and repeated ones', async ({ open }) => {
    const store = await open();
    await mustCommit(store, {
      puts: [
        { key: 'b', value: 'B' },
        { key: 'a', value: 'A' },
      ],
    });
    const records = await store.read(['a', 'none', 'b', 'a']);
    expectExact(
      records.map((record) => record?.value),
      ['A', undefined, 'B', 'A'],
    );
    expectExact(
      records.map((record) => record?.key),
      ['a', undefined, 'b', 'a'],
    );
    expectExact(await store.read([]), []);
  });

  testLaw(fixture, 'read/fresh', '2,500 keys are read at once', async ({ open }) => {
    const store = await open();
    const keys = Array.from({ length: 2_500 }, (_, index) => `key-${index}`);
    for (let start = 0; start < keys.length; start += 500) {
      await mustCommit(store, { puts: keys.slice(start, start + 500).map((key) => ({ key, value: key })) });
    }
    const records = await store.read([...keys, 'none']);
    expectExact(
      records.map((record) => record?.value),
      [...keys, undefined],
    );
  });
}
