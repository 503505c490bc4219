/**
 * Proves what a start makes of what the process before left: killed at any disk call, with its last write cut short, or with a line
 * of its journal damaged. On a modelled disk.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { prove } from '@loopstate/conformance';
import { isLoopStateError, type StateChange } from '@loopstate/core';
import { expect } from 'chai';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import type { CrashPoint } from './crash-point.js';
import { forgetOpenStores, ModelledDisk, noLock, systemError } from './modelled-disk.js';

const JOURNAL = /\.\d+\.journal$/;

function open(disk: ModelledDisk): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes: 300, journalSpaceBytes: 200 });
}

/** Without a compaction between. */
function openQuietly(disk: ModelledDisk): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock });
}

async function codeOf(opening: Promise<unknown>): Promise<string> {
  try {
    await opening;
  } catch (error) {
    if (isLoopStateError(error)) return error.code;
    throw error;
  }
  return 'opened';
}

async function commitSome(backend: FileBackend): Promise<void> {
  for (let round = 0; round < 12; round++) await backend.commit({ puts: [{ key: `item/${round % 5}`, value: { round } }] });
}

const KEYS = Array.from({ length: 7 }, (_, at) => `item/${at}`);

/** Commits each key once; returns the revisions. */
async function commitAll(backend: FileBackend, isClosed: boolean): Promise<number[]> {
  const revisions: number[] = [];
  for (const key of KEYS) {
    const result = await backend.commit({ puts: [{ key, value: key }] });
    if (result.ok) revisions.push(result.revision);
  }
  if (isClosed) await backend.close();
  return revisions;
}

function flip(files: Map<string, Buffer>, name: string): void {
  const bytes = files.get(name);
  if (bytes === undefined) return;
  const flipped = Buffer.from(bytes);
  flipped[bytes.length >> 1]! ^= 1;
  files.set(name, flipped);
}

/** Three commits in one journal, of a process that was killed, with what `change` makes of that journal. */
async function openChanged(change: (journal: Buffer) => Buffer): Promise<FileBackend> {
  const disk = new ModelledDisk();
  const backend = await openFileBackend(disk.statePath, { disk, lock: noLock });
  for (const key of ['a', 'b', 'c']) await backend.commit({ puts: [{ key, value: key }] });
  const files = disk.files();
  for (const [name, bytes] of files) if (JOURNAL.test(name) && bytes.includes('["c","c"]')) files.set(name, change(Buffer.from(bytes)));
  return await open(ModelledDisk.holding(files));
}

/** What a power cut leaves at the least. */
function leastOf(point: CrashPoint): Map<string, Buffer> {
  return new Map([...point.names].map(([name, inode]) => [name, point.inodes.get(inode)!.durable]));
}

async function contents(backend: FileBackend): Promise<StateChange[]> {
  const changes: StateChange[] = [];
  for await (const change of backend.changes(0)) changes.push(change);
  return changes;
}

const valuesOf = async (backend: FileBackend) => (await backend.read(['a', 'b', 'c'])).map((record) => record?.value);
const reportOf = ({ recovery }: FileBackend) => recovery.map(({ code, severity, keptAs }) => [code, severity, keptAs !== undefined]);

describe('file: restarts', () => {
  describe('a state file that went on elsewhere, as a copy, and was put back', () => {
    /** Opens a store, commits these keys, and closes it or leaves it as a kill does. */
    const session = async (files: ReadonlyMap<string, Buffer>, keys: readonly string[], isClosed = true) => {
      const disk = ModelledDisk.holding(files);
      const backend = await openQuietly(disk);
      let revision = 0;
      for (const key of keys) {
        const result = await backend.commit({ puts: [{ key, value: key }] });
        if (result.ok) revision = result.revision;
      }
      if (isClosed) await backend.close();
      return { files: disk.files(), revision };
    };
    const only = (files: ReadonlyMap<string, Buffer>) => new Map([['state.json', files.get('state.json')!]]);
    const putBack = (from: ReadonlyMap<string, Buffer>, to: ReadonlyMap<string, Buffer>) => new Map([...to, ...only(from)]);
    /** What is found, by a reader and then by a writer, which must be the same. */
    const found = async (files: ReadonlyMap<string, Buffer>) => {
      const disk = ModelledDisk.holding(files);
      const seen: { keys: string[]; severities: string[] }[] = [];
      for (const access of ['read', 'write'] as const) {
        forgetOpenStores();
        const backend = await openFileBackend(disk.statePath, { disk, lock: noLock, access });
        const keys: string[] = [];
        for await (const { key, record } of backend.changes(0)) if (record !== undefined) keys.push(key);
        seen.push({ keys: keys.sort(), severities: backend.recovery.map(({ severity }) => severity) });
        await backend.close();
      }
      expect(seen[0]).to.deep.equal(seen[1]);
      const { revision } = await session(disk.files(), ['after']);
      return { ...seen[0]!, revision };
    };
    let origin: Map<string, Buffer>;
    beforeEach(async () => {
      origin = (await session(new Map(), ['a'])).files;
    });

    it('always-starts: with more generations and fewer revisions, it does not make what stands there empty', async () => {
      let newest = origin;
      for (const key of ['b', 'c', 'd']) newest = (await session(newest, [key])).files;
      const fork = await session(only(origin), ['x']);
      const { keys, severities, revision } = await found(putBack(newest, fork.files));
      expect(keys).to.include.members(['a', 'x']);
      expect(severities).to.not.deep.equal([]);
      expect(revision).to.be.greaterThan(fork.revision);
    });

    it('always-starts: the same over one that was only opened and closed', async () => {
      const fork = await session(only(origin), []);
      let newest = origin;
      for (const key of ['b', 'c']) newest = (await session(newest, [key])).files;
      const { keys, severities } = await found(putBack(newest, fork.files));
      expect(keys).to.include('a');
      expect(severities).to.not.deep.equal([]);
    });

    it('acked-survives: the same over one that was killed, whose commits are kept', async () => {
      let newest = origin;
      for (const key of ['b', 'c', 'd']) newest = (await session(newest, [key])).files;
      const fork = await session(only(origin), ['x', 'y'], false);
      const { keys, severities } = await found(putBack(newest, fork.files));
      expect(keys).to.include.members(['a', 'x', 'y']);
      expect(severities).to.not.deep.equal([]);
    });

    it('acked-survives, fenced: of the same generation, it takes nothing away, and no revision is given twice', async () => {
      const few = await session(origin, ['b']);
      const many = await session(origin, KEYS);
      const { keys, severities, revision } = await found(putBack(few.files, many.files));
      expect(keys).to.include.members(['a', ...KEYS]);
      expect(severities).to.not.deep.equal([]);
      expect(revision).to.be.greaterThan(many.revision);
    });

    it('acked-survives: put there while the store is open, it takes no journal away', async () => {
      let newest = origin;
      for (const key of ['b', 'c', 'd', 'e']) newest = (await session(newest, [key])).files;
      const disk = ModelledDisk.holding(only(origin));
      const backend = await open(disk);
      await disk.unlink(disk.statePath);
      const file = await disk.createFile(disk.statePath, 0o600);
      await file.write(newest.get('state.json')!, 0);
      await file.close();
      await commitSome(backend);
      await turn();
      for (const key of KEYS) await backend.commit({ puts: [{ key: `late/${key}`, value: 1 }] });
      expect(backend.recovery.map(({ code }) => code)).to.include('snapshot-replaced');
      const { keys, severities } = await found(disk.files());
      expect(keys).to.include.members(KEYS.map((key) => `late/${key}`));
      expect(severities).to.not.include('loss');
    });
  });

  it('always-starts: a loss is told again by the next start when this one is cut short before its snapshot stands', async () => {
    const disk = new ModelledDisk();
    await commitAll(await openQuietly(disk), true);
    await commitAll(await openQuietly(disk), false);
    const files = disk.files();
    const newest = [...files.keys()]
      .filter((name) => JOURNAL.test(name))
      .sort()
      .at(-1)!;
    files.delete(newest);
    const cut = ModelledDisk.holding(files);
    const states: Map<string, Buffer>[] = [];
    cut.fault = () => {
      states.push(cut.files());
      return undefined;
    };
    const opened = await openQuietly(cut);
    expect(opened.recovery.map(({ severity }) => severity)).to.include('loss');
    const before = states.filter((state) => state.get('state.json')?.equals(files.get('state.json')!));
    expect(before.length).to.be.greaterThan(10);
    for (const state of before) {
      const { recovery } = await openQuietly(ModelledDisk.holding(state));
      expect(recovery.map(({ severity }) => severity)).to.include('loss');
    }
  });

  it('fenced: an emptied state file beside journals of a store in which there was something is a loss, and no revision is given again', async () => {
    const disk = new ModelledDisk();
    const given = await commitAll(await openQuietly(disk), false);
    for (let start = 0; start < 3; start++) await (await openQuietly(ModelledDisk.holding(disk.files()))).close();
    let files = disk.files();
    for (let start = 0; start < 2; start++) {
      const next = ModelledDisk.holding(files);
      await (await openQuietly(next)).close();
      files = next.files();
      files.delete('state.json.previous');
    }
    files.set('state.json', Buffer.alloc(0));
    const emptied = ModelledDisk.holding(files);
    const backend = await openQuietly(emptied);
    expect(backend.recovery.map(({ severity }) => severity)).to.include('loss');
    const result = await backend.commit({ puts: [{ key: 'z', value: 1 }] });
    expect(result.ok && result.revision).to.be.greaterThan(Math.max(...given));
  });

  it('always-starts: the state file of another store in the place of its own costs nothing acknowledged, and is told', async () => {
    const sessions = async (closes: number, value: string): Promise<Map<string, Buffer>> => {
      const disk = new ModelledDisk();
      for (let session = 0; session <= closes; session++) {
        const backend = await openQuietly(disk);
        for (const key of KEYS) await backend.commit({ puts: [{ key: `${key}/${session}`, value }] });
        if (session < closes) await backend.close();
      }
      return disk.files();
    };
    const closed = async (closes: number): Promise<Map<string, Buffer>> => {
      const disk = ModelledDisk.holding(await sessions(closes - 1, 'another'));
      await (await openQuietly(disk)).close();
      return disk.files();
    };
    for (const ownCloses of [0, 1, 2, 3]) {
      for (const otherCloses of [1, 2, 3, 4, 5, 6]) {
        for (const names of [['state.json'], ['state.json', 'state.json.previous']]) {
          const files = await sessions(ownCloses, 'own');
          const other = await closed(otherCloses);
          for (const name of names) if (other.has(name)) files.set(name, other.get(name)!);
          const label = `${names.join(' and ')} of ${otherCloses} sessions in the place of ${ownCloses}`;
          const disk = ModelledDisk.holding(files);
          const keys = KEYS.flatMap((key) => Array.from({ length: ownCloses + 1 }, (_, session) => `${key}/${session}`));
          for (const access of ['read', 'write'] as const) {
            forgetOpenStores();
            const backend = await openFileBackend(disk.statePath, { disk, lock: noLock, access });
            const missing = (await backend.read(keys)).filter((record) => record?.value !== 'own').length;
            const isToldOf = backend.recovery.some(({ severity, code }) => severity === 'loss' || code === 'other-store');
            expect(missing === 0 || (names.length > 1 && isToldOf), label).to.equal(true);
            expect(backend.recovery, label).to.have.length.greaterThan(0);
            await backend.close();
          }
          expect((await (await openQuietly(disk)).read(keys)).length).to.equal(keys.length);
        }
      }
    }
  });

  it('always-starts: what a process left that was killed at any disk call is in the way of no start, and of no compaction', async () => {
    const disk = new ModelledDisk();
    const moments: Map<string, Buffer>[] = [];
    disk.fault = () => {
      moments.push(disk.files());
      return undefined;
    };
    const backend = await open(disk);
    await commitSome(backend);
    await backend.close();
    for (const [call, files] of moments.entries()) {
      const left = ModelledDisk.holding(files);
      const opening = open(left);
      expect(await codeOf(opening), `call ${call}`).to.equal('opened');
      const next = await opening;
      await commitSome(next);
      await next.close();
      expect(reportOf(next), `call ${call}`).to.deep.equal([]);
    }
    prove({ test: 'S7 leftovers of kills', backend: 'file', counts: { cases: moments.length }, least: { cases: 100 } });
  });

  it('commit/acked-survives: what a start after a kill shows is there after a power cut, though only written before', async () => {
    const disk = new ModelledDisk();
    disk.isRecording = true;
    const killed = await openFileBackend(disk.statePath, { disk, lock: noLock });
    for (const key of ['a', 'b', 'c']) await killed.commit({ puts: [{ key, value: key }], durability: 'written' });
    const cut = () => open(ModelledDisk.holding(leastOf(disk.crashPoints.at(-1)!)));
    expect(await valuesOf(await cut()), 'without a start in between').to.deep.equal([undefined, undefined, undefined]);
    expect(await valuesOf(await open(disk))).to.deep.equal(['a', 'b', 'c']);
    expect(await valuesOf(await cut())).to.deep.equal(['a', 'b', 'c']);
  });

  it('commit/acked-survives: what was only written is durable before there is a newer journal', async () => {
    const disk = new ModelledDisk();
    disk.isRecording = true;
    const backend = await open(disk);
    for (let round = 0; round < 12; round++)
      await backend.commit({ puts: [{ key: `item/${round}`, value: { round } }], durability: 'written' });
    const journalsOf = ({ names }: CrashPoint) => [...names.keys()].filter((name) => JOURNAL.test(name)).length;
    const begun = disk.crashPoints.find((point) => journalsOf(point) === 2)!;
    const reopened = await open(ModelledDisk.holding(leastOf(begun)));
    expect(reportOf(reopened)).to.deep.equal([]);
    expect((await reopened.read(['item/0']))[0]?.value).to.deep.equal({ round: 0 });
  });

  it('always-starts: without its state file, with half of it or with a wrong byte in it, a store has all', async () => {
    const disk = new ModelledDisk();
    await commitSome(await open(disk));
    const whole = disk.files().get('state.json')!;
    const expected = await contents(await open(ModelledDisk.holding(disk.files())));
    const flipped = Buffer.from(whole);
    flipped[whole.indexOf('"item/') + 1]! ^= 1;
    for (const left of [undefined, whole.subarray(0, whole.length / 2), flipped]) {
      const files = disk.files();
      if (left === undefined) files.delete('state.json');
      else files.set('state.json', left);
      const backend = await open(ModelledDisk.holding(files));
      expect(await contents(backend), `${left}`).to.deep.equal(expected);
      expect(backend.recovery.map(({ severity }) => severity)).to.deep.equal(['warning']);
    }
  });

  it('always-starts: a journal whose last line was cut short is mentioned, and no loss', async () => {
    const backend = await openChanged((journal) => journal.subarray(0, journal.indexOf('["c","c"]') + 3));
    expect(reportOf(backend)).to.deep.equal([['torn-tail', 'info', false]]);
    expect(await valuesOf(backend)).to.deep.equal(['a', 'b', undefined]);
  });

  it('always-starts: a journal that is damaged before its last line is a loss, is put aside, and keeps every line after', async () => {
    const backend = await openChanged((journal) => journal.fill('#', journal.indexOf('["b","b"]'), journal.indexOf('["b","b"]') + 3));
    expect(reportOf(backend)).to.deep.equal([['journal-damaged', 'loss', true]]);
    expect(await valuesOf(backend)).to.deep.equal(['a', undefined, 'c']);
  });

  it('fenced: a state file that is all that is left gives no revision again that came after it', async () => {
    const disk = new ModelledDisk();
    const revisions = await commitAll(await open(disk), true);
    revisions.push(...(await commitAll(await openQuietly(disk), false)));
    const alone = await open(ModelledDisk.holding(new Map([['state.json', disk.files().get('state.json')!]])));
    expect(alone.recovery).to.deep.equal([]);
    revisions.push(...(await commitAll(alone, false)));
    expect(new Set(revisions).size).to.equal(revisions.length);
  });

  it('acked-survives: of a store whose state file was removed while it was open no second loss is hidden', async () => {
    const disk = new ModelledDisk();
    const backend = await openQuietly(disk);
    await commitAll(backend, false);
    await disk.unlink(disk.statePath);
    await (await openFileBackend(disk.statePath, { disk, lock: noLock })).close();
    const revisions = await commitAll(backend, false);
    const files = disk.files();
    losses['the state file and the newest journal']!(files);
    const next = await open(ModelledDisk.holding(files));
    const isWhole = (await next.read(KEYS)).every((record, at) => record?.revision === revisions[at]);
    expect(isWhole || next.recovery.some(({ severity }) => severity === 'loss')).to.equal(true);
  });

  const newestJournal = (files: Map<string, Buffer>) =>
    [...files.keys()]
      .filter((name) => JOURNAL.test(name))
      .sort((a, b) => Number.parseInt(b.split('.').at(-2)!, 10) - Number.parseInt(a.split('.').at(-2)!, 10))[0]!;
  const losses: Record<string, (files: Map<string, Buffer>) => void> = {
    'the state file': (files) => files.delete('state.json'),
    'a byte of the state file': (files) => flip(files, 'state.json'),
    'a byte of the previous one': (files) => flip(files, 'state.json.previous'),
    'the previous one': (files) => files.delete('state.json.previous'),
    'the newest journal': (files) => files.delete(newestJournal(files)),
    'the state file and the newest journal': (files) => {
      files.delete(newestJournal(files));
      files.delete('state.json');
    },
  };
  for (const [first, lose] of Object.entries(losses)) {
    it(`fenced, acked-survives: after the loss of ${first} no second one is hidden, nor gives revisions again`, async () => {
      for (const [second, loseMore] of Object.entries(losses)) {
        for (const [opening, isClosed] of [
          [open, false],
          [open, true],
          [openQuietly, false],
          [openQuietly, true],
        ] as const) {
          const what = `then ${second}, ${opening.name}, ${isClosed ? 'closed' : 'killed'}`;
          const disk = new ModelledDisk();
          const revisions = await commitAll(await opening(disk), isClosed);
          let files = disk.files();
          lose(files);
          if (files.size === 0) continue; // Nothing is left of the first one that opened.
          const between = ModelledDisk.holding(files);
          revisions.push(...(await commitAll(await opening(between), false)));
          files = between.files();
          loseMore(files);
          const last = await open(ModelledDisk.holding(files));
          const isWhole = (await last.read(KEYS)).every((record, at) => record?.revision === revisions.at(at - KEYS.length));
          const isReported = last.recovery.some(({ severity }) => severity === 'loss');
          expect(isWhole || isReported, `${what}: what is missing is reported`).to.equal(true);
          revisions.push(...(await commitAll(last, false)));
          expect(new Set(revisions).size, `${what}: no revision twice`).to.equal(revisions.length);
        }
      }
    });
  }

  /** Loses the state file and the newest journal, with what was committed last. */
  async function expectTold(disk: ModelledDisk, given: number[], what: string): Promise<void> {
    const files = disk.files();
    losses['the state file and the newest journal']!(files);
    const last = await open(ModelledDisk.holding(files));
    expect(
      last.recovery.some(({ severity }) => severity === 'loss'),
      `${what}: it is reported`,
    ).to.equal(true);
    const revisions = [...given, ...(await commitAll(last, false))];
    expect(new Set(revisions).size, `${what}: no revision twice`).to.equal(revisions.length);
  }

  it('fenced, acked-survives: after a kill in a compaction, or in the first start, no loss is hidden', async () => {
    const disk = new ModelledDisk();
    disk.isRecording = true;
    await commitSome(await open(disk));
    const moments = disk.crashPoints.filter(({ names }) => [...names.keys()].some((name) => JOURNAL.test(name)));
    for (const point of moments) {
      const next = ModelledDisk.killedAt(point);
      await expectTold(next, await commitAll(await openQuietly(next), false), `killed at call ${point.call}`);
    }
    expect(moments.length).to.be.at.least(40);
  });

  it('fenced: after warnings that cost nothing a loss gives no revision again', async () => {
    const disk = new ModelledDisk();
    const revisions = await commitAll(await openQuietly(disk), true);
    const files = disk.files();
    const stranger = new ModelledDisk();
    await commitAll(await openQuietly(stranger), false);
    files.set('state.json.1.journal', stranger.files().get('state.json.1.journal')!);
    flip(files, 'state.json.previous');
    const between = ModelledDisk.holding(files);
    const backend = await openQuietly(between);
    expect(reportOf(backend).map(([, severity]) => severity)).to.deep.equal(['warning', 'warning']);
    await expectTold(between, [...revisions, ...(await commitAll(backend, false))], 'after two warnings');
  });

  it('fenced, acked-survives: after a compaction that failed no loss is hidden, whether the store was closed then or its journal failed', async () => {
    for (const isClosed of [true, false]) {
      let disk = new ModelledDisk();
      let backend = await open(disk);
      disk.fault = ({ name, path }) => (name === 'rename' && path.endsWith('state.json') ? systemError('EIO', path) : undefined);
      await commitSome(backend);
      while ([...disk.files().keys()].some((name) => name.endsWith('.tmp'))) await turn();
      if (isClosed) {
        disk.fault = undefined;
        await backend.close();
        disk = ModelledDisk.holding(disk.files());
        backend = await open(disk);
      } else {
        disk.fault = ({ name, path }) => (JOURNAL.test(path) && name.startsWith('write') ? systemError('EIO', path) : undefined);
        expect(await codeOf(backend.commit({ puts: [{ key: 'a', value: 1 }] }))).to.equal('LOOPSTATE_OUTCOME_UNKNOWN');
        disk.fault = undefined;
      }
      const result = await backend.commit({ puts: [{ key: 'a', value: 2 }] });
      await expectTold(disk, result.ok ? [result.revision] : [], isClosed ? 'closed' : 'journal failed');
    }
  });
});
