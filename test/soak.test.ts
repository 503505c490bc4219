/**
 * A short soak of each backend, by the same code that `pnpm soak` runs for hours: a loop is run while its workers are killed and paused, its
 * server and network fail and its files are damaged, and each promise is verified after every round. And a broken promise ends it with 1 and
 * leaves what is needed to see why.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { prove } from '@loopstate/conformance';
import { expect } from 'chai';
import { runSoak } from './soak/run-soak.js';
import { spawnCompiled, WORKSPACE } from './support/compiled.js';
import { seedFromEnvironment } from './support/seeded.js';

const MINUTES = 0.1;

describe('A soak', () => {
  for (const backend of ['file', 'sqlite', 'redis'] as const) {
    it(`acked-survives, one-item, always-starts, once-recorded, fenced: ${backend}, for ${MINUTES} min`, async () => {
      const seed = seedFromEnvironment();
      console.log(`      seed ${seed} (to replay: pnpm soak --backend ${backend} --minutes ${MINUTES} --seed ${seed})`);
      const killsLeast = 5;
      const { counts, violations, directory } = await runSoak({ backend, minutes: MINUTES, seed, killsLeast, print: console.log });
      expect(violations.slice(0, 5), `kept in ${directory}`).to.deep.equal([]);
      const { kills, commits } = counts;
      prove({ test: 'S8 soak', backend, counts: { kills, commits }, least: { kills: killsLeast, commits: 300 } });
    }).timeout(240_000);
  }

  it('ends with 1 and leaves all that happened when a promise was broken, and the same seed makes the same choices', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'loopstate-soak-test-'));
    try {
      const schedules: string[] = [];
      for (const soak of [pnpmSoak, compiledSoak]) {
        const keep = join(directory, soak.name);
        const { code, output } = await soak(['--backend', 'file', '--minutes', '0.01', '--seed', '7', '--keep', keep, '--plant']);
        expect(code, output).to.equal(1);
        expect(output).to.include('acked-survives');
        const [command, , , ...violations] = readFileSync(join(keep, 'replay.txt'), 'utf8').trim().split('\n');
        expect(command).to.equal('pnpm soak --backend file --minutes 0.01 --seed 7');
        expect(violations.join('\n')).to.include('acked-survives: the outcome of item-planted is gone');
        expect(readFileSync(join(keep, 'store-1', 'state.json'), 'utf8')).to.include('"loopstate"');
        expect(readFileSync(join(keep, 'workers-of-store-1', 'worker-1.jsonl'), 'utf8')).to.include('"worked"');
        schedules.push(readFileSync(join(keep, 'schedule.json'), 'utf8'));
      }
      expect(schedules[0]).to.equal(schedules[1]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }).timeout(240_000);
});

interface SoakEnd {
  readonly code: number | null;
  readonly output: string;
}

/** As the script in package.json. */
async function pnpmSoak(args: readonly string[]): Promise<SoakEnd> {
  const script = (JSON.parse(readFileSync(join(WORKSPACE, 'package.json'), 'utf8')) as { scripts: { soak: string } }).scripts.soak;
  const [, ...flags] = script.split(' ');
  return await endOf(spawn(process.execPath, [...flags, ...args], { cwd: WORKSPACE, stdio: ['ignore', 'pipe', 'inherit'] }));
}

/** The same, without the time that the script takes to start. */
async function compiledSoak(args: readonly string[]): Promise<SoakEnd> {
  return await endOf(await spawnCompiled('test/soak/soak.ts', args, { stdio: ['ignore', 'pipe', 'inherit'] }));
}

async function endOf(child: ChildProcess): Promise<SoakEnd> {
  const [output] = await Promise.all([text(child.stdout as Readable), once(child, 'exit')]);
  return { code: child.exitCode, output };
}
