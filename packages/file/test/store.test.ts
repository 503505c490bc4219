/**
 * Proves what an open store does beside the contract: handles that share it, compaction beside commits, and a state file that
 * is overwritten under its feet. On real files, in a directory of its own.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { type Commit, isLoopStateError, type Json } from '@loopstate/core';
import { expect } from 'chai';
import { type Disk, nodeDisk } from '../src/disk.js';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import { crashStates } from './crash-states.js';
import { withDirectory } from './directory.js';
import { ModelledDisk, noLock } from './modelled-disk.js';
import { announceRandom } from './seed.js';

const snapshotOf = (path: string) => JSON.parse(fs.readFileSync(path, 'utf8')) as { generation: number; revision: number; closed: boolean };

async function contents(backend: FileBackend, since = 0): Promise<Map<string, Json | undefined>> {
  const found = new Map<string, Json | undefined>();
  for await (const { key, record } of backend.changes(since)) found.set(key, record?.value);
  return found;
}

describe('file: an open store', () => {
  it('read/fresh: handles of one process share one store, which closes with the last', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const [one, two] = await Promise.all([openFileBackend(path), openFileBackend(join(directory, '.', 'state.json'))]);
      await one.commit({ puts: [{ key: 'a', value: 1 }] });
      expect((await two.read(['a']))[0]?.value).to.equal(1);
      await one.close();
      await two.commit({ puts: [{ key: 'a', value: 2 }] });
      expect(await one.read(['a']).catch((error: unknown) => isLoopStateError(error, 'LOOPSTATE_CLOSED'))).to.equal(true);
      // Opened while the last handle closes: it waits, and then opens anew.
      const closing = two.close();
      const three = await openFileBackend(path);
      await closing;
      expect((await three.read(['a']))[0]?.value).to.equal(2);
      expect(three.recovery).to.deep.equal([]);
      await three.close();
    });
  });

  it('acked-survives: who opens while the last handle closes, at whichever step, gets a store that is open', async () => {
    // So that the steps can be counted: a path is known at once.
    const disk: Disk = { ...nodeDisk, readLink: async () => undefined, realPath: async (path) => path };
    for (let steps = 0; steps < 12; steps++) {
      await withDirectory(async (directory) => {
        const path = join(directory, 'state.json');
        const last = await openFileBackend(path, { disk });
        const opening = openFileBackend(path, { disk });
        for (let step = 0; step < steps; step++) await Promise.resolve();
        await last.close();
        const backend = await opening;
        const committed = await backend.commit({ puts: [{ key: 'a', value: steps }] }).then(
          ({ ok }) => ok,
          ({ code }) => code,
        );
        expect(committed, `after ${steps} steps`).to.equal(true);
        await backend.close();
      });
    }
  });

  it('commit/acked-survives: with inline disk calls what is acknowledged is on the disk too, and nothing is left to a thread', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const backend = await openFileBackend(path, { diskCalls: 'inline' });
      await backend.commit({ puts: [{ key: 'before', value: 0 }] });
      const { write } = fs;
      const elsewhere: unknown[] = [];
      fs.write = ((...args: unknown[]) => {
        elsewhere.push(args);
        return (write as (...args: unknown[]) => unknown)(...args);
      }) as typeof write;
      try {
        for (const key of ['a', 'b', 'c']) await backend.commit({ puts: [{ key, value: key }] });
      } finally {
        fs.write = write;
      }
      expect(elsewhere).to.deep.equal([]);
      const left = join(directory, 'left');
      fs.mkdirSync(left);
      for (const name of fs.readdirSync(directory)) if (name !== 'left') fs.copyFileSync(join(directory, name), join(left, name));
      const after = await openFileBackend(join(left, 'state.json'));
      expect([...(await contents(after)).keys()]).to.deep.equal(['before', 'a', 'b', 'c']);
      await after.close();
      await backend.close();
      const wrong = openFileBackend(path, { diskCalls: 'sync' as 'inline' });
      expect(await wrong.catch((error: unknown) => isLoopStateError(error, 'LOOPSTATE_BAD_OPTION'))).to.equal(true);
    });
  });

  it('on close the state file alone is the whole state; a store that was only read is left as it is', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const first = await openFileBackend(path);
      await first.commit({ puts: [{ key: 'a', value: 1 }] });
      await first.close();
      expect(snapshotOf(path).closed).to.equal(true);
      const copy = join(directory, 'copy.json');
      fs.copyFileSync(path, copy);
      const second = await openFileBackend(copy);
      expect([(await second.read(['a']))[0]?.value, second.recovery]).to.deep.equal([1, []]);
      await second.close();
      const before = fs.readdirSync(directory).map((name) => [name, fs.statSync(join(directory, name)).mtimeMs]);
      const third = await openFileBackend(path);
      await contents(third);
      await third.close();
      expect(fs.readdirSync(directory).map((name) => [name, fs.statSync(join(directory, name)).mtimeMs])).to.deep.equal(before);
    });
  });

  it('flat-cost: deletions count in the size of a group', async () => {
    const disk = new ModelledDisk();
    const backend = await openFileBackend(disk.statePath, { disk, lock: noLock });
    let writes = 0;
    disk.fault = ({ name }) => {
      if (name === 'writeSynced') writes++;
      return undefined;
    };
    const deletes = Array.from({ length: 1_000 }, (_, index) => String(index).padEnd(1_000, 'k'));
    await Promise.all(Array.from({ length: 12 }, () => backend.commit({ deletes })));
    expect(writes).to.be.greaterThan(1);
    await backend.close();
  });

  it('commit/one-revision: after a clean close revisions go on by one, after a kill far beyond', async () => {
    const disk = new ModelledDisk();
    const first = await openFileBackend(disk.statePath, { disk, lock: noLock });
    await first.commit({ puts: [{ key: 'a', value: 1 }] });
    await first.close();
    const second = await openFileBackend(disk.statePath, { disk, lock: noLock });
    expect(await second.commit({ puts: [{ key: 'a', value: 2 }] })).to.deep.equal({ ok: true, revision: 2 });
    const killed = ModelledDisk.holding(disk.files());
    const third = await openFileBackend(killed.statePath, { disk: killed, lock: noLock });
    const result = await third.commit({ puts: [{ key: 'a', value: 3 }] });
    expect(result.ok && result.revision).to.be.greaterThan(1_000_000_000);
  });

  it('always-starts: a store grows no larger than it can be read again, and shrinks by deletions', async () => {
    const disk = new ModelledDisk();
    const options = { disk, lock: noLock, compactAtBytes: 300, journalSpaceBytes: 200, readableBytesMax: 30_000 };
    const backend = await openFileBackend(disk.statePath, options);
    const put = (key: string) => backend.commit({ puts: [{ key, value: 'x'.repeat(500) }] });
    const acknowledged: string[] = [];
    const fill = async (): Promise<unknown> => {
      for (let round = 0; round < 300; round++) {
        const key = `k${round}`;
        const answer = await put(key).catch((error: unknown) => error);
        if (!(answer instanceof Error)) acknowledged.push(key);
        // A compaction may make room; that it goes on beside needs a turn.
        else if (isLoopStateError(answer, 'LOOPSTATE_UNAVAILABLE') && answer.retryable)
          await new Promise((resolve) => setImmediate(resolve));
        else return answer;
      }
      return undefined;
    };
    expect(isLoopStateError(await fill(), 'LOOPSTATE_UNAVAILABLE')).to.equal(true);
    expect(acknowledged.length).to.be.within(35, 60);
    for (const [name, bytes] of disk.files()) expect(bytes.length, name).to.be.below(30_000);
    await backend.commit({ deletes: acknowledged.splice(0, 30) });
    for (let tries = 0; tries < 50 && (await put('more').catch(() => undefined)) === undefined; tries++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await backend.close();
    const reopened = await openFileBackend(disk.statePath, options);
    expect([...(await contents(reopened)).keys()].sort()).to.deep.equal([...acknowledged, 'more'].sort());
  });

  it('commit/one-revision: a power cut takes no revision back that was given to a first commit that was only written', async () => {
    const disk = new ModelledDisk();
    const first = await openFileBackend(disk.statePath, { disk, lock: noLock });
    await first.commit({ puts: [{ key: 'a', value: 1 }] });
    await first.close();
    const second = await openFileBackend(disk.statePath, { disk, lock: noLock });
    const given = await second.commit({ puts: [{ key: 'a', value: 2 }], durability: 'written' });
    const [least] = crashStates(disk.crashPoint(), 'lines');
    const cut = ModelledDisk.holding(least!.files);
    const third = await openFileBackend(cut.statePath, { disk: cut, lock: noLock });
    const next = await third.commit({ puts: [{ key: 'a', value: 3 }] });
    expect(next.ok && given.ok && next.revision > given.revision).to.equal(true);
  });

  it('commit/all-or-nothing: compaction beside commits keeps exactly what was committed', async function () {
    this.timeout(60_000);
    const random = announceRandom();
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const model = new Map<string, Json>();
      let backend = await openFileBackend(path, { compactAtBytes: 5_000 });
      const seen = new Set<number>();
      for (let round = 0; round < 120; round++) {
        const commits = Array.from({ length: 1 + random.below(60) }, async () => {
          const key = `item/${random.below(400)}`;
          const isDeletion = random.below(5) === 0;
          const value = { round, filler: 'x'.repeat(random.below(200)) };
          if (isDeletion) model.delete(key);
          else model.set(key, value);
          await backend.commit(isDeletion ? { deletes: [key] } : { puts: [{ key, value }] });
        });
        await Promise.all(commits);
        seen.add(snapshotOf(path).generation);
        if (round % 50 === 49) {
          await backend.close();
          backend = await openFileBackend(path, { compactAtBytes: 5_000 });
        }
        if (round % 10 === 0) expect(await contents(backend)).to.deep.equal(model);
      }
      await backend.close();
      backend = await openFileBackend(path);
      expect(await contents(backend)).to.deep.equal(model);
      expect(backend.recovery).to.deep.equal([]);
      expect(seen.size).to.be.at.least(6);
      await backend.close();
    });
  });

  it('flat-cost: a store that grows is written anew when it has doubled, however much is committed until then', async () => {
    const disk = new ModelledDisk();
    let snapshots = 0;
    disk.fault = ({ name, path }) => void (name === 'rename' && path === disk.statePath && snapshots++);
    const backend = await openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes: 1_000 });
    let items = 0;
    for (let limit = 100; limit <= 3_200; limit *= 2) {
      const before = snapshots;
      for (; items < limit; items += 10) {
        const keys = Array.from({ length: 10 }, (_, at) => `item/${items + at}`);
        await Promise.all(keys.map((key) => backend.commit({ puts: [{ key, value: 'done' }] })));
      }
      if (limit > 100) expect(snapshots - before, `snapshots on the way to ${limit} items`).to.be.within(1, 3);
    }
    await backend.close();
  });

  for (const [name, spoil] of Object.entries<(path: string) => void>({
    overwritten: (path) => fs.writeFileSync(path, '{"completed":[]}'),
    truncated: (path) => fs.truncateSync(path, 10),
    removed: (path) => fs.unlinkSync(path),
  })) {
    it(`a state file that is ${name} while the store is open is put right at the next open, with a report`, async () => {
      await withDirectory(async (directory) => {
        const path = join(directory, 'state.json');
        const found: string[] = [];
        const one = await openFileBackend(path, { onFinding: ({ code }) => found.push(code) });
        await one.commit({ puts: [{ key: 'a', value: 1 }] });
        spoil(path);
        const two = await openFileBackend(path);
        const code = name === 'removed' ? 'snapshot-missing' : 'snapshot-replaced';
        expect([found, one.recovery.map((finding) => finding.code), two.recovery.map((finding) => finding.code)]).to.deep.equal([
          [code],
          [code],
          [code],
        ]);
        expect(snapshotOf(path).revision).to.equal(1);
        if (name !== 'removed') expect(fs.existsSync(two.recovery[0]?.keptAs ?? '')).to.equal(true);
        await Promise.all([one.close(), two.close()]);
        const three = await openFileBackend(path);
        expect([(await three.read(['a']))[0]?.value, three.recovery]).to.deep.equal([1, []]);
        await three.close();
      });
    });
  }

  it('a state file that was only touched, or put back as it was, is no finding', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const one = await openFileBackend(path);
      fs.copyFileSync(path, `${path}.bak`);
      fs.renameSync(`${path}.bak`, path);
      const two = await openFileBackend(path);
      expect(two.recovery).to.deep.equal([]);
      await Promise.all([one.close(), two.close()]);
    });
  });

  it('changes/no-gap: a key that is put again while changes are read is not missed', async () => {
    await withDirectory(async (directory) => {
      const backend = await openFileBackend(join(directory, 'state.json'));
      const keys = Array.from({ length: 3_000 }, (_, at) => `item/${at}`);
      for (let at = 0; at < keys.length; at += 1_000) {
        await backend.commit({ puts: keys.slice(at, at + 500).map((key) => ({ key, value: 0 })) });
        await backend.commit({ puts: keys.slice(at + 500, at + 1_000).map((key) => ({ key, value: 0 })) });
      }
      const found = new Set<string>();
      let last = 0;
      for await (const { key, revision } of backend.changes(0)) {
        found.add(key);
        expect(revision).to.be.at.least(last);
        last = revision;
        if (found.size % 100 === 0) await backend.commit({ puts: [{ key: keys[(found.size * 7) % keys.length]!, value: found.size }] });
      }
      expect(found.size).to.equal(keys.length);
      await backend.close();
    });
  });

  it('changes/no-gap: 200,000 keys that are put again while changes are read all come', async () => {
    await withDirectory(async (directory) => {
      const backend = await openFileBackend(join(directory, 'state.json'));
      const putAll = async (value: number): Promise<void> => {
        for (let from = 0; from < 200_000; from += 1_000) {
          await backend.commit({ puts: Array.from({ length: 1_000 }, (_, n) => ({ key: `k${from + n}`, value })), durability: 'written' });
        }
      };
      await putAll(1);
      const latest = new Map<string, Json>();
      for await (const { key, record } of backend.changes(0)) {
        if (latest.size === 0) await putAll(2);
        if (record !== undefined) latest.set(key, record.value);
      }
      expect([latest.size, new Set(latest.values())]).to.deep.equal([200_000, new Set([2])]);
      await backend.close();
    });
  }).timeout(60_000);

  for (const [deleted, code] of [
    [1_000, 'ended'],
    [13_000, 'LOOPSTATE_UNAVAILABLE'],
  ] as const) {
    it(`changes/no-gap: of ${deleted} keys that are deleted while all changes are read, none is taken for present`, async () => {
      await withDirectory(async (directory) => {
        const backend = await openFileBackend(join(directory, 'state.json'));
        const keys = Array.from({ length: 16_000 }, (_, at) => `item/${at}`);
        const inThousands = async (count: number, commit: (some: string[]) => Commit): Promise<void> => {
          for (let at = 0; at < count; at += 1_000) await backend.commit(commit(keys.slice(at, at + 1_000)));
        };
        await inThousands(keys.length, (some) => ({ puts: some.map((key) => ({ key, value: 0 })) }));
        const found = new Set<string>();
        const reading = async (): Promise<void> => {
          for await (const { key, record } of backend.changes(0)) {
            if (found.size === 0) await inThousands(deleted, (deletes) => ({ deletes }));
            if (record === undefined) found.delete(key);
            else found.add(key);
          }
        };
        const outcome = await reading().then(
          () => 'ended',
          (error) => error.code,
        );
        expect(outcome).to.equal(code);
        if (outcome === 'ended') expect(found.size).to.equal(keys.length - deleted);
        await backend.close();
      });
    });
  }

  it('changes/no-gap: deletions are known across a kill, and after a clean close their loss is said', async () => {
    const disk = new ModelledDisk();
    const first = await openFileBackend(disk.statePath, { disk, lock: noLock });
    await first.commit({ puts: [{ key: 'a', value: 1 }] });
    await first.commit({ deletes: ['a'] });
    const killed = ModelledDisk.holding(disk.files());
    const second = await openFileBackend(killed.statePath, { disk: killed, lock: noLock });
    expect([...(await contents(second, 1))]).to.deep.equal([['a', undefined]]);
    await second.close();
    const third = await openFileBackend(killed.statePath, { disk: killed, lock: noLock });
    const refusal = await contents(third, 1).catch((error: unknown) => error);
    expect(isLoopStateError(refusal, 'LOOPSTATE_HISTORY_GONE')).to.equal(true);
    expect((await contents(third)).size).to.equal(0);
  });
});
