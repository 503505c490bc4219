/**
 * Proves what is said of a place and of a loop: the judging is pure, so each case is a set of facts, and the ids and severities that must
 * come of it. Every id is reached by a case, every warning and problem says what to do.
 */
import { expect } from 'chai';
import { type DiagnosisFinding, type Severity, worstSeverity } from '../src/diagnosis.js';
import { realEnvironment } from '../src/environment.js';
import { judgePlace, noState, PLACE_DIAGNOSES, type PlaceUse, unusablePlace } from '../src/judge-place.js';
import type { ItemRecord, RunRecord } from '../src/loop-records.js';
import { judgeLoop, LOOP_DIAGNOSES, type LoopCircumstances, LoopSurvey } from '../src/loop-survey.js';
import type { PlaceFacts } from '../src/place-facts.js';

const GB = 1_000_000_000;

/** `severity id` of each finding that is not ok. */
function saidOf(findings: readonly DiagnosisFinding[]): string[] {
  for (const { id, severity, found, remedy } of findings) {
    expect(found, id).to.match(/^.+\.$/);
    if (severity === 'warning' || severity === 'problem') expect(remedy, id).to.match(/^.+\.$/);
  }
  return findings.filter(({ severity }) => severity !== 'ok').map(({ id, severity }) => `${severity} ${id}`);
}

describe('worstSeverity', () => {
  it('is the gravest of all, and ok of none', () => {
    const finding = (severity: Severity): DiagnosisFinding => ({ id: 'x', severity, where: 'w', found: 'F.' });
    expect(worstSeverity([])).to.equal('ok');
    expect(worstSeverity([finding('info'), finding('problem'), finding('warning')])).to.equal('problem');
    expect(worstSeverity([finding('ok'), finding('info')])).to.equal('info');
  });
});

describe('judgePlace', () => {
  const sound: PlaceFacts = {
    path: '/data/state.json',
    directory: '/data',
    nearestDirectory: '/data',
    isWritable: true,
    kind: 'file',
    isReadable: true,
    mode: 0o600,
    fileSystem: { name: 'ext4', freeBytes: 100 * GB, freeFiles: 1_000 },
    names: [],
  };
  const reached = new Set<string>();
  const use = (place: Partial<PlaceFacts>, more: Partial<PlaceUse> = {}): string[] => {
    const findings = judgePlace({
      place: { ...sound, ...place },
      survivesPowerLoss: true,
      storeBytes: 1_000,
      temporaries: [],
      putAside: [],
      ...more,
    });
    for (const { id } of findings) reached.add(id);
    return saidOf(findings);
  };

  const CASES: readonly [what: string, place: Partial<PlaceFacts>, more: Partial<PlaceUse>, said: string[]][] = [
    ['all is well', {}, {}, []],
    ['no file yet', { kind: 'absent', isReadable: false, mode: 0 }, {}, []],
    ['no directory', { nearestDirectory: '/', kind: 'absent' }, {}, ['warning directory-missing']],
    ['not to be written', { isWritable: false }, {}, ['problem directory-not-writable']],
    ['not to be read', { isReadable: false }, {}, ['problem not-readable']],
    ['a directory', { kind: 'directory', mode: 0o755 }, {}, ['problem not-a-file']],
    ['a device', { kind: 'other', mode: 0o666 }, {}, ['problem not-a-file']],
    ['a file system that forgets', {}, { survivesPowerLoss: false }, ['warning file-system-forgets']],
    ['no room', { fileSystem: { name: 'xfs', freeBytes: 100_000 } }, {}, ['problem disk-full']],
    ['no room for files', { fileSystem: { name: 'ext4', freeBytes: 100 * GB, freeFiles: 0 } }, {}, ['problem disk-full']],
    ['little room', { fileSystem: { name: 'btrfs', freeBytes: 50_000_000 } }, {}, ['warning disk-space-low']],
    ['little room for its size', { fileSystem: { name: 'ext4', freeBytes: 2 * GB } }, { storeBytes: GB }, ['warning disk-space-low']],
    ['enough for its size', { fileSystem: { name: 'ext4', freeBytes: 4 * GB } }, { storeBytes: GB }, []],
    [
      'leftovers',
      {},
      { temporaries: ['/data/a.tmp'], putAside: ['/data/b.damaged-1'] },
      ['info temporaries-left', 'info put-aside-earlier'],
    ],
  ];
  for (const [what, place, more, said] of CASES) it(what, () => expect(use(place, more)).to.deep.equal(said));

  it('a file for others, where there are permission bits', () => {
    const hasBits = process.platform !== 'win32';
    for (const mode of [0o600, 0o400, 0o700]) expect(use({ mode })).to.deep.equal([]);
    for (const mode of [0o640, 0o604]) expect(use({ mode })).to.deep.equal(hasBits ? ['info readable-by-others'] : []);
    for (const mode of [0o660, 0o602, 0o666]) expect(use({ mode })).to.deep.equal(hasBits ? ['warning writable-by-others'] : []);
  });

  it('a file system that tells nothing is not judged', () => {
    const { fileSystem: _unknown, ...place } = sound;
    const findings = judgePlace({ place, survivesPowerLoss: true, storeBytes: 0, temporaries: [], putAside: [] });
    expect(findings.map(({ id }) => id)).to.deep.equal(['file-system']);
  });

  it('what is put right by opening is said to be, and nothing else', () => {
    const findings = judgePlace({ place: sound, survivesPowerLoss: false, storeBytes: 0, temporaries: ['t'], putAside: ['p'] });
    expect(findings.filter(({ isRepairable }) => isRepairable === true).map(({ id }) => id)).to.deep.equal(['temporaries-left']);
  });

  it('every id is reached', () => {
    for (const { id } of [noState('/x'), unusablePlace('/x', 'It is closed.')]) reached.add(id);
    const ids = Object.keys(PLACE_DIAGNOSES).filter((id) => process.platform !== 'win32' || !id.endsWith('-by-others'));
    expect([...reached].sort()).to.deep.equal(ids.sort());
  });
});

describe('judgeLoop', () => {
  const HOUR_MS = 3_600_000;
  const nowMs = 100 * HOUR_MS;
  const self = { process: 'self', host: 'here', pid: 1, bootId: 'boot', pidNamespace: 'ns', startTime: '1' };
  const probes: Record<string, 'alive' | 'gone' | 'unknown'> = { alive: 'alive', gone: 'gone', far: 'unknown' };
  const environment = {
    ...realEnvironment,
    self,
    wallMs: () => nowMs,
    probe: ({ process }: { process: string }) => probes[process] ?? 'unknown',
  };
  const reached = new Set<string>();

  interface Records {
    readonly items?: Readonly<Record<string, Partial<ItemRecord>>>;
    /** Runs by their process, with how long ago each was heard of; nothing: it has no heartbeats. */
    readonly runs?: Readonly<Record<string, { readonly silentMs?: number; readonly bootId?: string }>>;
    readonly format?: number;
  }

  function judge({ items = {}, runs = {}, format }: Records, circumstances: Partial<LoopCircumstances> = {}): DiagnosisFinding[] {
    const survey = new LoopSurvey();
    let revision = 0;
    const take = (key: string, value: object, at = nowMs): void => survey.take({ key, value: value as never, revision: ++revision, at });
    if (format !== undefined) take('meta', { format, store: 's', by: 'x.1' });
    for (const [name, { silentMs, ...more }] of Object.entries(runs)) {
      const record: RunRecord = { process: name, host: 'h', pid: 7, leaseMs: 30_000, since: 0, by: 'x.1', ...more };
      take(`run/${name}`, record);
      if (silentMs !== undefined) take(`beat/${name}`, {}, nowMs - silentMs);
    }
    for (const [id, item] of Object.entries(items)) take(`item/${id.replace(/@\d$/, '')}`, { attempt: 1, by: 'x.1', ...item });
    const findings = judgeLoop(survey.facts, { where: '/data/state.json', reach: 'host', environment, ...circumstances });
    for (const { id } of findings) reached.add(id);
    return findings;
  }

  const CASES: readonly [what: string, records: Records, circumstances: Partial<LoopCircumstances>, said: string[]][] = [
    ['nothing', {}, {}, []],
    ['items that are done', { items: { a: { status: 'completed' } } }, {}, []],
    ['an item that failed', { items: { a: { status: 'failed' } } }, {}, ['info items-failed']],
    ['an item that waits', { items: { a: { status: 'outstanding', glitches: 1 } } }, {}, ['info items-glitched']],
    ['an item that killed', { items: { a: { status: 'failed', quarantined: true, crashes: 3 } } }, {}, ['warning items-quarantined']],
    ['an item that may kill', { items: { a: { status: 'outstanding', crashes: 2 } } }, {}, ['warning items-killing']],
    ['an item that killed once', { items: { a: { status: 'outstanding', crashes: 1 } } }, {}, []],
    ['a claim of nobody', { items: { a: { status: 'claimed', run: 'none' } } }, {}, ['info claims-left-behind']],
    ['a claim of a run', { items: { a: { status: 'claimed', run: 'alive' } }, runs: { alive: {} } }, {}, ['info run-at-work']],
    ['an item that changed meanwhile', { items: { 'a@1': { status: 'claimed', run: 'none' }, 'a@2': { status: 'completed' } } }, {}, []],
    ['a process that is gone', { runs: { gone: { silentMs: 0 } } }, {}, ['warning run-gone']],
    ['a process of another boot', { runs: { far: { bootId: 'other' } } }, {}, ['warning run-gone']],
    [
      'the same, which may be of another host',
      { runs: { far: { bootId: 'other', silentMs: 0 } } },
      { reach: 'network' },
      ['info run-at-work'],
    ],
    ['this process', { runs: { self: {} } }, {}, ['info run-at-work']],
    ['a process, where nobody has the lock', { runs: { alive: {} } }, { reach: 'process', isHeld: false }, ['warning run-gone']],
    ['a process, where somebody has the lock', { runs: { alive: {} } }, { reach: 'process', isHeld: true }, ['info run-at-work']],
    ['a process, where the lock is unknown', { runs: { far: {} } }, { reach: 'process' }, ['info run-at-work']],
    ['one that was heard of within its lease', { runs: { far: { silentMs: 29_000 } } }, { reach: 'network' }, ['info run-at-work']],
    ['one that was not', { runs: { far: { silentMs: 31_000 } } }, { reach: 'network' }, ['warning run-silent']],
    ['one that is alive and was not', { runs: { alive: { silentMs: HOUR_MS } } }, {}, ['warning run-silent']],
    [
      'by a clock that is ahead',
      { runs: { far: { silentMs: -HOUR_MS } } },
      { reach: 'network', clockAheadMs: HOUR_MS + 31_000 },
      ['warning run-silent'],
    ],
    [
      'by a clock that is behind',
      { runs: { far: { silentMs: HOUR_MS } } },
      { reach: 'network', clockAheadMs: -HOUR_MS },
      ['info run-at-work'],
    ],
    ['this format', { format: 1 }, {}, []],
    ['a newer format', { format: 2, items: { a: { status: 'failed' } } }, {}, ['problem loop-newer-format']],
  ];
  for (const [what, records, circumstances, said] of CASES) {
    it(what, () => expect(saidOf(judge(records, circumstances))).to.deep.equal(said));
  }

  it('counts each kind of items, and cuts what is long', () => {
    const long = 'x'.repeat(1_000);
    const items = {
      a: { status: 'completed' },
      b: { status: 'completed' },
      c: { status: 'outstanding' },
      ...Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`${long}${n}a`, { status: 'failed', quarantined: true }])),
    } as Record<string, Partial<ItemRecord>>;
    const findings = judge({ items });
    expect(findings.find(({ id }) => id === 'progress')?.found).to.match(/^2 completed, 9 failed, 0 in progress, 1 outstanding/);
    expect(findings.find(({ id }) => id === 'items-quarantined')?.found.length).to.be.lessThan(500);
  });

  it('leaves records alone that no loop wrote', () => {
    const survey = new LoopSurvey();
    for (const [index, key] of ['item/a', 'run/a', 'beat/a', 'meta', 'other'].entries()) {
      for (const value of [null, 1, 'text', [], {}, { status: 'unheard of', format: 'x' }])
        survey.take({ key, value, revision: index, at: 0 });
    }
    expect(() => judgeLoop(survey.facts, { where: 'w', reach: 'host', environment })).to.not.throw();
  });

  it('every id is reached', () => expect([...reached].sort()).to.deep.equal(Object.keys(LOOP_DIAGNOSES).sort()));
});
