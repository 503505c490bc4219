/**
 * The judge of histories tells good from bad: histories that a correct store gave, at random, with overlapping calls and lost replies,
 * have no violations; one thing changed in them, and it names the law. Of small histories, true and changed ones, it says what trying
 * every order says.
 */
import { applyCommit, type Commit, checkCommit, createMemoryStore, type Law, openMemoryBackend, type StateRecord } from '@loopstate/core';
import { expect } from 'chai';
import type { HistoryEvent } from '../src/history.js';
import { judgeHistory } from '../src/judge-history.js';
import { prove } from '../src/proofs.js';
import { announceSeed, type Random } from '../src/seed.js';
import { isPossible } from './search-history.js';

type CommitEvent = Extract<HistoryEvent, { kind: 'commit' }>;

describe('judgeHistory', () => {
  it('finds nothing in what a correct store answered to overlapping calls', async () => {
    const random = announceSeed();
    for (let round = 0; round < 60; round++) {
      const events = await randomHistory(random, { calls: 80, lostOneIn: 12 });
      expect(judgeHistory(events), JSON.stringify(events)).to.deep.equal([]);
    }
  });

  it('finds a lie in each of many random histories, wherever it stands', async () => {
    const random = announceSeed();
    let lies = 0;
    for (let round = 0; round < 150; round++) {
      const events = await randomHistory(random, { calls: 80, lostOneIn: 12 });
      const index = random.next(events.length);
      const lie = turnRound(events[index]!);
      if (lie === undefined) continue;
      lies++;
      expect(judgeHistory(events.with(index, lie)), JSON.stringify(events[index])).not.to.deep.equal([]);
    }
    expect(lies, 'lies told').to.be.greaterThan(60);
  });

  it('says of small histories, true or with one thing changed, what trying every order says', async () => {
    const random = announceSeed();
    const counts = { possible: 0, impossible: 0 };
    for (let round = 0; round < 6_000; round++) {
      const events = await randomHistory(random, { calls: 3 + random.next(4), lostOneIn: 3 });
      const index = random.next(events.length);
      const told = round % 3 === 0 ? events : events.with(index, changed(events[index]!, events, random));
      const violations = judgeHistory(told);
      const isRight = isPossible(told);
      counts[isRight ? 'possible' : 'impossible']++;
      expect(violations.length === 0, `${JSON.stringify(told)} ${JSON.stringify(violations)}`).to.equal(isRight);
    }
    prove({
      test: 'S12 checker of histories',
      backend: 'none',
      counts: { cases: counts.impossible + counts.possible },
      least: { cases: 6_000 },
    });
    expect(counts.impossible, 'histories that cannot be').to.be.greaterThan(800);
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
  const drop = (revision: number): Commit => ({ checks: [{ key: 'a', revision }], deletes: ['a'] });
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
    'in which only a lost deletion explains what is gone': [made(put(1), 1, 0, 1), lost(drop(1), 2, 3), read(4, 5, undefined)],
    'in which two lost commits explain one check': [lost(put(1), 0, 1), lost(put(2, 1), 2, 3), made(put(3, 2), 3, 4, 5)],
    'in which a lost commit landed between two reads': [
      made(put(1), 1, 0, 1),
      lost(drop(1), 2, 3),
      read(4, 5, [1, 1]),
      read(6, 7, undefined),
    ],
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
    ['read/fresh', 'in which what was seen of a lost commit is gone', [lost(put(1), 0, 1), read(2, 3, [1, 1]), read(4, 5, undefined)]],
    ['read/fresh', 'in which a read falls behind another', [made(put(1), 1, 0, 9), read(1, 2, [1, 1]), read(3, 4, undefined)]],
    [
      'read/fresh',
      'in which a lost deletion came before what it deleted',
      [lost(drop(1), 0, 1), made(put(1), 1, 2, 3), read(4, 5, [2, 1])],
    ],
    [
      'read/fresh',
      'in which a lost deletion was seen, and then had not been',
      [made(put(1), 1, 0, 1), lost(drop(1), 2, 3), read(4, 5, undefined), read(6, 7, [1, 1])],
    ],
    [
      'commit/one-revision',
      'in which a lost commit landed before what had been seen when it was sent',
      [made(both(1), 5, 0, 1), lost(both(2), 2, 3), read(4, 5, [2, 3])],
    ],
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

/**
 * Calls take place at one moment each, in order; each began some time before its moment and ended some time after it. Of a call whose
 * reply was lost it is only known when it began: it takes place later, or never.
 */
async function randomHistory(random: Random, { calls, lostOneIn }: { calls: number; lostOneIn: number }): Promise<HistoryEvent[]> {
  const store = createMemoryStore();
  const reader = openMemoryBackend({ store });
  const keys = ['a', 'b', 'c'].slice(0, calls < 10 ? 2 : 3);
  const events: HistoryEvent[] = [];
  for (let moment = 0; moment < calls; moment++) {
    const [startMs, endMs] = [moment * 10 - random.next(60), moment * 10 + random.next(60)];
    if (random.next(3) === 0) {
      const read = keys.filter(() => random.next(3) > 0);
      events.push({ kind: 'read', startMs, endMs, keys: read, records: await reader.read(read) });
      continue;
    }
    const key = random.pick(keys);
    const standing = (await reader.read([key]))[0]?.revision ?? 0;
    const checks = random.next(4) === 0 ? [] : [{ key, revision: random.next(3) === 0 ? random.next(calls) : standing }];
    const written = keys.filter((other) => other === key || random.next(2) === 0);
    const deletes = written.filter(() => random.next(4) === 0);
    const puts = written.filter((each) => !deletes.includes(each)).map((each) => ({ key: each, value: `${moment}` }));
    const commit: Commit = { checks, puts, deletes };
    const isLost = random.next(lostOneIn) === 0;
    if (!isLost || random.next(3) > 0) {
      // Some stores pass over revisions.
      if (random.next(2) === 0) store.state = { ...store.state, revision: store.state.revision + random.next(3) };
      const { state, result } = applyCommit(store.state, checkCommit(commit), 0);
      store.state = state;
      if (!isLost) events.push({ kind: 'commit', startMs, endMs, commit, answer: result });
    }
    if (isLost) events.push({ kind: 'commit', startMs, endMs: startMs + random.next(100), commit, answer: 'unknown' });
  }
  return events;
}

/** The same call with an answer that cannot be true, or nothing if it had no answer. */
function turnRound(event: HistoryEvent): HistoryEvent | undefined {
  if (event.kind === 'read') {
    const records = event.records.map((record) =>
      record === undefined ? { key: 'a', value: 'invented', revision: 1, at: 0 } : { ...record, value: 'other' },
    );
    return records.length === 0 ? undefined : { ...event, records };
  }
  return isYes(event) ? { ...event, answer: { ok: false, conflicts: [] } } : undefined;
}

/** The same call with something changed, which may be a lie or not. */
function changed(event: HistoryEvent, events: readonly HistoryEvent[], random: Random): HistoryEvent {
  const [early, late] = [random.next(30), random.next(30)];
  if (random.next(4) === 0) return { ...event, startMs: event.startMs + early, endMs: event.endMs + early + late };
  const known = events.flatMap((each): (StateRecord | undefined)[] => (each.kind === 'read' ? [...each.records] : putsOf(each)));
  if (event.kind === 'read') {
    const index = random.next(event.keys.length);
    const others = [undefined, ...known.filter((record) => record?.key === event.keys[index])];
    return event.keys.length === 0 ? event : { ...event, records: event.records.with(index, random.pick(others)) };
  }
  const conflicts = (event.commit.checks ?? []).map(({ key }) => {
    const record = random.pick([undefined, ...known.filter((each) => each?.key === key)]);
    return record === undefined ? { key } : { key, record };
  });
  const revision = Math.max(1, (isYes(event) ? event.answer.revision : random.next(8)) + random.next(4) - 1);
  return { ...event, answer: random.pick([{ ok: true, revision }, { ok: false, conflicts }, 'unknown'] as const) };
}

function putsOf({ commit, answer }: CommitEvent): StateRecord[] {
  const revision = answer !== 'unknown' && answer.ok ? answer.revision : 3;
  return (commit.puts ?? []).map(({ key, value }) => ({ key, value, revision, at: 0 }));
}

function isYes(event: CommitEvent): event is CommitEvent & { answer: { ok: true; revision: number } } {
  return event.answer !== 'unknown' && event.answer.ok;
}
