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
