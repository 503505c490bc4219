import { isLoopStateError, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { runProgram } from '../child.js';
import { expectCode, expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { mustCommit, testLaw } from '../law-test.js';

const EXIT_WITHIN_MS = 5_000;

/** What closing a handle ends, and what it does not. */
export function testCloseLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'close/final', 'every call on a closed handle rejects, also one that would be refused anyway', async ({ open }) => {
    const store = await open();
    await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    await store.close();
    await expectCode(store.read(['a']), 'LOOPSTATE_CLOSED', 'read');
    await expectCode(store.read([]), 'LOOPSTATE_CLOSED', 'read of nothing');
    await expectCode(store.commit({ puts: [{ key: 'a', value: 2 }] }), 'LOOPSTATE_CLOSED', 'commit');
    await expectCode(store.commit({ checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 2 }] }), 'LOOPSTATE_CLOSED', 'commit');
    await expectCode(drain(store, 0), 'LOOPSTATE_CLOSED', 'changes(0)');
    await expectCode(drain(store, 5), 'LOOPSTATE_CLOSED', 'changes(5)');
    expectExact((await (await open()).read(['a']))[0]?.value, 1);
  });

  testLaw(
    fixture,
    'close/final',
    'a call that comes after that to close rejects, also while the handle is being closed',
    async ({ open }) => {
      const store = await open();
      const inFlight = mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
      const closing = store.close();
      const calls = [store.read(['a']), store.commit({ puts: [{ key: 'a', value: 2 }] }), drain(store, 0)];
      // All at once: none may be rejected while nobody waits for it.
      await Promise.all([inFlight, closing, ...calls.map((call) => expectCode(call, 'LOOPSTATE_CLOSED', 'a call'))]);
      expectExact((await (await open()).read(['a']))[0]?.value, 1);
    },
  );

  testLaw(fixture, 'close/final', 'closing twice is allowed, one after the other and at once', async ({ open }) => {
    const store = await open();
    await mustCommit(store, { puts: [{ key: 'a', value: 1 }] });
    await Promise.all([store.close(), store.close()]);
    await store.close();
    await expectCode(store.read(['a']), 'LOOPSTATE_CLOSED', 'read');
  });

  testLaw(fixture, 'close/final', 'one handle closed leaves the others open', async ({ open }) => {
    const [first, second] = [await open(), await open()];
    await mustCommit(first, { puts: [{ key: 'a', value: 1 }] });
    await first.close();
    const revision = await mustCommit(second, { puts: [{ key: 'a', value: 2 }] });
    const third = await open();
    expectRecord((await third.read(['a']))[0], { key: 'a', value: 2, revision });
    await second.close();
    await mustCommit(third, { checks: [{ key: 'a', revision }], deletes: ['a'] });
  });

  testLaw(
    fixture,
    'close/final',
    'calls in flight finish before the handle is closed, and what they committed is there after reopening',
    async ({ open }) => {
      const store = await open();
      const commits = Array.from({ length: 25 }, (_, count) => store.commit({ puts: [{ key: `key-${count}`, value: count }] }));
      const read = store.read(['none', 'key-0']);
      let answered = 0;
      for (const call of [...commits, read]) void call.finally(() => answered++).catch(() => undefined);
      await store.close();
      // Whoever heard of the close may leave at once; which of two promises that are resolved together is heard of first is nobody's matter.
      await new Promise(setImmediate);
      expect(answered, 'calls that had ended when the handle was closed').to.equal(26);
      const results = await Promise.all(commits);
      expect(results.every((result) => result.ok)).to.equal(true);
      expect((await read)[0]).to.equal(undefined);
      const records = await (await open()).read(commits.map((_, count) => `key-${count}`));
      expectExact(
        records.map((record) => record?.value),
        [...commits.keys()],
      );
    },
  );

  testLaw(fixture, 'close/final', 'changes that are being read end in full or reject, and never just stop', async ({ open }) => {
    const store = await open();
    for (let count = 0; count < 20; count++) await mustCommit(store, { puts: [{ key: `key-${count}`, value: count }] });
    let yielded = 0;
    try {
      for await (const _ of store.changes(0)) if (++yielded === 3) void store.close();
      expect(yielded, 'changes yielded until the end').to.equal(20);
    } catch (error) {
      if (!isLoopStateError(error, 'LOOPSTATE_CLOSED')) throw error;
    }
  });

  testLaw(fixture, 'close/final', 'open, close and open again, many times and at once', async ({ open }) => {
    for (let round = 0; round < 5; round++) {
      const handles = await Promise.all([open(), open(), open()]);
      await Promise.all(handles.map((handle, index) => mustCommit(handle, { puts: [{ key: `key-${index}`, value: round }] })));
      const [first, ...others] = handles;
      const [, next] = await Promise.all([first!.close(), open(), ...others.map((handle) => handle.close())]);
      expectExact(
        (await next.read(['key-0', 'key-1', 'key-2'])).map((record) => record?.value),
        [round, round, round],
      );
      await next.close();
    }
  });

  testLaw(fixture, 'close/final', 'nothing keeps a process alive that closed its handles (child process)', async ({ url }) => {
    // No handle of ours is open: a store of reach `process` belongs to the child alone.
    const { exitCode } = await runProgram('close-and-leave', fixture, url, { last: 'closed', withinMs: EXIT_WITHIN_MS });
    expect(exitCode, 'the exit code; null if the process had to be ended').to.equal(0);
  });

  if (fixture.traits.survives === 'nothing') return;
  testLaw(fixture, 'read/fresh', 'what a process that is gone committed is there (child process)', async ({ url, open }) => {
    const { lines, exitCode } = await runProgram('close-and-leave', fixture, url, { last: 'closed', withinMs: EXIT_WITHIN_MS });
    expect(exitCode).to.equal(0);
    const revision = Number(lines.find((line) => line.startsWith('revision '))?.slice('revision '.length));
    const store = await open();
    expectRecord((await store.read(['from-child']))[0], { key: 'from-child', value: { sent: ['by a child'] }, revision });
    expect(await mustCommit(store, { puts: [{ key: 'from-parent', value: 1 }] })).to.be.greaterThan(revision);
  });
}

async function drain(store: StateBackend, since: number): Promise<void> {
  for await (const _ of store.changes(since)) void _;
}
