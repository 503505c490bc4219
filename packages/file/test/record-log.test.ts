/**
 * Proves that the log in memory equals a naive model: random puts and deletes, with slices, cuts and forgetting in between.
 */
import type { StateChange } from '@loopstate/core';
import { expect } from 'chai';
import type { LogCut } from '../src/log-cut.js';
import { type LogEntry, RecordLog, toRecord } from '../src/record-log.js';
import { announceRandom } from './seed.js';

const put = (key: string, revision: number): LogEntry => ({ key, revision, at: 0, text: String(revision) });
const toChange = (entry: LogEntry): StateChange =>
  entry.text === undefined
    ? { key: entry.key, revision: entry.revision }
    : { key: entry.key, revision: entry.revision, record: toRecord(entry) };
const byRevisionAndKey = (a: LogEntry, b: LogEntry) => a.revision - b.revision || (a.key < b.key ? -1 : 1);
const deletion = (key: string, revision: number): LogEntry => ({ key, revision, at: 0, text: undefined });

/** What a snapshot takes as it is, as entries. */
async function chunkOf(cut: LogCut): Promise<LogEntry[]> {
  const chunk = cut.takeChunk();
  const rows = chunk === undefined ? [] : (JSON.parse(`[${await chunk.bytes()}]`) as [string, number, number, unknown][]);
  expect(rows).to.have.length(chunk?.count ?? 0);
  return rows.map(([key, revision, at, value]) => ({ key, revision, at, text: JSON.stringify(value) }));
}

/** What a snapshot takes next, and how much that is. */
async function nextOf(cut: LogCut): Promise<{ records: number; sizeBytes: number } | undefined> {
  const chunk = cut.takeChunk();
  if (chunk !== undefined) return { records: chunk.count, sizeBytes: (await chunk.bytes()).length };
  const entries = cut.take(250);
  const sizeBytes = entries.reduce((sum, { text }) => sum + (text?.length ?? 0), 0);
  return entries.length === 0 ? undefined : { records: entries.length, sizeBytes };
}

describe('file: RecordLog', () => {
  it('changes/no-gap: slices and cuts equal a naive model', async () => {
    const random = announceRandom();
    for (let round = 0; round < 6; round++) {
      const log = new RecordLog();
      const model = new Map<string, LogEntry>();
      let cut = log.cut(0);
      let expectedCut: LogEntry[] = [];
      let taken: LogEntry[] = [];
      // Also with revisions that are far apart, as after many losses.
      const stride = round % 2 === 0 ? 1 : 3_000_000_000;
      for (let commit = 1; commit <= 6_000; commit++) {
        const revision = commit * stride;
        for (let entries = 1 + random.below(3); entries > 0; entries--) {
          const key = `k${random.below(20 + round * 700)}`;
          if (model.get(key)?.revision === revision) continue;
          const entry = random.below(4) === 0 ? deletion(key, revision) : put(key, revision);
          log.append(entry);
          model.delete(key);
          model.set(key, entry);
        }
        if (random.below(10) === 0) taken.push(...cut.take(1 + random.below(300)));
        if (random.below(10) === 0) taken.push(...(await chunkOf(cut)));
        if (random.below(900) === 0) {
          for (let more = cut.take(50); more.length > 0; more = cut.take(50)) taken.push(...more, ...(await chunkOf(cut)));
          // Within one commit the order says nothing.
          expect(taken.sort(byRevisionAndKey)).to.deep.equal(expectedCut.sort(byRevisionAndKey));
          taken = [];
          cut = log.cut(revision);
          expectedCut = [...model.values()].filter(({ text }) => text !== undefined);
          expect(cut.records).to.equal(expectedCut.length);
        }
        if (random.below(400) === 0) {
          const after = random.below(commit + 1) * stride;
          const all = [...model.values()].filter((entry) => entry.revision > after);
          expect(log.slice(after, Number.POSITIVE_INFINITY)).to.deep.equal(all);
          const some = log.slice(after, 10);
          expect(some).to.deep.equal(all.slice(0, some.length));
          expect(all[some.length]?.revision).not.to.equal(some.at(-1)?.revision ?? 0);
          const changes = log.changes(after, 10);
          expect(changes).to.deep.equal(all.slice(0, Math.max(10, changes.length)).map(toChange));
          expect(all[changes.length]?.revision).not.to.equal(changes.at(-1)?.revision ?? 0);
        }
      }
      expect(log.present).to.equal([...model.values()].filter(({ text }) => text !== undefined).length);
    }
  });

  it('always-starts: of large values a chunk has few, so nothing that is packed, joined or cut outgrows a string', async () => {
    const log = new RecordLog();
    const text = JSON.stringify('x'.repeat(500_000));
    let revision = 0;
    // Claimed, ended and claimed again: chunks are closed, swept and joined.
    for (const texts of [['"claimed"', text], ['"claimed"'], [text]]) {
      for (let item = 0; item < 40; item++) {
        for (const value of texts) log.append({ key: `item/${item}`, revision: ++revision, at: 0, text: value });
      }
    }
    const cut = log.cut(revision);
    let records = 0;
    let largest = 0;
    for (let more = await nextOf(cut); more !== undefined; more = await nextOf(cut)) {
      largest = Math.max(largest, more.sizeBytes);
      records += more.records;
    }
    expect(records).to.equal(40);
    expect(largest).to.be.within(500_000, 6_000_000);
    expect(log.slice(0, Number.POSITIVE_INFINITY)).to.have.length(40);
  });

  it('forgets old deletions, and says up to which', () => {
    const log = new RecordLog();
    for (let revision = 1; revision <= 10_005; revision++) log.append(deletion(`k${revision}`, revision));
    expect(log.forgotten).to.equal(5);
    expect(log.lastDeletion).to.equal(10_005);
    expect(log.slice(5, 1)[0]?.revision).to.equal(6);
  });

  it('flat-cost: replacing one key for ever keeps the log short', () => {
    const log = new RecordLog();
    for (let revision = 1; revision <= 300_000; revision++) log.append(put(`k${revision % 3_000}`, revision));
    expect(log.slice(0, Number.POSITIVE_INFINITY)).to.have.length(3_000);
    // Stale ones are swept, twice as fast as new ones come.
    expect(log.entries).to.be.below(3 * 3_000);
  });

  it('a cut that is abandoned or replaced keeps nothing', () => {
    const log = new RecordLog([put('a', 1), put('b', 2)]);
    const abandoned = log.cut(2);
    abandoned.abandon();
    expect(abandoned.take(10)).to.deep.equal([]);
    const first = log.cut(2);
    const second = log.cut(2);
    first.abandon();
    log.append(put('a', 3));
    expect(second.take(10)).to.deep.equal([put('a', 1), put('b', 2)]);
  });

  it('changes/no-gap: what is deflated reads the same, and a log that is closed deflates nothing more', async () => {
    const all = Array.from({ length: 40_000 }, (_, index) => put(`key ${index} ü`, index + 1));
    const [log, closed] = [new RecordLog(all), new RecordLog(all)];
    closed.close();
    await Promise.all([log.deflateOld(), closed.deflateOld()]);
    expect(log.slice(0, all.length)).to.deep.equal(all);
    expect(log.changes(0, all.length)).to.deep.equal(all.map(toChange));
    expect(log.get('key 17 ü')).to.deep.equal(all[17]);
    expect(closed.changes(0, all.length)).to.deep.equal(all.map(toChange));
  });
});
