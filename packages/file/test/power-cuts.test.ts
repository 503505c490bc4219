/**
 * Proves *commit/acked-survives*, *commit/all-or-nothing* and *commit/one-revision* against power cuts: a run on a modelled disk
 * is cut at every disk call, and every state that the disk may be left in is recovered and judged. Recovery is cut in turn.
 */
import { prove } from '@loopstate/conformance';
import { expect } from 'chai';
import { openFileBackend } from '../src/open-file-backend.js';
import { type Defect, type ModelledDisk, noLock } from './modelled-disk.js';
import { type Open, recordRun, sweepFailedSyncs, sweepKills, sweepPowerCuts, sweepRecoveryCuts } from './power-cuts.js';

const open: Open = (disk) => {
  disk.hasLockFile = true;
  return openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes: 400, journalSpaceBytes: 300 });
};

/** Opens on a disk with a defect: a control that has to be caught. */
const openOn =
  (defect: Defect): Open =>
  (disk) => {
    disk.defect = defect;
    return open(disk);
  };

function generationsOf(disk: ModelledDisk): number {
  const names = disk.crashPoints.flatMap(({ names }) => [...names.keys()]);
  return new Set(names.filter((name) => name.endsWith('.journal'))).size;
}

describe('file: power cuts on a modelled disk', function () {
  this.timeout(120_000);

  it('commit/acked-survives, commit/all-or-nothing, commit/one-revision: every crash state recovers what was acknowledged, and goes on', async () => {
    const run = await recordRun(open, { rounds: 8, groupCommits: 2 });
    expect(generationsOf(run.disk), 'generations').to.be.at.least(6);
    const { states, violation } = await sweepPowerCuts(run, open);
    expect(violation).to.equal(undefined);
    const counts = { states, commits: run.ledger.acknowledged };
    prove({ test: 'S1 power cuts', backend: 'file', counts, least: { states: 5_000, commits: 20 } });
  });

  it('commit/acked-survives: groups, compaction and recovery that are cut recover the same, and once more the same', async () => {
    const run = await recordRun(open, { rounds: 3, groupCommits: 5 });
    const { states, violation } = await sweepRecoveryCuts(run, open);
    expect(violation).to.equal(undefined);
    const counts = { states, commits: run.ledger.acknowledged };
    prove({ test: 'S2 power cuts in recovery and compaction', backend: 'file', counts, least: { states: 10_000 } });
  });

  it('commit/acked-survives: what open reported after a kill is there after a power cut', async () => {
    const run = await recordRun(open, { rounds: 6, groupCommits: 2 });
    const { states, violation } = await sweepKills(run, open);
    expect(violation).to.equal(undefined);
    prove({ test: 'S3 kill, then power cut', backend: 'file', counts: { states }, least: { states: 200 } });
  });

  for (const failedSyncs of ['drop', 'keep'] as const) {
    it(`commit/acked-survives: a sync that fails once, and ${failedSyncs === 'drop' ? 'drops' : 'keeps'} its data, costs nothing acknowledged`, async () => {
      const { states, violation } = await sweepFailedSyncs(open, { rounds: 3, groupCommits: 2 }, failedSyncs);
      expect(violation).to.equal(undefined);
      prove({ test: 'S4 failed syncs', backend: 'file', counts: { states }, least: { states: 200 } });
    });
  }

  it('acked-survives: each of these sweeps catches a disk that only says that it synced', async () => {
    const size = { rounds: 6, groupCommits: 2 };
    const sound = await recordRun(open, size);
    const sweeps = {
      'S1, data': await sweepPowerCuts(await recordRun(openOn('ignores syncs'), size), open),
      'S1, names': await sweepPowerCuts(await recordRun(openOn('ignores syncs of names'), size), open),
      'S2, data': await sweepRecoveryCuts(sound, openOn('ignores syncs')),
      'S3, data': await sweepKills(sound, openOn('ignores syncs')),
      'S3, names': await sweepKills(sound, openOn('ignores syncs of names')),
      'S4, errors': await sweepFailedSyncs(openOn('swallows errors'), size, 'drop'),
    };
    for (const [name, { violation }] of Object.entries(sweeps)) expect(violation, name).to.be.a('string');
  });
});
