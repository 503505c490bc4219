/**
 * Proves what only processes can show: one writes and the others are told so, a kill frees the lock and loses nothing, readers
 * follow a live writer, and a store keeps no process alive. With child processes and a worker thread, on real files.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import { spawnCompiled } from '../../../test/support/compiled.js';
import { type Disk, nodeDisk } from '../src/disk.js';
import { openFileBackend } from '../src/open-file-backend.js';
import { withDirectory } from './directory.js';
import { announceRandom } from './seed.js';

interface Committer {
  readonly child: ChildProcess;
  /** The lines that it printed. */
  readonly lines: AsyncIterator<string>;
  /** What was acknowledged so far: revision by key. */
  readonly acked: Map<string, number>;
}

async function startCommitter(path: string, commits: number, workers: number): Promise<Committer> {
  const child = await spawnCompiled('packages/file/test/programs/commit.ts', [path, String(commits), String(workers)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acked = new Map<string, number>();
  const note = async function* () {
    for await (const line of createInterface({ input: child.stdout! })) {
      const [word, key, revision] = line.split(' ');
      if (word === 'acked') acked.set(key!, Number(revision));
      yield line;
    }
  };
  return { child, lines: note(), acked };
}

async function kill({ child, lines }: Committer): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
  // What it printed before it died was acknowledged.
  while (!(await lines.next()).done);
}

describe('file: processes', function () {
  this.timeout(60_000);

  it('acked-survives: killed at random moments, again and again, nothing acknowledged is lost', async () => {
    const random = announceRandom();
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const acked = new Map<string, number>();
      for (let round = 0; round < 6; round++) {
        const committer = await startCommitter(path, Number.POSITIVE_INFINITY, [1, 20][round % 2]!);
        for (let lines = 2 + random.below(400); lines > 0; lines--) await committer.lines.next();
        await kill(committer);
        expect(committer.acked.size).to.be.greaterThan(0);
        for (const [key, revision] of committer.acked) acked.set(key, revision);
        if (round % 2 === 0) continue; // The next process recovers by itself.
        const backend = await openFileBackend(path);
        const keys = [...acked.keys()];
        const found = await backend.read(keys);
        for (const [at, key] of keys.entries()) expect(found[at]?.revision, key).to.equal(acked.get(key));
        expect(backend.recovery.filter(({ severity }) => severity !== 'info')).to.deep.equal([]);
        await backend.close();
      }
      expect(new Set(acked.values()).size, 'no revision twice').to.equal(acked.size);
      console.log(`      ${acked.size} commits`);
    });
  });

  it('read/fresh: a reader sees what a live writer acknowledged, over many compactions, and changes nothing', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const missing = await openFileBackend(path, { access: 'read' }).catch((error: unknown) => error);
      expect(isLoopStateError(missing, 'LOOPSTATE_ABSENT')).to.equal(true);
      expect(fs.readdirSync(directory)).to.deep.equal([]);
      const writer = await startCommitter(path, 1_500, 3);
      await writer.lines.next();
      const reader = await openFileBackend(path, { access: 'read' });
      let cursor = 0;
      const seen = new Set<string>();
      let checks = 0;
      for (;;) {
        const line = await writer.lines.next();
        if (line.done) break;
        if (writer.acked.size % 5 !== 0) continue;
        const acked = [...writer.acked].at(-1)!;
        expect((await reader.read([acked[0]]))[0]?.revision).to.equal(acked[1]);
        for await (const change of reader.changes(cursor)) {
          expect(change.revision).to.be.at.least(cursor);
          cursor = change.revision;
          seen.add(change.key);
        }
        expect(seen.has(acked[0])).to.equal(true);
        checks++;
      }
      expect(checks).to.equal(300);
      expect(seen.size).to.equal(1_500);
      expect(reader.recovery).to.deep.equal([]);
      const refused = await reader.commit({ puts: [{ key: 'a', value: 1 }] }).catch((error: unknown) => error);
      expect(isLoopStateError(refused, 'LOOPSTATE_READ_ONLY')).to.equal(true);
      await reader.close();
      expect(fs.readdirSync(directory).filter((name) => /journal$/.test(name)).length).to.be.at.most(3);
    });
  });

  it('read/fresh: a reader follows a journal that is removed just before it reads it', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      let value = 0;
      const writeNext = async () => {
        const writer = await openFileBackend(path);
        await writer.commit({ puts: [{ key: 'a', value: ++value }] });
        await writer.close();
      };
      await writeNext();
      let isDue = false;
      const readFile: Disk['readFile'] = async (at, ...range) => {
        // Each close leaves a new generation, with which the last but one goes.
        for (let closes = 0; isDue && closes < 2; closes++) await writeNext();
        isDue = false;
        return await nodeDisk.readFile(at, ...range);
      };
      const reader = await openFileBackend(path, { access: 'read', disk: { ...nodeDisk, readFile } });
      isDue = true;
      expect((await reader.read(['a']))[0]?.value).to.equal(3);
      expect([isDue, reader.recovery]).to.deep.equal([false, []]);
      await reader.close();
    });
  });

  it('a reader shows what recovery would, and repairs nothing', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const writer = await openFileBackend(path);
      await writer.commit({ puts: [{ key: 'a', value: 1 }] });
      await writer.close();
      fs.writeFileSync(path, 'spoilt');
      const before = fs.readdirSync(directory);
      const reader = await openFileBackend(path, { access: 'read' });
      expect((await reader.read(['a']))[0]?.value).to.equal(1);
      expect(reader.recovery.map(({ code, severity }) => [code, severity])).to.deep.equal([['snapshot-replaced', 'warning']]);
      await reader.close();
      expect(fs.readdirSync(directory)).to.deep.equal(before);
    });
  });

  it('close/final: a store that is never closed keeps no process alive', async () => {
    await withDirectory(async (directory) => {
      const { child, lines } = await startCommitter(join(directory, 'state.json'), 100, 4);
      const exit = once(child, 'exit');
      while (!(await lines.next()).done);
      expect(await exit).to.deep.equal([0, null]);
    });
  });
});
