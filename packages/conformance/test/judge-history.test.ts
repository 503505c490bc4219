/**
 * The judge of histories tells good from bad: histories that a correct store gave, at random and with overlapping calls, have no
 * violations; one thing changed in them, and it names the law.
 */
import { applyCommit, type Commit, checkCommit, createMemoryStore, type Law, openMemoryBackend } from '@loopstate/core';
import { expect } from 'chai';
import { type HistoryEvent, judgeHistory } from '../src/judge-history.js';
import { announceSeed, type Random } from '../src/seed.js';

type CommitEvent = Extract<HistoryEvent, { kind: 'commit' }>;

describe('judgeHistory', () => {
  it('finds nothing in what a correct store answered to overlapping calls', async () => {
    const random = announceSeed();
    for (let round = 0; round < 20; round++) expect(judgeHistory(await randomHistory(random, { losesReplies: true }))).to.deep.equal([]);
  });

  it('finds a lie in each of many random histories, wherever it stands', async () => {
    const random = announceSeed();
    let lies = 0;
    for (let round = 0; round < 60; round++) {
      // What a commit of unknown outcome may have written is not judged: a lie about it could go unnoticed.
      const events = await randomHistory(random, { losesReplies: false });
      const index = random.next(events.length);
      const lie = turnRound(events[index]!);
      if (lie === undefined) continue;
      lies++;
      expect(judgeHistory(events.with(index, lie)), JSON.stringify(events[index])).not.to.deep.equal([]);
    }
    expect(lies, 'lies told').to.be.greaterThan(20);
  });

  const put = (value: number, revision = 0): Commit => ({ checks: [{ key: 'a', revision }], puts: [{ key: 'a', value }] });
  const made = (commit: Commit, revision: number, startMs: number, endMs: number): HistoryEvent => {
    return { kind: 'commit', startMs, endMs, commit, answer: { ok: true, revision } };
  };
  const refused = (commit: Commit, startMs: number, endMs: number, value?: number, revision = 1): HistoryEvent => {
    const conflict = value === undefined ? { key: 'a' } : { key: 'a', record: { key: 'a', value, revision, at: 0 } };
    return { kind: 'commit', startMs, endMs, commit, answer: { ok: false, conflicts: [conflict] } };
  };
  const lost = (commit: Commit, startMs: number, endMs: number): HistoryEvent => {
    return { kind: 'commit', startMs, endMs, commit, answer: 'unknown' };
  };
  const read = (startMs: number, endMs: number, ...values: (readonly [value: number, revision: number] | undefined)[]): HistoryEvent => {
    const keys = ['a', 'b'].slice(0, values.length);
    const records = values.map((pair, index) => pair && { key: keys[index]!, value: pair[0], revision: pair[1], at: 0 });
    return { kind: 'read', startMs, endMs, keys, records };
  };
  const both = (value: number): Commit => ({ puts: ['a', 'b'].map((key) => ({ key, value })) });

  const good: Record<string, HistoryEvent[]> = {
    'of nothing': [],
    'in which one of two rivals won': [made(put(1), 1, 0, 10), refused(put(2), 0, 10, 1)],
    'in which a read saw either side of a commit under way': [
      made(both(1), 1, 0, 10),
      read(1, 2, undefined, undefined),
      read(3, 4, [1, 1], [1, 1]),
    ],
    'in which a refusal shows a record that came later': [made(put(1), 1, 0, 1), made(put(2, 1), 2, 2, 8), refused(put(3), 2, 9, 2, 2)],
    'in which a lost commit took place': [lost(put(1), 0, 1), refused(put(2), 2, 3, 1), made(put(3, 1), 2, 4, 5)],
    'in which a lost commit took place after its call ended': [lost(put(1), 0, 1), read(2, 3, undefined), read(4, 5, [1, 1])],
    'in which a lost commit left no trace': [lost(put(1), 0, 1), made(put(2), 1, 2, 3), read(4, 5, [2, 1])],
  };
  for (const [title, events] of Object.entries(good)) {
    it(`finds nothing in a history ${title}`, () => expect(judgeHistory(events)).to.deep.equal([]));
  }

  const bad: readonly (readonly [law: Law, title: string, events: HistoryEvent[]])[] = [
    ['commit/check-now', 'in which both rivals won', [made(put(1), 1, 0, 10), made(put(2), 2, 0, 10)]],
    ['commit/check-now', 'in which an update was lost', [made(put(1), 1, 0, 1), made(put(2, 1), 2, 2, 5), made(put(3, 1), 3, 2, 5)]],
    ['commit/one-revision', 'in which two commits share a revision', [made(both(1), 1, 0, 1), made(both(2), 1, 2, 3)]],
    ['commit/one-revision', 'in which revisions go back', [made(both(1), 2, 0, 1), made(both(2), 1, 2, 3)]],
    ['commit/conflict-is-a-value', 'in which a commit was refused for nothing', [refused(put(1), 0, 1)]],
    ['commit/conflict-is-a-value', 'in which a refusal came before its reason', [refused(put(2), 0, 1, 1), made(put(1), 1, 2, 3)]],
    [
      'commit/conflict-is-a-value',
      'in which a refusal shows a record that was replaced before',
      [made(put(1), 1, 0, 1), made(put(2, 1), 2, 2, 3), refused(put(3), 4, 5, 1)],
    ],
    ['commit/conflict-is-a-value', 'in which a refusal shows no record', [made(put(1), 1, 0, 1), refused(put(2), 2, 3)]],
    ['read/fresh', 'in which a read is stale', [made(put(1), 1, 0, 1), read(2, 3, undefined)]],
    ['read/fresh', 'in which a read saw a commit before it was begun', [read(0, 1, [1, 1]), made(put(1), 1, 2, 3)]],
    ['read/fresh', 'in which a read saw another value', [made(put(1), 1, 0, 1), read(2, 3, [9, 1])]],
    ['commit/all-or-nothing', 'in which a read saw half of a commit', [made(both(1), 1, 0, 9), read(1, 2, [1, 1], undefined)]],
    [
      'commit/check-now',
      'in which a lost commit took place, and its key was free all the same',
      [lost(put(1), 0, 1), read(2, 3, [1, 1]), made(put(2), 2, 4, 5)],
    ],
  ];
  for (const [law, title, events] of bad) {
    it(`names ${law} in a history ${title}`, () => expect(judgeHistory(events).map((violation) => violation.law)).to.include(law));
  }
});

/** Calls take place at one moment each, in order; each began some time before its moment and ended some time after it. */
async function randomHistory(random: Random, { losesReplies }: { losesReplies: boolean }): Promise<HistoryEvent[]> {
  const store = createMemoryStore();
  const reader = openMemoryBackend({ store });
  const keys = ['a', 'b', 'c'];
  const events: HistoryEvent[] = [];
  for (let moment = 0; moment < 80; moment++) {
    const [startMs, endMs] = [moment * 10 - random.next(60), moment * 10 + random.next(60)];
    if (random.next(3) === 0) {
      events.push({ kind: 'read', startMs, endMs, keys, records: await reader.read(keys) });
      continue;
    }
    const key = random.pick(keys);
    const standing = (await reader.read([key]))[0]?.revision ?? 0;
    const checks = [{ key, revision: random.next(3) === 0 ? random.next(20) : standing }];
    const others = keys.filter((other) => other !== key && random.next(2) === 0);
    const commit: Commit = { checks, puts: [key, ...others].map((written) => ({ key: written, value: `${moment}` })) };
    const { state, result } = applyCommit(store.state, checkCommit(commit), 0);
    store.state = state;
    const isLost = losesReplies && random.next(15) === 0;
    events.push({ kind: 'commit', startMs, endMs, commit, answer: isLost ? 'unknown' : result });
  }
  return events;
}

/** The same call with an answer that cannot be true, or nothing if it had no answer. */
function turnRound(event: HistoryEvent): HistoryEvent | undefined {
  if (event.kind === 'read') {
    const records = event.records.map((record) =>
      record === undefined ? { key: 'a', value: 'invented', revision: 1, at: 0 } : { ...record, value: 'other' },
    );
    return { ...event, records };
  }
  return isYes(event) ? { ...event, answer: { ok: false, conflicts: [] } } : undefined;
}

function isYes(event: CommitEvent): boolean {
  return event.answer !== 'unknown' && event.answer.ok;
}
