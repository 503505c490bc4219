import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import { expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { EMPTY_VIEW, followChanges, readChanges, type View } from '../follow-changes.js';
import { mustCommit, testLaw } from '../law-test.js';

/** What `changes` yields: nothing missing, nothing out of order, resumable from everywhere. */
export function testChangesLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'changes/no-gap', 'an empty store has no changes, from whichever revision', async ({ open }) => {
    const store = await open();
    expectExact(await readChanges(store, 0), []);
    expectExact(await readChanges(store, 1_000), []);
  });

  testLaw(fixture, 'changes/no-gap', 'from 0 come all present records, by revision', async ({ open }) => {
    const store = await open();
    const revisions = new Map<string, number>();
    for (const key of ['c', 'a', 'b', 'a', 'd', 'c'])
      revisions.set(key, await mustCommit(store, { puts: [{ key, value: `value of ${key}` }] }));
    await mustCommit(store, { deletes: ['d'] });
    const present = (await readChanges(store, 0)).filter((change) => change.record !== undefined);
    expectExact(
      present.map((change) => change.key),
      ['b', 'a', 'c'],
    );
    for (const { key, record } of present) expectRecord(record, { key, value: `value of ${key}`, revision: revisions.get(key)! });
  });

  testLaw(fixture, 'changes/no-gap', 'from a cursor comes what was put since, the latest of each key last', async ({ open }) => {
    const store = await open();
    const cursor = await mustCommit(store, {
      puts: [
        { key: 'old', value: 1 },
        { key: 'a', value: 1 },
      ],
    });
    await mustCommit(store, { puts: [{ key: 'a', value: 2 }] });
    const b = await mustCommit(store, { puts: [{ key: 'b', value: 3 }] });
    const a = await mustCommit(store, { puts: [{ key: 'a', value: 4 }] });
    const latest = new Map((await readChanges(store, cursor)).map((change) => [change.key, change]));
    expect([...latest.keys()].sort()).to.deep.equal(['a', 'b']);
    expectRecord(latest.get('a')?.record, { key: 'a', value: 4, revision: a });
    expectRecord(latest.get('b')?.record, { key: 'b', value: 3, revision: b });
    expectExact(await readChanges(store, a), [], 'changes after the last revision');
  });

  testLaw(
    fixture,
    'changes/no-gap',
    'a deletion just made is yielded, and a key that came back is yielded with its record',
    async ({ open }) => {
      const [store, other] = [await open(), await open()];
      const cursor = await mustCommit(store, { puts: ['a', 'b', 'c'].map((key) => ({ key, value: key })) });
      await mustCommit(store, { deletes: ['b'] });
      const deleted = await mustCommit(other, { deletes: ['a'] });
      const back = await mustCommit(store, { puts: [{ key: 'b', value: 'back' }] });
      const latest = new Map((await readChanges(store, cursor)).map((change) => [change.key, change]));
      expectExact(latest.get('a'), { key: 'a', revision: deleted }, 'the deletion');
      expectRecord(latest.get('b')?.record, { key: 'b', value: 'back', revision: back });
      expect(latest.has('c')).to.equal(false);
    },
  );

  testLaw(fixture, 'changes/no-gap', 'a reader that starts from any revision ends up with all that is there', async ({ open }) => {
    const store = await open();
    const views: View[] = [EMPTY_VIEW];
    for (let count = 0; count < 24; count++) {
      const puts = [
        { key: `key-${count % 5}`, value: count },
        { key: `key-${5 + (count % 3)}`, value: count },
      ];
      await mustCommit(store, count % 4 === 3 ? { deletes: [`key-${count % 7}`] } : { puts });
      views.push(await followChanges(store, views.at(-1)!, { mayForget: true }));
    }
    const last = await followChanges(store, EMPTY_VIEW, { mayForget: false });
    expectExact(views.at(-1)!.records, last.records, 'what one that followed all the way holds');
    for (const view of views) {
      const caughtUp = await followChanges(store, view, { mayForget: true });
      expectExact(caughtUp.records, last.records, `what a reader from revision ${view.cursor} holds`);
    }
  });

  testLaw(fixture, 'changes/no-gap', 'what commits while a reader iterates comes now or from its cursor', async ({ open }) => {
    const [reader, writer] = [await open(), await open()];
    const keys = Array.from({ length: 40 }, (_, index) => `key-${index}`);
    for (const key of keys) await mustCommit(writer, { puts: [{ key, value: 0 }] });
    const seen = new Map<string, unknown>();
    let cursor = 0;
    let written = 0;
    for await (const { key, revision, record } of reader.changes(0)) {
      expect(revision, 'the order of revisions').to.be.at.least(cursor);
      cursor = revision;
      seen.set(key, record?.value);
      if (written < 60)
        await mustCommit(writer, {
          puts: [
            { key: keys[(written * 7) % 40]!, value: ++written },
            { key: `new-${written}`, value: written },
          ],
        });
    }
    expect(written, 'commits made meanwhile').to.be.at.least(40);
    for (const { key, record } of await readChanges(reader, cursor)) seen.set(key, record?.value);
    const records = await reader.read([...seen.keys()]);
    expectExact(
      [...seen.values()],
      records.map((record) => record?.value),
      'what the reader holds',
    );
    expect(seen.size).to.equal(40 + written);
  });

  testLaw(fixture, 'changes/no-gap', 'a deletion that commits while a reader iterates comes now or from its cursor', async ({ open }) => {
    const [reader, writer] = [await open(), await open()];
    const start = await mustCommit(writer, { puts: [{ key: 'first', value: 0 }] });
    for (const key of ['a', 'b', 'c']) await mustCommit(writer, { puts: [{ key, value: 0 }] });
    const seen = new Map<string, unknown>();
    let cursor = start;
    let isWritten = false;
    for await (const { key, revision, record } of reader.changes(start)) {
      if (!isWritten) {
        isWritten = true;
        await mustCommit(writer, { deletes: ['a'] });
        await mustCommit(writer, { puts: [{ key: 'd', value: 0 }] });
      }
      cursor = revision;
      seen.set(key, record?.value);
    }
    for (const { key, record } of await readChanges(reader, cursor)) seen.set(key, record?.value);
    expectExact(
      [...seen]
        .filter(([, value]) => value !== undefined)
        .map(([key]) => key)
        .sort(),
      ['b', 'c', 'd'],
    );
  });

  testLaw(fixture, 'changes/no-gap', 'a reader may stop in the middle, and two may read at once', async ({ open }) => {
    const store = await open();
    for (let count = 0; count < 30; count++) await mustCommit(store, { puts: [{ key: `key-${count}`, value: count }] });
    for await (const { key } of store.changes(0)) if (key === 'key-3') break;
    const [one, two] = await Promise.all([readChanges(store, 0), readChanges(store, 0)]);
    expect(one.length).to.equal(30);
    expectExact(two, one, 'what the second reader got');
  });

  testLaw(fixture, 'changes/no-gap', 'of commits of 1,000 keys after one of a single key nothing is left out', async ({ open }) => {
    const store = await open();
    const first = await mustCommit(store, { puts: [{ key: 'first', value: 0 }] });
    // So that pages of a round number of changes end in the middle of a commit.
    const alone = await mustCommit(store, { puts: [{ key: 'alone', value: 0 }] });
    const keys = Array.from({ length: 6_000 }, (_, index) => `key-${index}`);
    for (let from = 0; from < keys.length; from += 1_000)
      await mustCommit(store, { puts: keys.slice(from, from + 1_000).map((key) => ({ key, value: 0 })) });
    for (const [since, count] of [[0, 6_002] as const, [first, 6_001] as const, [alone, 6_000] as const])
      expect(new Set((await readChanges(store, since)).map(({ key }) => key)).size, 'keys that came').to.equal(count);
  });

  testLaw(fixture, 'changes/no-gap', 'after 12,001 deletions a reader gets every one or is told to start from 0', async ({ open }) => {
    const store = await open();
    const start = await mustCommit(store, {
      puts: [
        { key: 'stays', value: 1 },
        { key: 'goes', value: 1 },
      ],
    });
    // One by itself, so that pages of a round number of changes end in the middle of a commit.
    let last = await mustCommit(store, { deletes: ['goes'] });
    for (let round = 0; round < 12; round++) {
      const keys = Array.from({ length: 1_000 }, (_, index) => `key-${round}-${index}`);
      await mustCommit(store, { puts: keys.map((key) => ({ key, value: 0 })) });
      last = await mustCommit(store, { deletes: keys });
    }
    const present = (await readChanges(store, 0)).filter((change) => change.record !== undefined);
    expectExact(
      present.map((change) => change.key),
      ['stays'],
      'changes(0) never fails for age',
    );
    expectExact(await readChanges(store, last), [], 'nothing was deleted after the last deletion');
    try {
      const deleted = (await readChanges(store, start)).filter((change) => change.record === undefined);
      expect(new Set(deleted.map((change) => change.key)).size, 'deletions yielded').to.equal(12_001);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_HISTORY_GONE')) throw error;
    }
  });

  testLaw(fixture, 'changes/no-gap', 'where nothing was ever deleted, no history is gone, also after reopening', async ({ open }) => {
    let store = await open();
    const revisions: number[] = [];
    for (let count = 0; count < 20; count++) revisions.push(await mustCommit(store, { puts: [{ key: `key-${count % 6}`, value: count }] }));
    await store.close();
    store = await open();
    for (const revision of revisions) await readChanges(store, revision);
    const last = await mustCommit(store, { puts: [{ key: 'new', value: 1 }] });
    expectExact(
      (await readChanges(store, revisions.at(-1)!)).map((change) => change.revision),
      [last],
    );
  });
}
