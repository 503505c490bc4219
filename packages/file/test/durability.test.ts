/**
 * Proves the order in which a store makes things durable: on real files, by disk calls that are written down and take their time.
 */
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { type Disk, type DiskFile, inlineDisk, nodeDisk } from '../src/disk.js';
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

  for (const [name, disk] of Object.entries({ nodeDisk, inlineDisk })) {
    it(`commit/acked-survives: what ${name} calls durable, the system was told to make so`, () =>
      withDirectory(async (directory) => {
        const path = join(directory, 'file');
        await (await disk.createFile(path, 0o600)).close();
        const file = await disk.openFile(path);
        expect(await durableCalls(() => file.writeSynced(Buffer.from('abc'), 0))).to.deep.equal([path]);
        expect(await durableCalls(() => file.write(Buffer.from('def'), 3))).to.deep.equal([]);
        expect(await durableCalls(() => file.sync())).to.deep.equal([path]);
        expect(await durableCalls(() => disk.syncDirectory(directory))).to.deep.equal([directory]);
        await file.close();
        expect(fs.readFileSync(path, 'utf8')).to.equal('abcdef');
      }));
  }
});

/** `O_DSYNC` of Linux, by which each write to a descriptor is durable. */
const SYNCED_FLAG = fs.constants.O_DSYNC;

/** The files and directories that the system was told to make durable, by a sync after the last write or by what the descriptor was opened for. */
async function durableCalls(run: () => Promise<unknown>): Promise<string[]> {
  const durable = new Set<string>();
  const named = (descriptor: number) => fs.readlinkSync(`/proc/self/fd/${descriptor}`);
  const flagsOf = (descriptor: number) =>
    Number.parseInt(/flags:\s+(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1] ?? '', 8);
  const original = { write: fs.write, writeSync: fs.writeSync, fsync: fs.fsync, fdatasync: fs.fdatasync };
  const calls = fs as unknown as Record<keyof typeof original, (descriptor: number, ...others: unknown[]) => unknown>;
  for (const call of ['write', 'writeSync', 'fsync', 'fdatasync'] as const) {
    const isWrite = call.startsWith('write');
    calls[call] = (descriptor, ...others) => {
      if (!isWrite || (flagsOf(descriptor) & SYNCED_FLAG) === SYNCED_FLAG) durable.add(named(descriptor));
      else durable.delete(named(descriptor));
      return (original[call] as (descriptor: number, ...others: unknown[]) => unknown)(descriptor, ...others);
    };
  }
  try {
    await run();
  } finally {
    Object.assign(fs, original);
  }
  return [...durable];
}
