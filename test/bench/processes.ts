/** Processes that take part in a benchmark. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { spawnCompiled } from '../support/compiled.js';

/** What processes that commit at once came to. */
export interface Hammering {
  readonly perSecond: number;
  readonly worstMs: number;
}

/** Lets so many processes commit to one store at once. */
export async function hammer(
  url: string,
  { processes, workers, durationMs }: { readonly processes: number; readonly workers: number; readonly durationMs: number },
): Promise<Hammering> {
  const children = await Promise.all(
    Array.from({ length: processes }, async () => {
      const child = await spawnCompiled('test/bench/programs/hammer.ts', [url, `${workers}`, `${durationMs}`], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
      await lines.next();
      return { child, lines };
    }),
  );
  for (const { child } of children) child.stdin?.write('go\n');
  let perSecond = 0;
  let worstMs = 0;
  for (const { child, lines } of children) {
    const { value } = await lines.next();
    const { operations, elapsedMs, worstUs } = JSON.parse(value) as { operations: number; elapsedMs: number; worstUs: number };
    perSecond += (operations * 1_000) / elapsedMs;
    worstMs = Math.max(worstMs, worstUs / 1_000);
    if (child.exitCode === null) await once(child, 'exit');
  }
  return { perSecond, worstMs };
}

/** Runs `programs/remember.ts` and returns what it measured. */
export async function remember(...args: readonly string[]): Promise<{ readonly elapsedMs: number; readonly heapBytes: number }> {
  const child = await spawnCompiled('test/bench/programs/remember.ts', args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '--max-old-space-size=8192' },
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const exited = once(child, 'exit');
  const { value } = await lines.next();
  // Its lock is given back when it has ended.
  await exited;
  return JSON.parse(value) as { elapsedMs: number; heapBytes: number };
}
