/**
 * A manifest of a directory tree: the SHA-256 of every file, as a loop that may be killed at any time. Started again with the same
 * state, it goes on where it was; what is recorded is never computed again.
 *
 *     checksum-tree.ts <tree> <state.json> <manifest.jsonl>
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { LoopState, runLoop } from 'loopstate';

const [tree = 'node_modules', statePath = 'checksums.state.json', manifestPath = 'checksums.jsonl'] = process.argv.slice(2);

const state = await LoopState.create(statePath);
const { status, progress } = await runLoop({
  items: filesOf(''),
  state,
  concurrency: 8,
  work: ({ path }) => checksum(join(tree, path)), // What it returns is kept as the item's output.
});
if (status === 'completed') await pipeline(manifestLines, createWriteStream(manifestPath));
await state.close();
process.exitCode = status === 'completed' && progress.failed === 0 ? 0 : 1;

/** The regular files below `folder`, one after another; links are not followed. */
async function* filesOf(folder: string): AsyncGenerator<{ id: string; path: string }> {
  const entries = await readdir(join(tree, folder), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesOf(path);
    if (entry.isFile()) yield { id: idOf(path), path };
  }
}

/** An id has at most 1,024 bytes, and a path may have more. */
function idOf(path: string): string {
  return Buffer.byteLength(path) <= 1_024 ? path : `sha256:${createHash('sha256').update(path).digest('hex')}`;
}

async function checksum(path: string): Promise<{ sha256: string; sizeBytes: number }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk as Buffer);
    sizeBytes += (chunk as Buffer).length;
  }
  return { sha256: hash.digest('hex'), sizeBytes };
}

/** The manifest is made from what was recorded, so it doesn't matter how many runs it took. */
async function* manifestLines(): AsyncGenerator<string> {
  const { items } = await state.snapshot();
  for (const [id, { status, output }] of [...items].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (status === 'completed') yield `${JSON.stringify({ id, ...(output as object) })}\n`;
  }
}
