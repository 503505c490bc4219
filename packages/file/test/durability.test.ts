/**
 * Proves the order in which a store makes things durable: on real files, by disk calls that are written down and take their time.
 */
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { type Disk, type DiskFile, nodeDisk } from '../src/disk.js';
import { openFileBackend } from '../src/open-file-backend.js';
import { withDirectory } from './directory.js';

/** Takes down when a synced write has returned, which is long after it was asked for. */
function slowly(file: DiskFile, done: string[]): DiskFile {
  return {
    write: (bytes, position) => file.write(bytes, position),
    async writeSynced(bytes, position) {
      const written = await file.writeSynced(bytes, position);
      await sleep(20);
      done.push('synced');
      return written;
    },
    sync: () => file.sync(),
    adopt: (stamp) => file.adopt(stamp),
    stamp: () => file.stamp(),
    close: () => file.close(),
  };
}

describe('file: durability', () => {
  it('commit/acked-survives: a commit, or a group of them, is acknowledged after its synced write has returned', async () => {
    await withDirectory(async (directory) => {
      const done: string[] = [];
      const disk: Disk = { ...nodeDisk, openFile: async (path) => slowly(await nodeDisk.openFile(path), done) };
      const backend = await openFileBackend(join(directory, 'state.json'), { disk });
      for (const group of [1, 3]) {
        done.length = 0;
        const commits = Array.from({ length: group }, async (_, at) => {
          await backend.commit({ puts: [{ key: `${at}`, value: at }] });
          done.push('acknowledged');
        });
        await Promise.all(commits);
        expect(done).to.deep.equal(['synced', ...commits.map(() => 'acknowledged')]);
      }
      await backend.close();
    });
  });

  it('commit/acked-survives: each directory that was missing is durable in its parent before the store is open', async () => {
    await withDirectory(async (directory) => {
      const calls: string[] = [];
      const noted = { ...nodeDisk };
      noted.makeDirectory = async (path) => {
        await nodeDisk.makeDirectory(path);
        calls.push(`make ${path}`);
      };
      noted.syncDirectory = async (path) => {
        await nodeDisk.syncDirectory(path);
        calls.push(`sync ${path}`);
      };
      const path = join(directory, 'a', 'b', 'c', 'state.json');
      await (await openFileBackend(path, { disk: noted })).close();
      const made = calls.filter((call) => call.startsWith('make ')).map((call) => call.slice(5));
      expect(made).to.deep.equal(['a', 'a/b', 'a/b/c'].map((each) => join(directory, each)));
      for (const each of made) expect(calls.slice(calls.indexOf(`make ${each}`)), each).to.include(`sync ${dirname(each)}`);
    });
  });
});
