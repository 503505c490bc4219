/** The command beside GNU parallel with its job log and beside xargs: a thousand commands that do nothing, and a hundred thousand that are done. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnCompiled } from '../support/compiled.js';
import { compete, type Turn, timesAsLong } from './contest.js';
import type { SectionOptions, SectionResult } from './section.js';
import { complete } from './workload.js';

const COMMANDS = 1_000;
const DONE = 100_000;
const SPAWN_ALONE = fileURLToPath(new URL('programs/spawn-alone.mjs', import.meta.url));
const HOW_TO_INSTALL = 'GNU parallel is not installed: apt-get install parallel, or brew install parallel.';

/** See the file's comment. */
export async function commandSection({ folder, rounds, scale }: SectionOptions): Promise<SectionResult> {
  installParallel();
  const few = writeItems(join(folder, 'few'), Math.ceil(COMMANDS * scale));
  const many = writeItems(join(folder, 'many'), Math.ceil(DONE * scale));
  const state = (name: string): string => join(folder, `${name}.json`);
  const log = (name: string): string => join(folder, `${name}.log`);
  const run = (name: string, items: string, jobs: number) =>
    timed(() => loopstate(['run', '--state', state(name), '--items', items, '-j', `${jobs}`, '--quiet', '--', 'true', '{}']));
  const parallel = (name: string, items: string, ...more: string[]) =>
    timed(() => spawn('parallel', ['-j2', '--joblog', log(name), ...more, 'true', '{}', '::::', items], QUIET));
  // Neither by running them: that would take five minutes.
  await complete(state('done'), Math.ceil(DONE * scale), (n) => ({ id: `item-${n}` }));
  writeJobLog(log('done'), Math.ceil(DONE * scale));
  const standings = await compete(
    [
      { name: 'loopstate run -j2', turn: (round) => run(`few-${round}`, few, 2) },
      { name: 'parallel -j2 --joblog', turn: (round) => parallel(`few-${round}`, few) },
      {
        name: 'spawn of Node, two at a time (no state)',
        turn: () => timed(() => spawn(process.execPath, [SPAWN_ALONE, `${Math.ceil(COMMANDS * scale)}`], QUIET)),
      },
      { name: 'xargs -P2 -n1 (no state)', turn: () => timed(() => spawn('xargs', ['-a', few, '-P2', '-n1', 'true'], QUIET)) },
      { name: 'loopstate run, 100,000 done', turn: () => run('done', many, 2) },
      { name: 'parallel --resume, 100,000 done', turn: () => parallel('done', many, '--resume') },
    ],
    { rounds: Math.min(rounds, 3) },
  );
  const [ours, theirs, , , resumed, theirsResumed] = standings as [Row, Row, Row, Row, Row, Row];
  rmSync(log('done'), { force: true });
  return {
    title: 'The command',
    tables: [
      {
        title: 'The command',
        note: `An operation is a whole run: ${COMMANDS.toLocaleString('en')} times the command "true", or finding that all of ${DONE.toLocaleString('en')} are done.`,
        standings,
        floor: 'parallel -j2 --joblog',
      },
    ],
    budgets: [
      { name: 'loopstate run, per item / parallel -j2 --joblog', figure: timesAsLong(ours, theirs), bound: 0.6, side: 'at most' },
      {
        name: 'loopstate run, resuming 100,000 / parallel --resume',
        figure: timesAsLong(resumed, theirsResumed),
        bound: 0.3,
        side: 'at most',
      },
    ],
  };
}

type Row = Awaited<ReturnType<typeof compete>>[number];

const QUIET = { stdio: 'ignore' } as const;

async function loopstate(args: readonly string[]) {
  return await spawnCompiled('packages/loopstate/bin/loopstate.js', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

async function timed(start: () => ReturnType<typeof spawn> | Promise<ReturnType<typeof spawn>>): Promise<Turn> {
  const startMs = performance.now();
  const child = await start();
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`A command ended with ${code}.`);
  const elapsedMs = performance.now() - startMs;
  return { operations: 1, elapsedMs, latenciesUs: [elapsedMs * 1_000] };
}

function writeItems(path: string, count: number): string {
  writeFileSync(path, Array.from({ length: count }, (_, n) => `item-${n}\n`).join(''));
  return path;
}

/** As parallel would have written it. */
function writeJobLog(path: string, count: number): void {
  const lines = Array.from({ length: count }, (_, n) => `${n + 1}\t:\t1764000000.000\t     0.001\t0\t0\t0\t0\ttrue item-${n}`);
  const file = openSync(path, 'w');
  writeFileSync(file, `Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n${lines.join('\n')}\n`);
  closeSync(file);
}

function installParallel(): void {
  const isInstalled = (): boolean => spawnSync('parallel', ['--version'], QUIET).status === 0;
  if (isInstalled()) return;
  if (process.platform === 'linux' && process.getuid?.() === 0) spawnSync('apt-get', ['install', '-y', 'parallel'], QUIET);
  if (!isInstalled()) throw new Error(HOW_TO_INSTALL);
}
