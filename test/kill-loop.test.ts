/**
 * Proves *acked-survives*, *one-item* and *once-recorded* on the file backend: a real process that loops over items is killed with
 * SIGKILL at random moments (from a seed), started again each time, and at the end held against what it printed and what it executed.
 * `LOOPSTATE_KILLS` sets how often.
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

const KILLS = Number(process.env.LOOPSTATE_KILLS) || 30;

/** So that each life has some. */
const ITEMS = 10 * KILLS;

describe('A loop that is killed again and again', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'loopstate-kill-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  for (const { kills, concurrency } of [
    { kills: KILLS, concurrency: 1 },
    { kills: Math.ceil(KILLS / 5), concurrency: 8 },
  ]) {
    it(`acked-survives, one-item, once-recorded: ${kills} kills, ${concurrency} at once`, async () => {
      const seed = seedFromEnvironment();
      const random = seeded(seed);
      console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
      const [statePath, logPath] = [join(folder, 'state.json'), join(folder, 'executed.log')];
      const acknowledged = new Set<string>();
      const twice: string[] = [];
      // A life is counted in outcomes, and ends a moment later: start-up takes longer than the rest, and machines differ.
      const live = async (outcomes: number): Promise<string> => {
        const child = await spawnCompiled('test/programs/loop-until-killed.ts', [statePath, logPath, `${ITEMS}`, `${concurrency}`], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const exited = once(child, 'exit');
        let last = '';
        let seen = 0;
        for await (const line of createInterface({ input: child.stdout! })) {
          last = line;
          if (!/^\d+$/.test(line)) continue;
          if (acknowledged.has(line)) twice.push(line);
          acknowledged.add(line);
          seen += 1;
          if (seen === outcomes) void sleep(random() * 2).then(() => child.kill('SIGKILL'));
        }
        await exited;
        return last;
      };
      let killed = 0;
      for (let n = 0; n < kills && acknowledged.size < ITEMS - 20; n++) {
        await live(1 + Math.floor((random() * ITEMS) / kills));
        killed += 1;
      }
      expect(await live(Number.POSITIVE_INFINITY)).to.equal('completed');

      const executions = (await readFile(logPath, 'utf8')).trim().split('\n');
      console.log(`      ${killed} kills, ${acknowledged.size} outcomes seen acknowledged, ${executions.length - ITEMS} repetitions`);
      expect(killed, 'kills').to.be.at.least(kills * 0.9);
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
    }).timeout(60_000 + kills * 2_000);
  }
});
