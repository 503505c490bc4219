/**
 * The point of loopstate, shown: `checksum-tree` is killed with SIGKILL part-way and started again, and then its manifest is checked
 * against the tree itself, by other means.
 *
 *     kill-and-resume.ts [tree]        (default: the installed node_modules)
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LoopState } from 'loopstate';

const KILL_AT = 0.3;
const SAMPLE = 200;

// A package manager changes the directory, and remembers the user's here.
const from = process.env.INIT_CWD ?? process.cwd();
const tree = process.argv[2] === undefined ? fileURLToPath(new URL('../node_modules', import.meta.url)) : resolve(from, process.argv[2]);
const place = mkdtempSync(join(tmpdir(), 'loopstate-demo-'));
const statePath = join(place, 'state.json');
const manifestPath = join(place, 'manifest.jsonl');

const total = countFiles();
say(`tree      ${tree}: ${number(total)} files`);
say(`state     ${statePath}`);

say(`\n1. Start the loop, and kill it at ${KILL_AT * 100} %.`);
const first = startLoop();
const isKilled = await killPartWay(first);
say(isKilled ? `   killed: SIGKILL, after ${first.seconds()} s` : '   It was done before it could be killed: try a larger tree.');
const before = await look();
say(`   ${number(before.progress.completed)} files are recorded; ${before.progress.inProgress} were in progress, and will run again`);

say('\n2. Start it again.');
const second = startLoop();
const code = await second.ended;
const after = await look();
say(
  `   exit ${code} after ${second.seconds()} s: ${number(after.progress.completed)} recorded, ${after.progress.failed} could not be read`,
);

say('\n3. Check the manifest against the tree.');
const manifest = readFileSync(manifestPath, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as ManifestLine);
const again = [...before.items].filter(([id, item]) => item.status === 'completed' && after.items.get(id)?.revision !== item.revision);
const step = Math.max(1, Math.floor(manifest.length / SAMPLE));
const sample = manifest.filter((_, index) => index % step === 0);
check(
  manifest.length + after.progress.failed === total,
  `${number(manifest.length)} lines for ${number(total)} files, counted independently`,
);
check(new Set(manifest.map(({ id }) => id)).size === manifest.length, 'every file exactly once');
check(again.length === 0, `none of the ${number(before.progress.completed)} recorded before the kill was recorded again`);
check(sample.every(isRight), `${sample.length} checksums computed again: all the same`);
say(`\nThe manifest: ${manifestPath}`);

interface ManifestLine {
  readonly id: string;
  readonly sha256: string;
}

function startLoop() {
  const script = fileURLToPath(new URL(`./checksum-tree${extname(import.meta.url)}`, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, script, tree, statePath, manifestPath], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const startMs = performance.now();
  let endMs: number | undefined;
  const ended = once(child, 'exit').then(([exitCode]: (number | null)[]) => {
    endMs = performance.now();
    return exitCode;
  });
  return {
    child,
    ended,
    hasEnded: () => endMs !== undefined,
    seconds: () => (((endMs ?? performance.now()) - startMs) / 1_000).toFixed(1),
  };
}

/** Looks on beside the loop, without a lock, until it is time; false: it ended before. */
async function killPartWay({ child, ended, hasEnded }: ReturnType<typeof startLoop>): Promise<boolean> {
  for (; !hasEnded(); await sleep(20)) {
    // Before the loop has begun there is nothing to look at.
    const state = await LoopState.open(statePath, { access: 'read' }).catch(() => undefined);
    const completed = state?.progress.completed ?? 0;
    await state?.close();
    if (completed < total * KILL_AT) continue;
    child.kill('SIGKILL');
    return (await ended) === null;
  }
  return false;
}

async function look() {
  const state = await LoopState.open(statePath, { access: 'read' });
  try {
    return await state.snapshot();
  } finally {
    await state.close();
  }
}

// Not by `recursive`: since Node 24 that follows symlinks.
function countFiles(folder = tree): number {
  let count = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) count += countFiles(join(folder, entry.name));
    else if (entry.isFile()) count += 1;
  }
  return count;
}

function isRight({ id, sha256 }: ManifestLine): boolean {
  if (id.startsWith('sha256:')) return true;
  return (
    createHash('sha256')
      .update(readFileSync(join(tree, id)))
      .digest('hex') === sha256
  );
}

function check(isTrue: boolean, claim: string): void {
  say(`   ${isTrue ? 'ok ' : 'NOT'}  ${claim}`);
  if (!isTrue) process.exitCode = 1;
}

function number(value: number): string {
  return value.toLocaleString('en');
}

function say(line: string): void {
  console.log(line);
}
