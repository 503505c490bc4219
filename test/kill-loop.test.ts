/**
 * Proves *acked-survives*, *one-item* and *once-recorded* on the file backend: a real process that loops over 2,000 items is killed with
 * SIGKILL at random moments (from a seed), started again each time, and at the end held against what it printed and what it executed.
 */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { spawnCompiled } from './support/compiled.js';
import { seeded, seedFromEnvironment } from './support/seeded.js';

const ITEMS = 2_000;

describe('A loop that is killed again and again', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'loopstate-kill-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  for (const { kills, concurrency } of [
    { kills: 200, concurrency: 1 },
    { kills: 40, concurrency: 8 },
  ]) {
    it(`acked-survives, one-item, once-recorded: ${kills} kills, ${concurrency} at once`, async () => {
      const seed = seedFromEnvironment();
      const random = seeded(seed);
      console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
      const [statePath, logPath] = [join(folder, 'state.json'), join(folder, 'executed.log')];
      const acknowledged = new Set<string>();
      const twice: string[] = [];
      const live = async (lifeMs: number | undefined): Promise<string> => {
        const child = await spawnCompiled('test/programs/loop-until-killed.ts', [statePath, logPath, `${ITEMS}`, `${concurrency}`], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const exited = once(child, 'exit');
        let last = '';
        let isDoomed = false;
        for await (const line of createInterface({ input: child.stdout! })) {
          last = line;
          if (!/^\d+$/.test(line)) continue;
          if (acknowledged.has(line)) twice.push(line);
          acknowledged.add(line);
          // Its life is counted from its first outcome: start-up takes longer than the rest.
          if (lifeMs !== undefined && !isDoomed) void sleep(lifeMs).then(() => child.kill('SIGKILL'));
          isDoomed = true;
        }
        await exited;
        return last;
      };
      let killed = 0;
      for (let n = 0; n < kills && acknowledged.size < ITEMS - 20; n++) {
        await live(random() * (1_600 / kills) * 4);
        killed += 1;
      }
      expect(await live(undefined)).to.equal('completed');

      const executions = (await readFile(logPath, 'utf8')).trim().split('\n');
      console.log(`      ${killed} kills, ${acknowledged.size} outcomes seen acknowledged, ${executions.length - ITEMS} repetitions`);
      expect(killed, 'kills').to.be.at.least(kills * 0.75);
      expect(twice, 'acknowledged twice').to.deep.equal([]);
      expect(executions.length - ITEMS, 'repetitions').to.be.at.most(killed * concurrency);
      expect(new Set(executions).size).to.equal(ITEMS);
      const state = await LoopState.create(statePath);
      const { items, progress } = await state.snapshot();
      await state.close();
      // An item that was in progress at several kills in a row may have been quarantined: that is an outcome too.
      expect(progress.completed + progress.quarantined).to.equal(ITEMS);
      for (const id of acknowledged) expect(items.get(id)?.output, id).to.deep.equal({ square: Number(id) ** 2 });
      expect(progress.inProgress + progress.outstanding).to.equal(0);
    }).timeout(300_000);
  }
});
