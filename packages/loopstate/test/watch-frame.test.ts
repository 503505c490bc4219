/**
 * What `watch` shows is a function of a model: for any model and size the frame fits, and a terminal obeys nothing that comes from items,
 * hosts or files.
 */
import { stripVTControlCharacters } from 'node:util';
import { expect } from 'chai';
import picocolors from 'picocolors';
import stringWidth from 'string-width';
import { HOSTILE_IDS } from '../../../test/support/hostile-ids.js';
import { LoopOverview } from '../src/cli/loop-overview.js';
import { colorsFor } from '../src/cli/terminal-colors.js';
import { cutToWidth } from '../src/cli/text-width.js';
import { watchFrame } from '../src/cli/watch-frame.js';
import { jsonLine, plainLine } from '../src/cli/watch-lines.js';
import { isOver, type WatchModel, watchModel } from '../src/cli/watch-model.js';
import { held, MODEL, NOTHING, NOW_MS, run } from './watched-model.js';

const PLAIN = picocolors.createColors(false);
const COLORED = picocolors.createColors(true);

describe('watchFrame', () => {
  it('shows progress, workers, outcomes and failures, in 80 columns', () => {
    expect(watchFrame(MODEL, { columns: 80, rows: 24 }, PLAIN)).to.deep.equal([
      './encode.json (sqlite)   q quits',
      '████████████████████░░░░░░░░░░░  1,340 of 2,000 (67 %)   3.5/s   3 min 9 s left',
      'completed 1,300   failed 40 (2 quarantined)   in progress 6',
      'outstanding 12 (3 glitched)   cost $1.25',
      '',
      'Workers (2)',
      '  3fa85f64c1d2e3b4  pid 4711 on alpha  alive  holds 5  since 1 h 0 min ago',
      '    2 min 0 s   item-0  attempt 2',
      '    1 min 0 s   item-1',
      '    9.0 s       item-2',
      '    0.0 s       item-3',
      '    … and 1 more',
      '  3fa85f64c1d2e3b4  pid 99 on beta  silent  holds 0  since 0.0 s ago',
      '  left behind: 1 item, free to be taken',
      '    5.0 s       left',
      '',
      'Latest',
      '  1.0 s ago         completed    item-9',
      '  2.0 s ago         failed       item-8  exit 1: no such file',
      '  3.0 s ago         quarantined  item-7  Its process died 3 times',
      '',
      'Failures by reason',
      '  38  exit 1: no such file',
      '   2  Its process died 3 times',
    ]);
  });

  it('shares few lines between what there is, and says what it left out', () => {
    expect(watchFrame(MODEL, { columns: 80, rows: 16 }, PLAIN).slice(4)).to.deep.equal([
      '',
      'Workers (2)',
      '  3fa85f64c1d2e3b4  pid 4711 on alpha  alive  holds 5  since 1 h 0 min ago',
      '  … and 8 more',
      '',
      'Latest',
      '  1.0 s ago         completed    item-9',
      '  2.0 s ago         failed       item-8  exit 1: no such file',
      '',
      'Failures by reason',
      '  38  exit 1: no such file',
      '   2  Its process died 3 times',
    ]);
    expect(watchFrame(MODEL, { columns: 80, rows: 3 }, PLAIN)).to.have.lengthOf(3);
  });

  it('has room for everything in 200 columns, and as many lines as it needs', () => {
    const frame = watchFrame(MODEL, { columns: 200, rows: 60 }, PLAIN);
    expect(frame[1]).to.match(/^█{40}░{20} {2}1,340 of 2,000/);
    expect(frame[2]).to.equal('completed 1,300   failed 40 (2 quarantined)   in progress 6   outstanding 12 (3 glitched)   cost $1.25');
    expect(frame).to.include('  3fa85f64c1d2e3b4  pid 99 on beta  silent  holds 0  since 0.0 s ago');
    expect(frame).to.include('  left behind: 1 item, free to be taken');
    expect(frame.join('\n')).to.not.include('more\n\n');
  });

  it('tells when the state is out of reach, and what was found about it', () => {
    const recovery = [{ code: 'torn-tail', severity: 'info' as const, where: 'x', message: 'y' }];
    const frame = watchFrame({ ...MODEL, trouble: 'no route\nto host', recovery }, { columns: 80, rows: 24 }, PLAIN);
    expect(frame)
      .to.include('out of reach, tried again: no route\\nto host')
      .and.to.include('1 finding about the state itself: see status');
  });

  it('fits every size, and lets nothing through that a terminal obeys', () => {
    let frames = 0;
    for (const hostile of [...HOSTILE_IDS, '日本語'.repeat(300), '👩‍👩‍👧‍👦'.repeat(50), `x${'\u0301'.repeat(2_000)}`, '\0']) {
      const model = hostileModel(hostile);
      for (const columns of [1, 7, 80, 200]) {
        for (const rows of [1, 9, 24, 60]) {
          const frame = watchFrame(model, { columns, rows }, PLAIN);
          expect(frame.length).to.be.at.most(rows);
          for (const line of frame) {
            expect(stringWidth(line), JSON.stringify(line)).to.be.at.most(columns);
            expect(line).to.match(/^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]*$/u);
          }
          expect(watchFrame(model, { columns, rows }, COLORED).map(stripVTControlCharacters)).to.deep.equal(frame);
          frames += 1;
        }
      }
      expect(plainLine(model)).to.match(/^[^\p{Cc}]+$/u);
      expect(jsonLine(model)).to.match(/^[^\p{Cc}\u202a-\u202e\u2066-\u2069]+$/u);
      expect(JSON.parse(jsonLine(model))).to.have.nested.property('runs[0].host', hostile);
    }
    expect(frames).to.equal(16 * (HOSTILE_IDS.length + 4));
  });

  it('shows an empty loop, and one with more outcomes than there should be items', () => {
    const empty = {
      ...MODEL,
      settled: 0,
      total: 0,
      progress: NOTHING,
      runs: [],
      leftBehind: [],
      recent: [],
      failures: [],
      restMs: undefined,
    };
    expect(watchFrame(empty, { columns: 80, rows: 24 }, PLAIN)).to.have.lengthOf(3);
    expect(
      watchFrame({ ...MODEL, settled: 5, total: 5, restMs: 0, progress: { ...NOTHING, failed: 5 } }, { columns: 80, rows: 24 }, PLAIN)[1],
    ).to.match(/^█+ {2}5 of 5 \(100 %\) {3}3\.5\/s$/);
  });
});

describe('watchModel', () => {
  const self = { process: 'p', host: 'h', pid: 1, bootId: 'now' };
  const conditions = (probed: 'alive' | 'gone' | 'unknown', bootId: string, silentMs: number, reach: 'host' | 'network'): string[] => {
    let nowMs = 0;
    const overview = new LoopOverview({ wallMs: () => 0, monotonicMs: () => nowMs });
    overview.take({ kind: 'run', id: 'r', revision: 1, run: { ...self, bootId, leaseMs: 30_000, since: 0, by: 'r.1' } });
    overview.take({ kind: 'beat', id: 'r', revision: 1, at: 0 });
    nowMs = silentMs;
    const traits = { name: 'x', survives: 'power-loss', reach } as const;
    const parts = { state: 'x', traits, recovery: [], trouble: undefined, total: undefined, nowMs: 0, self, probe: () => probed };
    return watchModel(overview, parts).runs.map(({ condition }) => condition);
  };

  it('tells what is known of a run: what its process says, its boot, its heartbeats', () => {
    expect(conditions('alive', 'now', 40_000, 'host')).to.deep.equal(['alive']);
    expect(conditions('gone', 'now', 0, 'network')).to.deep.equal(['gone']);
    expect(conditions('unknown', 'before', 0, 'host')).to.deep.equal(['gone']);
    expect(conditions('unknown', 'before', 0, 'network')).to.deep.equal(['elsewhere']);
    expect(conditions('unknown', 'now', 30_000, 'host')).to.deep.equal(['elsewhere']);
    expect(conditions('unknown', 'now', 30_001, 'network')).to.deep.equal(['silent']);
  });

  it('counts what is known, or what there is in all, and how long the rest takes', () => {
    const overview = new LoopOverview({ wallMs: () => NOW_MS, monotonicMs: () => 0 });
    for (let n = 1; n <= 60; n++) {
      const record = { attempt: 1, by: `r.${n}`, revision: n, at: NOW_MS - 60_000 + n * 1_000 };
      overview.take({ kind: 'item', id: `${n}`, revision: n, item: { ...record, status: n === 1 ? 'outstanding' : 'completed' } });
    }
    const parts = { ...MODEL, self, probe: () => 'alive' as const };
    expect(watchModel(overview, { ...parts, total: undefined })).to.include({ settled: 59, total: 60, isTotalGiven: false });
    expect(watchModel(overview, { ...parts, total: 7 })).to.include({ settled: 59, total: 59, isTotalGiven: true, restMs: 0 });
    expect(watchModel(overview, { ...parts, total: 159 }).restMs).to.be.closeTo(100_000, 5_000);
  });
});

describe('colorsFor', () => {
  it('colors nothing but a terminal that can, and not where NO_COLOR is set', () => {
    const before = { NO_COLOR: process.env.NO_COLOR, TERM: process.env.TERM };
    const isColored = (stream: { isTTY?: boolean }, NO_COLOR: string, TERM: string): boolean => {
      Object.assign(process.env, { NO_COLOR, TERM });
      return colorsFor(stream).red('x') !== 'x';
    };
    try {
      expect(isColored({ isTTY: true }, '', 'xterm')).to.equal(true);
      expect(isColored({ isTTY: true }, '1', 'xterm')).to.equal(false);
      expect(isColored({ isTTY: true }, '', 'dumb')).to.equal(false);
      expect(isColored({}, '', 'xterm')).to.equal(false);
    } finally {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  });
});

describe('cutToWidth', () => {
  it('cuts between what is seen as one character, by columns', () => {
    expect(cutToWidth('abc', 3)).to.equal('abc');
    expect(cutToWidth('abcd', 3)).to.equal('ab…');
    expect(cutToWidth('日本語', 5)).to.equal('日本…');
    expect(cutToWidth('日本語', 4)).to.equal('日…');
    expect(cutToWidth('👩‍👩‍👧‍👦👩‍👩‍👧‍👦', 3)).to.equal('👩‍👩‍👧‍👦…');
    expect([cutToWidth('ab', 1), cutToWidth('ab', 0), cutToWidth('', 0)]).to.deep.equal(['…', '', '']);
  });
});

describe('watch, in lines', () => {
  it('says on one line how far it is, and to programs what else there is', () => {
    expect(plainLine(MODEL)).to.equal(
      '2026-11-24T12:00:00Z  1,340 of 2,000 (67 %), 6 in progress, 40 failed, 12 outstanding, 3.5/s, 3 min 9 s left, 2 runs',
    );
    expect(JSON.parse(jsonLine(MODEL))).to.deep.include({ total: 2_000, perSecond: 3.5, leftBehind: 1, trouble: null, isOver: false });
  });

  it('is over when nothing known is left and nobody is at work', () => {
    const over = { ...MODEL, settled: 2, total: 2, progress: { ...NOTHING, completed: 2 }, runs: [] };
    expect(isOver(over)).to.equal(true);
    expect(isOver({ ...over, progress: { ...over.progress, outstanding: 1 } })).to.equal(false);
    expect(isOver({ ...over, progress: { ...over.progress, inProgress: 1 } })).to.equal(false);
    expect(isOver({ ...over, total: 3 })).to.equal(false);
    expect(isOver({ ...over, trouble: 'away' })).to.equal(false);
    for (const [condition, isExpected] of [
      ['alive', false],
      ['elsewhere', false],
      ['gone', true],
      ['silent', true],
    ] as const) {
      expect(isOver({ ...over, runs: [run({ condition, held: [] })] }), condition).to.equal(isExpected);
    }
  });
});

function hostileModel(hostile: string): WatchModel {
  return {
    ...MODEL,
    state: hostile,
    trouble: hostile,
    runs: [run({ host: hostile, held: [held(hostile, Number.NaN, 1)] })],
    leftBehind: [held(hostile, 1, 1)],
    recent: [{ id: hostile, status: 'failed', reason: hostile, at: Number.POSITIVE_INFINITY, revision: 1 }],
    failures: Array.from({ length: 1_000 }, (_, n) => ({ reason: hostile + n, count: n * 1e9 })),
  };
}
