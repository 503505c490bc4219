/**
 * Proves that trouble of the disk is never taken for success: each disk call of a run, opening, compaction and closing included,
 * fails with each error that disks have, or takes too little of a write. Single cases show what the caller and the files get to see.
 */
import { basename } from 'node:path';
import { prove } from '@loopstate/conformance';
import { isLoopStateError, type RecoveryFinding } from '@loopstate/core';
import { expect } from 'chai';
import { type FileBackend, type FileBackendOptions, openFileBackend } from '../src/open-file-backend.js';
import { RecordLog } from '../src/record-log.js';
import { callsOf, judgeTrouble, type Openers, troubles, WRITES } from './disk-errors.js';
import { type Fault, forgetOpenStores, ModelledDisk, noLock, systemError } from './modelled-disk.js';

function open(disk: ModelledDisk, options: Pick<FileBackendOptions, 'onFinding'> = {}): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { ...options, disk, lock: noLock, compactAtBytes: 600, journalSpaceBytes: 300 });
}

const openers: Openers = { write: (disk) => open(disk), read: (disk) => openFileBackend(disk.statePath, { disk, access: 'read' }) };

describe('file: errors of the disk', () => {
  it('commit/acked-survives, commit/three-answers: any call fails with any error, or comes short', async function () {
    this.timeout(120_000);
    const calls = await callsOf(openers);
    expect(calls).to.include.members(CALLS);
    let cases = 0;
    let rejections = 0;
    for (const trouble of troubles(calls)) {
      const outcome = await judgeTrouble(openers, new ModelledDisk(), trouble);
      expect(outcome.wrong, trouble.label).to.deep.equal([]);
      rejections += outcome.rejections;
      cases++;
    }
    expect(rejections).to.be.at.least(cases / 10);
    prove({ test: 'S9 disk errors', backend: 'file', counts: { cases }, least: { cases: 500 } });
  });

  it('acked-survives: a disk that says of a failed write that it was made is caught', async () => {
    const isCaught: boolean[] = [];
    for (const trouble of troubles(await callsOf(openers))) {
      if (!trouble.label.startsWith('EIO at writeSynced')) continue;
      const disk = new ModelledDisk();
      disk.defect = 'swallows errors';
      isCaught.push((await judgeTrouble(openers, disk, trouble)).wrong.length > 0);
    }
    expect(isCaught).to.include(true);
  });

  it('commit/acked-survives: writes that come short again and again are made whole', async () => {
    const fault: Fault = ({ name, index }) => (WRITES.includes(name) && index % 3 !== 0 ? 1 + (index % 50) : undefined);
    const outcome = await judgeTrouble(openers, new ModelledDisk(), { label: 'short writes', fault });
    expect(outcome).to.deep.equal({ rejections: 0, wrong: [] });
  });

  it('commit/three-answers: a commit whose write failed is unknown, the next one starts anew on new files', async () => {
    const disk = new ModelledDisk();
    const backend = await open(disk);
    await backend.commit({ puts: [{ key: 'a', value: 1 }] });
    disk.fault = failWrites('EIO');
    const unknown = await rejection(backend.commit({ puts: [{ key: 'a', value: 2 }] }));
    expect(isLoopStateError(unknown, 'LOOPSTATE_OUTCOME_UNKNOWN') && unknown.retryable).to.equal(true);
    const refused = await rejection(backend.commit({ puts: [{ key: 'b', value: 2 }] }));
    expect(isLoopStateError(refused, 'LOOPSTATE_UNAVAILABLE') && refused.retryable).to.equal(true);
    disk.fault = undefined;
    const before = [...disk.files().keys()].filter((name) => name.endsWith('.journal'));
    const result = await backend.commit({ checks: [{ key: 'b', revision: 0 }], puts: [{ key: 'b', value: 3 }] });
    expect(result.ok && result.revision).to.be.greaterThan(2);
    expect([...disk.files().keys()].filter((name) => name.endsWith('.journal'))).not.to.deep.equal(before);
    expect((await backend.read(['a', 'b'])).map((record) => record?.value)).to.deep.equal([1, 3]);
  });

  it('commit/three-answers: after a failed write nothing is acknowledged before a snapshot stands', async () => {
    const disk = new ModelledDisk();
    const backend = await open(disk);
    await backend.commit({ puts: [{ key: 'a', value: 1 }], durability: 'written' });
    disk.fault = failWrites('EIO');
    await rejection(backend.commit({ puts: [{ key: 'b', value: 1 }] }));
    // The new journal can be made, its snapshot cannot be put in place.
    disk.fault = ({ name, path }) => (name === 'rename' && path.endsWith('state.json') ? systemError('EIO', path) : undefined);
    for (let times = 0; times < 3; times++) {
      const refused = await rejection(backend.commit({ puts: [{ key: 'c', value: times }] }));
      expect(isLoopStateError(refused, 'LOOPSTATE_UNAVAILABLE')).to.equal(true);
    }
    disk.fault = undefined;
    await backend.commit({ puts: [{ key: 'c', value: 3 }] });
    const reopened = await open(ModelledDisk.holding(disk.files()));
    expect((await reopened.read(['a', 'c'])).map((record) => record?.value)).to.deep.equal([1, 3]);
  });

  it('always-starts: after a snapshot that stands though its names could not be synced, nothing is taken for lost', async () => {
    const disk = new ModelledDisk();
    const backend = await open(disk);
    await backend.commit({ puts: [{ key: 'a', value: 1 }] });
    disk.fault = failWrites('EIO');
    await rejection(backend.commit({ puts: [{ key: 'a', value: 2 }] }));
    // The first is that of the new journal.
    let syncs = 0;
    disk.fault = ({ name, path }) => (name === 'syncDirectory' && ++syncs === 2 ? systemError('EIO', path) : undefined);
    expect(isLoopStateError(await rejection(backend.commit({ puts: [{ key: 'a', value: 3 }] })), 'LOOPSTATE_UNAVAILABLE')).to.equal(true);
    await backend.commit({ puts: [{ key: 'a', value: 4 }] });
    const reopened = await open(ModelledDisk.holding(disk.files()));
    expect(reopened.recovery).to.deep.equal([]);
    expect((await reopened.read(['a']))[0]?.value).to.equal(4);
  });

  it('commit/check-now: what a failed write left on the disk never comes back under later commits', async () => {
    const disk = new ModelledDisk();
    const backend = await open(disk);
    await backend.commit({ puts: [{ key: 'a', value: 1 }] });
    // The line is written, but its sync fails.
    disk.fault = ({ name, path }) => (name === 'syncOfWrite' ? systemError('EIO', path) : undefined);
    await rejection(backend.commit({ puts: [{ key: 'a', value: 2 }] }));
    disk.fault = undefined;
    const judged = await backend.commit({ checks: [{ key: 'a', revision: 1 }], puts: [{ key: 'b', value: 1 }] });
    expect(judged.ok).to.equal(true);
    const files = disk.files();
    expect(
      [...files.values()].some((bytes) => bytes.includes('[["a",2]]')),
      'the line is there',
    ).to.equal(true);
    files.set('state.json', Buffer.from('spoilt'));
    const reopened = await open(ModelledDisk.holding(files));
    expect((await reopened.read(['a', 'b'])).map((record) => record?.value)).to.deep.equal([1, 1]);
  });

  it('commit/three-answers: a refused check in a group whose write failed had no effect, and says so', async () => {
    const disk = new ModelledDisk();
    const backend = await open(disk);
    disk.fault = failWrites('ENOSPC');
    const first = rejection(backend.commit({ puts: [{ key: 'a', value: 1 }] }));
    const second = rejection(backend.commit({ checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 2 }] }));
    expect(isLoopStateError(await first, 'LOOPSTATE_OUTCOME_UNKNOWN')).to.equal(true);
    expect(isLoopStateError(await second, 'LOOPSTATE_UNAVAILABLE')).to.equal(true);
  });

  it('close/final: a close that cannot write resolves, reports, and loses nothing', async () => {
    const disk = new ModelledDisk();
    const told: string[] = [];
    const backend = await open(disk, { onFinding: ({ code }) => told.push(code) });
    await backend.commit({ puts: [{ key: 'a', value: 1 }] });
    disk.fault = ({ name, path }) => (name === 'createFile' ? systemError('ENOSPC', path) : undefined);
    await backend.close();
    expect(backend.recovery.map(({ code }) => code)).to.deep.equal(['compaction-failed']);
    expect(told).to.deep.equal(['compaction-failed']);
    disk.fault = undefined;
    expect((await (await open(disk)).read(['a']))[0]?.value).to.equal(1);
  });

  it('commit/three-answers: an error after the write answers everyone, loses nothing, and the store closes', async () => {
    const disk = new ModelledDisk();
    const backend = await open(disk);
    await backend.commit({ puts: [{ key: 'a', value: 1 }] });
    const { append } = RecordLog.prototype;
    RecordLog.prototype.append = function (this: RecordLog, entry) {
      if (entry.key === 'c') throw new RangeError('Invalid string length');
      append.call(this, entry);
    };
    try {
      const puts = ['b', 'c', 'd'].map((key) => ({ key, value: 1 }));
      expect(isLoopStateError(await rejection(backend.commit({ puts })), 'LOOPSTATE_OUTCOME_UNKNOWN')).to.equal(true);
      const openAgain = () => openFileBackend(disk.statePath, { disk });
      for (const later of [() => backend.commit({ puts: [{ key: 'e', value: 1 }] }), () => backend.read(['b']), openAgain]) {
        const refused = await rejection(later());
        expect(isLoopStateError(refused, 'LOOPSTATE_UNAVAILABLE') && !refused.retryable).to.equal(true);
      }
      await backend.close();
    } finally {
      RecordLog.prototype.append = append;
    }
    const reopened = await openFileBackend(disk.statePath, { disk, lock: noLock });
    expect((await reopened.read(['a', 'b', 'c', 'd', 'e'])).map((record) => record?.value)).to.deep.equal([1, 1, 1, 1, undefined]);
  });

  it('always-starts: an opening that fails leaves nothing open, and no file that it made', async () => {
    const first = new ModelledDisk();
    const backend = await open(first);
    for (const key of ['a', 'b']) await backend.commit({ puts: [{ key, value: 1 }] });
    const left = first.files();
    let cases = 0;
    for (let at = 0; ; at++) {
      const disk = ModelledDisk.holding(left);
      let openFiles = 0;
      let failed = '';
      disk.fault = ({ name, path, index }) => {
        if (index === at) {
          failed = name;
          return systemError('ENOSPC', path);
        }
        if (name === 'createFile' || name === 'openFile') openFiles++;
        if (name === 'close') openFiles--;
        return undefined;
      };
      const opening = await open(disk).then(
        () => 'opened',
        (error: Error) => error.message,
      );
      if (failed === '') break;
      if (opening === 'opened' || failed === 'close') continue;
      expect(opening, failed).to.match(/No space is left/);
      expect(openFiles, `left open after ${failed}, call ${at}`).to.equal(0);
      // Once the new state file is in its place, its journal belongs to it.
      const after = disk.files();
      const isReplaced = after.get('state.json') !== left.get('state.json');
      if (!isReplaced) expect([...after.keys()], `left after ${failed}, call ${at}`).to.deep.equal([...left.keys()]);
      disk.fault = undefined;
      const { recovery } = await open(disk);
      expect(recovery.filter(({ severity }) => severity === 'loss')).to.deep.equal([]);
      cases++;
    }
    expect(cases).to.be.greaterThan(20);
  });

  for (const damaged of ['state.json', 'the newest journal']) {
    it(`always-starts: a loss of ${damaged} is told by the start that succeeds, whichever call failed in it or in those before, and nothing more is lost`, async () => {
      const left = await leftWithLoss(damaged);
      let cases = 0;
      let goneOn = 0;
      let toldLater = 0;
      /** The call, or it and all that follow, as when the process is killed. */
      for (const lasts of [false, true]) {
        for (let at = 0; ; at++) {
          const label = `call ${at}${lasts ? ' and all that follow' : ''}`;
          const disk = ModelledDisk.holding(left);
          let hasFailed = false;
          const fault: Fault = ({ index, path }) => {
            if (index !== at && !(lasts && index > at)) return undefined;
            hasFailed = true;
            return systemError('ENOSPC', path);
          };
          disk.fault = fault;
          const opened = await open(disk).catch(() => undefined);
          disk.fault = undefined;
          if (!hasFailed) {
            // What was told is not told again.
            expect((await open(disk)).recovery).to.deep.equal([]);
            break;
          }
          if (opened === undefined) {
            // One more that ends at the same call, and then the state file is gone.
            const again = ModelledDisk.holding(disk.files());
            again.fault = fault;
            await open(again).catch(() => undefined);
            const files = again.files();
            files.delete('state.json');
            const { recovery } = await open(ModelledDisk.holding(files));
            expect(severitiesOf(recovery), `${label}, twice, and without the state file`).to.include('loss');
          }
          const { recovery } = opened ?? (await open(disk));
          expect(severitiesOf(recovery), label).to.include('loss');
          if (recovery.some(({ code }) => code === 'repair-interrupted')) toldLater++;
          if (opened !== undefined && recovery.some(({ code }) => code === 'compaction-failed')) {
            goneOn++;
            await expectWholeAfterLosses(opened, disk, label);
          }
          cases++;
        }
      }
      expect(cases).to.be.greaterThan(100);
      expect(goneOn).to.be.greaterThan(20);
      expect(toldLater).to.be.greaterThan(3);
    });
  }

  it('always-starts: a file that the disk cannot read keeps no loop from starting while the others hold all, and is kept', async () => {
    const first = new ModelledDisk();
    for (let session = 0; session < 3; session++) {
      const backend = await open(first);
      await backend.commit({ puts: [{ key: 'a', value: session }] });
      if (session < 2) await backend.close();
    }
    const whole = first.files();
    expect(whole.size).to.equal(4);
    const findingsOf = async (unreadable: readonly string[], files = whole): Promise<readonly string[]> => {
      const disk = ModelledDisk.holding(files);
      const isBad = (path: string) => unreadable.some((name) => path.endsWith(`/${name}`));
      disk.fault = ({ name, path }) => (name === 'readFile' && isBad(path) ? systemError('EIO', path) : undefined);
      const backend = await open(disk);
      expect((await backend.read(['a']))[0]?.value).to.equal(2);
      await backend.close();
      // What was put aside can be read again, with all that it held.
      const { recovery } = backend;
      for (const { where, keptAs } of recovery) {
        if (keptAs !== undefined) expect(disk.files().get(basename(keptAs))).to.equal(files.get(basename(where)));
      }
      disk.fault = undefined;
      expect((await (await open(disk)).read(['a']))[0]?.value).to.equal(2);
      return recovery
        .filter(({ message }) => message.includes('The disk could not read it'))
        .map(({ code, keptAs }) => `${code} ${!!keptAs}`);
    };
    const journals = [...whole.keys()].filter((name) => name.endsWith('.journal'));
    expect(await findingsOf(['state.json'])).to.deep.equal(['snapshot-damaged true']);
    expect(await findingsOf(['state.json.previous'])).to.deep.equal(['previous-damaged true']);
    expect(await findingsOf([journals[0]!])).to.deep.equal(['journal-damaged false']);
    const without = (...names: readonly string[]) => new Map([...whole].filter(([name]) => !names.includes(name)));
    const needed: [string[], Map<string, Buffer>][] = [
      [[journals[1]!], whole],
      [['state.json', 'state.json.previous'], whole],
      [['state.json', journals[0]!], whole],
      [['state.json'], without('state.json.previous', ...journals)],
      [['state.json.previous'], without('state.json', ...journals)],
      [['state.json'], without('state.json.previous')],
    ];
    for (const [unreadable, files] of needed) {
      const refused = await rejection(findingsOf(unreadable, files));
      expect(isLoopStateError(refused, 'LOOPSTATE_UNAVAILABLE') && refused.message, unreadable.join()).to.match(/look at the system log/);
    }
  });

  it('a compaction that fails is reported once, and commits go on', async () => {
    const disk = new ModelledDisk();
    const found: string[] = [];
    forgetOpenStores();
    const backend = await openFileBackend(disk.statePath, {
      disk,
      lock: noLock,
      compactAtBytes: 300,
      onFinding: ({ code }) => found.push(code),
    });
    disk.fault = ({ name, path }) => (name === 'createFile' ? systemError('ENOSPC', path) : undefined);
    for (let round = 0; round < 40; round++) await backend.commit({ puts: [{ key: 'a', value: round }] });
    expect(found).to.deep.equal(['compaction-failed']);
    disk.fault = undefined;
    for (let round = 0; round < 40; round++) await backend.commit({ puts: [{ key: 'a', value: round }] });
    expect([...disk.files().keys()]).to.include('state.json.previous');
  });
});

/** The files of a killed store, of which one is damaged so that something is lost, and `last` is not. */
async function leftWithLoss(damaged: string): Promise<Map<string, Buffer>> {
  const disk = new ModelledDisk();
  const whole = await open(disk);
  for (const key of ['a', 'b', 'c']) await whole.commit({ puts: [{ key, value: 1 }] });
  await whole.close();
  const later = await open(disk);
  for (const key of ['lost', 'last']) await later.commit({ puts: [{ key, value: 1 }] });
  const files = disk.files();
  const journals = [...files.keys()].filter((name) => name.endsWith('.journal'));
  const spoil = (name: string, what: string) => files.set(name, Buffer.from(String(files.get(name)).replace(what, '"spoilt"')));
  if (damaged === 'state.json') {
    spoil('state.json', '"a"');
    files.set('state.json.previous', Buffer.from('spoilt'));
    for (const name of journals.slice(0, -1)) files.delete(name);
  } else spoil(journals.at(-1) ?? '', '"lost"');
  return files;
}

/** A start that could not write its second snapshot: nothing is acknowledged before it stands, and then one more loss costs nothing. */
async function expectWholeAfterLosses(backend: FileBackend, disk: ModelledDisk, label: string): Promise<void> {
  const put = () => backend.commit({ puts: [{ key: 'later', value: 1 }] });
  const before = disk.files();
  before.set('state.json', Buffer.from('spoilt'));
  expect((await (await open(ModelledDisk.holding(before))).read(['last']))[0], label).to.include({ value: 1 });
  disk.fault = ({ name, path }) => (name === 'createFile' ? systemError('ENOSPC', path) : undefined);
  const refused: unknown = await put().catch((error: unknown) => error);
  expect(isLoopStateError(refused, 'LOOPSTATE_UNAVAILABLE'), label).to.equal(true);
  disk.fault = undefined;
  const result = await put();
  const revision = result.ok ? result.revision : 0;
  const files = disk.files();
  const newest = [...files.keys()].filter((name) => name.endsWith('.journal')).at(-1) ?? '';
  files.set('state.json', Buffer.from('spoilt'));
  const spoilt = await open(ModelledDisk.holding(files));
  expect(
    (await spoilt.read(['last', 'later'])).map((record) => record?.value),
    label,
  ).to.deep.equal([1, 1]);
  files.delete('state.json');
  files.delete(newest);
  const bereft = await open(ModelledDisk.holding(files));
  expect(severitiesOf(bereft.recovery), `${label}, then without ${newest}`).to.include('loss');
  expect(await bereft.commit({ puts: [{ key: 'later', value: 2 }] }))
    .to.have.property('revision')
    .greaterThan(revision);
}

function severitiesOf(recovery: readonly RecoveryFinding[]): string[] {
  return recovery.map(({ severity }) => severity);
}

/** Every call that the backend can make of a disk in which names are there, and links are no symlinks. */
const CALLS = [
  ...['readLink', 'realPath', 'stamp', 'assertWritable', 'list', 'readFile', 'survivesPowerLoss'],
  ...['createFile', 'openFile', 'adopt', 'write', 'writeSynced', 'sync', 'syncOfWrite', 'stampOpen', 'close'],
  ...['link', 'rename', 'unlink', 'syncDirectory'],
];

const failWrites =
  (code: string): Fault =>
  ({ name, path }) =>
    WRITES.includes(name) ? systemError(code, path) : undefined;

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('It should have been rejected.');
}
