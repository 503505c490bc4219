/**
 * What it costs to have a million items in memory again, or to loop over them: prints milliseconds and how much the heap has grown.
 *
 * Arguments: `json FILE` (JSON.parse and a Map), `backend FILE`, `state FILE`, `loop FILE ITEMS`, `ask FILE ITEMS`.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LoopState, openFileBackend, runLoop } from 'loopstate';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const [what = '', path = '', count = '0'] = process.argv.slice(2);
const items = Number(count);
const before = heapBytes();
const startMs = performance.now();
const held = await run();
const elapsedMs = performance.now() - startMs;
await settled();
process.stdout.write(
  `${JSON.stringify({ elapsedMs: 'elapsedMs' in held ? held.elapsedMs : elapsedMs, heapBytes: heapBytes() - before })}\n`,
);
// Used after the measurement, so that nothing of it was collected before.
if (Object.keys(held).length > 5) process.stdout.write('\n');
process.exit(0);

async function run(): Promise<object> {
  switch (what) {
    case 'json': {
      const document = JSON.parse(readFileSync(path, 'utf8')) as { results: object };
      return { map: new Map(Object.entries(document.results)) };
    }
    case 'backend':
      return { backend: await openFileBackend(path) };
    case 'state':
      return { state: await LoopState.open(await openFileBackend(path)) };
    case 'ask': {
      const state = await LoopState.open(await openFileBackend(path));
      const began = performance.now();
      let outstanding = 0;
      for (let n = 0; n < items; n++) if (state.isOutstanding(`src/some/folder/file-${n % 2 === 0 ? n : -n}.ts`)) outstanding++;
      return { state, outstanding, elapsedMs: performance.now() - began };
    }
    case 'loop': {
      const state = await LoopState.open(await openFileBackend(path));
      await runLoop({ state, items: streamed(), work: () => ({ ok: true }), concurrency: 64 });
      return { state };
    }
    default:
      throw new Error(`There is no ${what}.`);
  }
}

function* streamed(): Generator<string> {
  for (let n = 0; n < items; n++) yield `src/some/folder/file-${n}.ts`;
}

/** Waits until what goes on in the background, such as deflating, has come to rest. */
async function settled(): Promise<void> {
  for (let before = 0, now = heapBytes(); Math.abs(now - before) > 0.01 * now; now = heapBytes()) {
    before = now;
    await sleep(1_000);
  }
}

function heapBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
