/**
 * Proves that trouble of the disk is never taken for success: each disk call of a run fails once, or for a while, with each error
 * that disks have, and writes come short. What was acknowledged is there afterwards, and the store goes on.
 */
import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import { Ledger } from './ledger.js';
import { type Fault, forgetOpenStores, ModelledDisk, noLock, systemError } from './modelled-disk.js';

const CODES = ['EIO', 'ENOSPC', 'EDQUOT', 'EMFILE', 'EROFS', 'EACCES', 'EINTR'];
const WRITES = ['write', 'writeSynced'];

function open(disk: ModelledDisk): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes: 600, journalSpaceBytes: 300 });
}

interface Outcome {
  readonly ledger: Ledger;
  /** What rejected; all of it errors of ours. */
  readonly errors: Error[];
  /** What a kill would have left before the last close. */
  readonly killed: ModelledDisk;
}

/** Opens, commits, reopens and closes; goes on after trouble as a loop would. */
async function run(disk: ModelledDisk): Promise<Outcome> {
  const ledger = new Ledger();
  const errors: Error[] = [];
  const attempt = async <T>(act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act();
    } catch (error) {
      if (!isLoopStateError(error)) throw error;
      errors.push(error);
      return undefined;
    }
  };
  let killed = disk;
  for (let session = 0; session < 2; session++) {
    const backend = (await attempt(() => open(disk))) ?? (await open(disk));
    for (let round = 0; round < 8; round++) {
      const put = { key: `item/${round % 5}`, value: ledger.mark() };
      const durability = round % 4 === 1 ? 'written' : 'synced';
      await attempt(() => ledger.commit(backend, { puts: [put], durability }, () => disk.calls));
    }
    killed = ModelledDisk.holding(disk.files());
    await attempt(() => backend.close());
  }
  return { ledger, errors, killed };
}

async function expectAllWell(disk: ModelledDisk, { ledger, killed }: Outcome, label: string): Promise<void> {
  expect(await ledger.judge(await open(killed)), `${label}, killed`).to.deep.equal([]);
  disk.fault = undefined;
  const backend = await open(disk);
  expect(await ledger.judge(backend), label).to.deep.equal([]);
  expect(
    backend.recovery.filter(({ severity }) => severity === 'loss'),
    label,
  ).to.deep.equal([]);
  const result = await backend.commit({ puts: [{ key: 'after', value: label }] });
  expect(result.ok && result.revision, label).to.be.greaterThan(ledger.highestRevision());
  await backend.close();
}

describe('file: errors of the disk', () => {
  let calls: number;

  before(async () => {
    const disk = new ModelledDisk();
    await run(disk);
    calls = disk.calls;
  });

  it('commit/acked-survives: any call fails once with any error', async function () {
    this.timeout(120_000);
    let cases = 0;
    let rejected = 0;
    for (let failing = 0; failing < calls; failing++) {
      const code = CODES[failing % CODES.length]!;
      const disk = new ModelledDisk();
      disk.fault = ({ index, path }) => (index === failing ? systemError(code, path) : undefined);
      const outcome = await run(disk);
      rejected += outcome.errors.length;
      for (const error of outcome.errors) expect(error.message, 'names the file').to.include('state.json');
      await expectAllWell(disk, outcome, `call ${failing}, ${code}`);
      cases++;
    }
    console.log(`      ${cases} cases, ${rejected} rejections`);
    expect(cases).to.be.at.least(100);
    expect(rejected).to.be.at.least(10);
  });

  it('commit/acked-survives: the disk is full for a while', async function () {
    this.timeout(120_000);
    let cases = 0;
    for (let from = 20; from < calls; from += 3) {
      const disk = new ModelledDisk();
      const takesSpace = ['createFile', ...WRITES];
      disk.fault = ({ index, name, path }) =>
        index >= from && index < from + 25 && takesSpace.includes(name) ? systemError('ENOSPC', path) : undefined;
      let outcome: Outcome | undefined;
      try {
        outcome = await run(disk);
      } catch (error) {
        if (!isLoopStateError(error, 'LOOPSTATE_UNAVAILABLE')) throw error;
      }
      if (outcome !== undefined) await expectAllWell(disk, outcome, `from call ${from}`);
      cases++;
    }
    console.log(`      ${cases} cases`);
    expect(cases).to.be.at.least(20);
  });

  it('commit/acked-survives: writes come short', async () => {
    const disk = new ModelledDisk();
    disk.fault = ({ name, index }) => (WRITES.includes(name) && index % 3 !== 0 ? 1 + (index % 50) : undefined);
    const outcome = await run(disk);
    expect(outcome.errors).to.deep.equal([]);
    await expectAllWell(disk, outcome, 'short writes');
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
    const backend = await open(disk);
    await backend.commit({ puts: [{ key: 'a', value: 1 }] });
    disk.fault = ({ name, path }) => (name === 'createFile' ? systemError('ENOSPC', path) : undefined);
    await backend.close();
    expect(backend.recovery.map(({ code }) => code)).to.deep.equal(['compaction-failed']);
    disk.fault = undefined;
    expect((await (await open(disk)).read(['a']))[0]?.value).to.equal(1);
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
