/**
 * Proves that snapshots and journals read back as they were written, that a snapshot is one JSON document, and that every
 * change of a byte is noticed. Whole sweeps over stores are in `damage.test.ts`.
 */
import { expect } from 'chai';
import { encodeCommit, encodeJournalHeader, parseJournal } from '../src/journal.js';
import { checksum, readLines, sealLine } from '../src/lines.js';
import type { LogEntry } from '../src/record-log.js';
import { parseSnapshot, type SnapshotHeader, SnapshotScan, SnapshotText } from '../src/snapshot.js';

const KEYS = ['item/a', '__proto__', 'new\nline', 'nul\0', '"quoted"', 'emoji 😀', '["00000000",1]'];
const entries: LogEntry[] = KEYS.map((key, at) => ({
  key,
  revision: at + 1,
  at: 1_790_000_000_000 + at,
  text: JSON.stringify({ key, nested: [[['deep']]] }),
}));
const header: SnapshotHeader = { store: 's', generation: 3, revision: 9, forgotten: 2, closed: true, records: entries.length };

function snapshotText(chunks: readonly (readonly LogEntry[])[], about: SnapshotHeader = header): string {
  const text = new SnapshotText(about);
  return [text.first(), ...chunks.map((chunk) => text.chunk(chunk).toString()), text.last()].join('');
}

describe('file: the text of snapshots', () => {
  it('value/exact: reads back, and is one JSON document', () => {
    const text = snapshotText([entries.slice(0, 3), entries.slice(3)]);
    const found = parseSnapshot(Buffer.from(text));
    expect(found.isComplete).to.equal(true);
    expect(found.header).to.deep.include(header);
    expect(found.entries).to.deep.equal(entries);
    const document = JSON.parse(text) as { chunks: unknown[]; lines: number };
    expect(document.lines).to.equal(2);
    expect(document.chunks).to.have.length(2);
  });

  it('is taken in while its bytes come, and what is not there yet is not looked at', () => {
    const text = Buffer.from(snapshotText(entries.map((entry) => [entry])));
    for (const pieceBytes of [1, 7, 100, text.length]) {
      const bytes = Buffer.alloc(text.length, '\n');
      const scan = new SnapshotScan();
      for (let done = 0; done < text.length; done += pieceBytes) {
        text.copy(bytes, done, done, done + pieceBytes);
        scan.take(bytes, Math.min(done + pieceBytes, text.length));
      }
      expect(scan.end(bytes)?.entries, `${pieceBytes} bytes at a time`).to.deep.equal(entries);
    }
  });

  it('an empty one reads back', () => {
    const text = snapshotText([], { ...header, records: 0 });
    expect(parseSnapshot(Buffer.from(text)).isComplete).to.equal(true);
    expect(JSON.parse(text)).to.deep.include({ chunks: [], lines: 0 });
  });

  it('a missing, doubled or exchanged line is noticed, and the others are kept', () => {
    const lines = snapshotText(entries.map((entry) => [entry])).split('\n');
    const without = parseSnapshot(Buffer.from([...lines.slice(0, 3), ...lines.slice(4)].join('\n')));
    expect([without.isComplete, without.entries.length]).to.deep.equal([false, entries.length - 1]);
    const doubled = parseSnapshot(Buffer.from([...lines.slice(0, 3), lines[2], ...lines.slice(3)].join('\n')));
    expect(doubled.isComplete).to.equal(false);
    const exchanged = parseSnapshot(Buffer.from([lines[0], lines[2], lines[1], ...lines.slice(3)].join('\n')));
    expect([exchanged.isComplete, exchanged.entries.length]).to.deep.equal([false, entries.length]);
  });

  it('a line of another snapshot of the same store is noticed', () => {
    const mine = snapshotText([entries.slice(0, 3), entries.slice(3)]).split('\n');
    const other = snapshotText([entries.slice(0, 3).map((entry) => ({ ...entry, text: '"old"' })), entries.slice(3)]).split('\n');
    expect(parseSnapshot(Buffer.from([mine[0], other[1], ...mine.slice(2)].join('\n'))).isComplete).to.equal(false);
  });

  it('a newer format is known by its header alone, and only if the checksum holds', () => {
    const rest = '"format":2,"whatever":[';
    const newer = parseSnapshot(Buffer.from(`{"loopstate":"${checksum(rest)}",${rest}\nanything`));
    expect(newer.isNewer).to.equal(true);
    const damaged = parseSnapshot(Buffer.from(`{"loopstate":"00000000",${rest}\nanything`));
    expect([damaged.isNewer, damaged.isOurs]).to.deep.equal([false, true]);
  });
});

describe('file: the text of journals', () => {
  const lines = [
    encodeJournalHeader({ store: 's', generation: 4, since: 9, after: 3 }),
    encodeCommit(10, 1, [{ key: 'a', text: '{"x":[1]}' }], ['b']),
    encodeCommit(11, 2, [{ key: '__proto__', text: '"\\n"' }], []),
    encodeCommit(12, 3, [], ['a']),
  ];
  const space = '\0'.repeat(100);

  it('value/exact: reads back', () => {
    const found = parseJournal(Buffer.from(lines.join('') + space));
    expect(found.header).to.deep.include({ store: 's', generation: 4, since: 9, after: 3 });
    expect(found.entries.map(({ key, revision, text }) => [key, revision, text])).to.deep.equal([
      ['a', 10, '{"x":[1]}'],
      ['b', 10, undefined],
      ['__proto__', 11, '"\\n"'],
      ['a', 12, undefined],
    ]);
    expect([found.commits, found.gaps, found.hasSpace, found.endBytes]).to.deep.equal([3, [], true, lines.join('').length]);
  });

  it('a torn tail is a gap with nothing after; damage is one between sound lines', () => {
    const text = lines.join('');
    expect(parseJournal(Buffer.from(text.slice(0, -5) + space)).gaps).to.deep.equal([{ after: 11 }]);
    expect(parseJournal(Buffer.from(text.replace('"x"', '"y"') + space)).gaps).to.deep.equal([{ after: 0, before: 11 }]);
  });

  it('one that ends without space was cut', () => {
    expect(parseJournal(Buffer.from(lines.join(''))).hasSpace).to.equal(false);
  });

  it('every sound line around a damaged newline is kept', () => {
    for (const wrong of ['x', '\0', '"', ',']) {
      const text = lines.map((line) => line.slice(0, -1)).join(wrong);
      expect(parseJournal(Buffer.from(`${text}\n${space}`)).commits, JSON.stringify(wrong)).to.equal(3);
    }
  });

  it('a sound line is kept whatever was destroyed behind it', () => {
    const [first = '', second = '', third = '', last = ''] = lines;
    for (const lost of [1, 2, 9, second.length]) {
      const text = `${first}${second.slice(0, -1)}${'\0'.repeat(lost)}${third.slice(lost - 1)}${last}`;
      expect(parseJournal(Buffer.from(text + space)).commits, `${lost} bytes lost`).to.equal(lost === 1 ? 3 : 2);
    }
    const snapshot = snapshotText([entries]).replace(/\n(?=\],"lines")/, '\x0b');
    expect(parseSnapshot(Buffer.from(snapshot)).entries).to.deep.equal(entries);
  });

  it('a value that looks like a line is never taken for one', () => {
    const forged = sealLine('99,0,[["stolen",1]],[]]');
    const bytes = Buffer.from(`["00000000",10,1,[["a",${forged}]],[]]\n`);
    const sound = [...readLines(bytes, 0, bytes.length)].filter(({ members }) => members !== undefined);
    expect(sound).to.deep.equal([]);
  });
});
