/**
 * Proves *commit/acked-survives*, *commit/all-or-nothing* and *commit/one-revision* against power cuts: a run on a modelled disk
 * is cut at every disk call, and every state that the disk may be left in is recovered and judged. Recovery is cut in turn.
 */
import type { Commit } from '@loopstate/core';
import { expect } from 'chai';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import { Ledger } from './ledger.js';
import { crashStates, type Fault, forgetOpenStores, ModelledDisk, noLock, systemError } from './modelled-disk.js';

function open(disk: ModelledDisk): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes: 400, journalSpaceBytes: 300 });
}

/** Twenty commits and more, alone and in groups, over compactions, a clean close and a reopening. */
async function run(disk: ModelledDisk, ledger: Ledger): Promise<void> {
  const clock = () => disk.calls;
  let backend = await open(disk);
  for (let round = 0; round < 12; round++) {
    if (round === 7) {
      await backend.close();
      backend = await open(disk);
    }
    const commits: Commit[] = [
      {
        puts: [
          { key: 'a', value: ledger.mark() },
          { key: `item/${round}`, value: ledger.mark() },
        ],
      },
      { puts: [{ key: 'b', value: ledger.mark() }], deletes: [`item/${round - 2}`] },
    ];
    if (round % 4 === 1) await ledger.commit(backend, { puts: [{ key: 'w', value: ledger.mark() }], durability: 'written' }, clock);
    if (round % 3 === 0) for (const commit of commits) await ledger.commit(backend, commit, clock);
    else await Promise.all(commits.map((commit) => ledger.commit(backend, commit, clock)));
  }
  await backend.close();
}

describe('file: power cuts on a modelled disk', () => {
  let disk: ModelledDisk;
  let ledger: Ledger;

  before(async () => {
    disk = new ModelledDisk();
    disk.isRecording = true;
    ledger = new Ledger();
    await run(disk, ledger);
  });

  it('commit/acked-survives, commit/all-or-nothing, commit/one-revision: every crash state recovers what was acknowledged, and goes on', async function () {
    this.timeout(120_000);
    let states = 0;
    let generations = 0;
    for (const point of disk.crashPoints) {
      for (const { label, files } of crashStates(point)) {
        states++;
        const left = ModelledDisk.holding(files);
        const backend = await open(left);
        const wrong = await ledger.judge(backend, point.call - 1);
        expect(wrong, label).to.deep.equal([]);
        // Lines of one write may be left without those before them; that looks like damage.
        const alarms = backend.recovery.filter(({ code, severity }) => severity !== 'info' && code !== 'journal-damaged');
        expect(alarms, label).to.deep.equal([]);
        if (states % 7 === 0) await expectUsable(backend, left, { label, highest: ledger.highestRevision(point.call - 1) });
      }
      generations = Math.max(generations, ...[...point.names.keys()].map((name) => Number(/\.(\d+)\.journal$/.exec(name)?.[1] ?? 0)));
    }
    console.log(`      ${states} states of ${disk.crashPoints.length} moments, ${generations} generations`);
    expect(generations).to.be.at.least(6);
    expect(states).to.be.at.least(5_000);
  });

  it('commit/acked-survives: a recovery that is cut recovers the same', async function () {
    this.timeout(120_000);
    let states = 0;
    for (let at = 3; at < disk.crashPoints.length; at += 17) {
      const point = disk.crashPoints[at]!;
      const [first] = [...crashStates(point)].reverse();
      const left = ModelledDisk.holding(first!.files);
      left.isRecording = true;
      await open(left);
      for (const again of left.crashPoints) {
        for (const { label, files } of crashStates(again)) {
          states++;
          const backend = await open(ModelledDisk.holding(files));
          expect(await ledger.judge(backend, point.call - 1), `${first!.label}; then ${label}`).to.deep.equal([]);
        }
      }
    }
    console.log(`      ${states} states`);
    expect(states).to.be.at.least(1_000);
  });

  it('commit/acked-survives: what open reported after a kill is there after a power cut', async () => {
    let states = 0;
    for (let at = 5; at < disk.crashPoints.length; at += 5) {
      const killed = ModelledDisk.holding(
        [...crashStates(disk.crashPoints[at]!)].find(({ label }) => label.includes('data all'))?.files ?? new Map(),
      );
      killed.isRecording = true;
      const reported = await contents(await open(killed));
      const last = killed.crashPoints.at(-1);
      if (last === undefined) continue; // It had been closed: nothing needed writing.
      for (const { label, files } of crashStates(last)) {
        states++;
        expect(await contents(await open(ModelledDisk.holding(files))), label).to.deep.equal(reported);
      }
    }
    console.log(`      ${states} states`);
    expect(states).to.be.at.least(30);
  });

  it('commit/acked-survives: a sync that fails once, dropping its data, costs nothing acknowledged', async function () {
    this.timeout(60_000);
    let failures = 0;
    let cuts = 0;
    const counted = new ModelledDisk();
    let syncs = 0;
    counted.fault = ({ name }) => void (isSync(name) && syncs++);
    await run(counted, new Ledger());
    for (let failing = 0; failing < syncs; failing++) {
      const failed = new ModelledDisk();
      const books = new Ledger();
      let seen = 0;
      const fault: Fault = ({ name, path }) => (isSync(name) && seen++ === failing ? systemError('EIO', path) : undefined);
      failed.fault = fault;
      failed.isRecording = true;
      await run(failed, books).catch(() => failures++);
      for (const point of failed.crashPoints.filter((_, at) => at % 23 === failing % 23 || at === failed.crashPoints.length - 1)) {
        const all = [...crashStates(point)];
        for (const { label, files } of [...all.slice(0, 2), ...all.slice(-1)]) {
          cuts++;
          const wrong = await books.judge(await open(ModelledDisk.holding(files)), point.call - 1);
          expect(wrong, `sync ${failing}, ${label}`).to.deep.equal([]);
        }
      }
    }
    console.log(`      ${syncs} syncs, ${failures} of which stopped the run, ${cuts} power cuts after`);
    expect(cuts).to.be.at.least(200);
    expect(failures).to.be.greaterThan(10);
  });
});

const isSync = (name: string) => name === 'sync' || name === 'syncOfWrite' || name === 'syncDirectory';

async function expectUsable(
  backend: FileBackend,
  disk: ModelledDisk,
  { label, highest }: { label: string; highest: number },
): Promise<void> {
  const result = await backend.commit({ puts: [{ key: 'after', value: label }] });
  expect(result.ok && result.revision, label).to.be.greaterThan(highest);
  await backend.close();
  const reopened = await open(ModelledDisk.holding(disk.files()));
  expect((await reopened.read(['after']))[0]?.value, label).to.equal(label);
  expect(reopened.recovery, label).to.deep.equal([]);
}

async function contents(backend: FileBackend): Promise<[string, unknown, number][]> {
  const found: [string, unknown, number][] = [];
  for await (const { key, record, revision } of backend.changes(0)) found.push([key, record?.value, revision]);
  return found;
}
