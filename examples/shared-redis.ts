/**
 * Four processes share one loop over 500 real files by a Redis URL. One of them is killed, another is paused until it has lost its lease
 * and then wakes up; each file is recorded once all the same.
 *
 *     shared-redis.ts [url] [tree]        (default: a redis-server of its own, and the installed node_modules)
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LoopState, runLoop } from 'loopstate';

const [given, tree = fileURLToPath(new URL('../node_modules', import.meta.url)), role] = process.argv.slice(2);
const LEASE_MS = 1_500;
const files = firstFiles(500);

if (role === 'worker') await work(given ?? '');
else await show(given === undefined || given === '' ? await ownServer() : given);

/** One of the four: all it knows of the others is the URL. */
async function work(url: string): Promise<void> {
  const state = await LoopState.open(url, { leaseMs: LEASE_MS, onEvent: ({ type }) => process.send?.(type) });
  let isToPause = false;
  process.once('message', () => {
    isToPause = true;
  });
  await runLoop({
    state,
    items: files,
    work: async (path) => {
      await sleep(20); // Stands for what takes long in your loop.
      if (isToPause) await pause(path);
      isToPause = false;
      return sha256(path);
    },
    onProgress: (event) => {
      if (event.type === 'completed') process.send?.({ recorded: event.id });
      if (event.type === 'lost') process.send?.('was refused: another had its file by then');
    },
  });
  await state.close();
  process.disconnect();
}

/** Stops this process in the middle of its work, until the one that started it wakes it up. */
async function pause(path: string): Promise<void> {
  await new Promise((resolve) => process.send?.({ paused: path }, resolve));
  process.kill(process.pid, 'SIGSTOP');
}

async function show(url: string): Promise<void> {
  const recorded: string[] = [];
  const counts = [0, 0, 0, 0];
  let held: string | undefined;
  const workers = counts.map((_, n) => {
    const child = fork(fileURLToPath(import.meta.url), [url, tree, 'worker']);
    child.on('message', (message: string | { paused: string } | { recorded: string }) => {
      if (typeof message === 'string') return say(n, message);
      if ('paused' in message) {
        held = message.paused;
        return;
      }
      recorded.push(message.recorded);
      counts[n] = (counts[n] ?? 0) + 1;
      if (recorded.length % 50 === 0) console.log(`${`${recorded.length}`.padStart(4)} recorded   by ${counts.join(' + ')}`);
    });
    child.on('exit', (code) => code && fail(`Worker ${n + 1} ended with ${code}; its error is above.`));
    return child;
  });
  const ends = Promise.all(workers.map((child) => once(child, 'exit')));
  const [killed, paused] = workers as [ChildProcess, ChildProcess];
  await until(() => recorded.length >= files.length * 0.2);
  say(0, 'gets SIGKILL');
  killed.kill('SIGKILL');
  await until(() => recorded.length >= files.length * 0.4);
  paused.send('pause');
  await until(() => held !== undefined);
  say(1, `has stopped, until its lease of ${LEASE_MS} ms is over and another has done its file`);
  await until(() => recorded.includes(held ?? ''));
  say(1, 'wakes up');
  paused.kill('SIGCONT');
  await ends;

  const state = await LoopState.open(url);
  const { items } = await state.snapshot();
  await state.close();
  check(items.size === files.length, `${items.size} of ${files.length} files have an outcome`);
  check(new Set(recorded).size === recorded.length, `no worker was told "recorded" of a file that another had recorded`);
  check(
    [...items].every(([path, { output }]) => output === sha256(path)),
    'every checksum is right',
  );
}

function firstFiles(count: number): string[] {
  const [found, folders]: [string[], string[]] = [[], [tree]];
  // Not by `recursive`: since Node 24 that follows symlinks.
  for (const folder of folders) {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) folders.push(join(folder, entry.name));
      else if (entry.isFile()) found.push(join(folder, entry.name));
    }
  }
  return found.slice(0, count);
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** A server that writes down every commit before it answers, ended together with this process. */
async function ownServer(): Promise<string> {
  const port = 20_000 + (process.pid % 10_000);
  const folder = mkdtempSync(join(tmpdir(), 'loopstate-'));
  const flags = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always'];
  const server = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'ignore'] });
  server.once('error', () => fail('redis-server is not installed: install it, or give the URL of a server that you have.'));
  process.once('exit', () => server.kill());
  for await (const lines of server.stdout) {
    // Leaving the loop closes the server's output, which it does not mind.
    if (`${lines}`.includes('Ready to accept connections')) break;
  }
  server.unref();
  return `redis://127.0.0.1:${port}/0?job=shared`;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(2);
}

function check(isTrue: boolean, claim: string): void {
  console.log(`${isTrue ? 'ok ' : 'NOT'}  ${claim}`);
  if (!isTrue) process.exitCode = 1;
}

function say(worker: number, what: string): void {
  console.log(`     worker ${worker + 1}: ${what}`);
}

function fail(reason: string): never {
  console.error(reason);
  process.exit(1);
}
