/**
 * What was acknowledged outlives the server, and where a server lost it all the same, that is noticed and never taken for «nothing done
 * yet». Proved on a server of our own that is killed, whose files are cut, replaced and emptied, and whose values are damaged.
 */
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isLoopStateError, type StateBackend } from '@loopstate/core';
import { WentBackwardsError } from '@loopstate/redis';
import { expect } from 'chai';
import { proveEach } from '../../../test/support/prove-each.js';
import { type RedisServer, startRedis, until } from '../../../test/support/redis-server.js';
import { askRedis, infoOf } from '../../../test/support/resp.js';
import { seeded, seedFromEnvironment } from '../../../test/support/seeded.js';
import { changesOf, closeAfterEach, codeOf, codesOf, errorOf, newJob, openHere, put } from './stores.js';

const KILLS = 10;
const CUTS = 20;
const BACKWARDS = 'LOOPSTATE_WENT_BACKWARDS';

describe('redis: crashes of the server', () => {
  let server: RedisServer;
  const counts = proveEach({ test: 'S11 server crashes', backend: 'redis', least: { cases: CUTS + 10, kills: KILLS } });
  const urlOf = (job: string): string => `redis://127.0.0.1:${server.port}?job=${job}`;

  beforeEach(async function () {
    this.timeout(120_000);
    server = await startRedis();
  });
  closeAfterEach();
  afterEach(() => server.remove());

  it(`commit/acked-survives: ${KILLS} times kill -9 with 8 in flight: one handle goes on, and nothing acknowledged is lost`, async () => {
    const store = await openHere(urlOf('killed'));
    const acknowledged = new Map<string, number>();
    const tried = new Set<string>();
    let isOver = false;
    let number = 0;
    const commitOn = async (): Promise<void> => {
      while (!isOver) {
        const key = `key-${number++}`;
        tried.add(key);
        await put(store, key).then(
          (revision) => acknowledged.set(key, revision),
          (error: unknown) => {
            if (!isLoopStateError(error) || !error.retryable) throw error;
          },
        );
      }
    };
    const committing = Promise.all(Array.from({ length: 8 }, commitOn));
    for (let kill = 0; kill < KILLS; kill++) {
      const before = acknowledged.size;
      while (acknowledged.size < before + 20) await new Promise(setImmediate);
      await server.kill();
      await server.startAgain();
      counts.kills++;
    }
    isOver = true;
    await committing;
    const records = new Map((await changesOf(store)).map(({ key, revision }) => [key, revision]));
    for (const [key, revision] of acknowledged) expect(records.get(key), key).to.equal(revision);
    for (const key of records.keys()) expect(tried.has(key), key).to.equal(true);
    expect(acknowledged.size).to.be.at.least(KILLS * 20);
    expect(codesOf(store.recovery)).to.deep.equal([]);
  }).timeout(60_000);

  it('commit/acked-survives: a file that is rewritten after it was cut within a commit outlives the next crash', async () => {
    const store = await openHere(urlOf('cut'));
    for (const key of ['a', 'b', 'c']) await put(store, key);
    await server.kill();
    const file = appendOnlyFile(server.directory);
    const text = readFileSync(file, 'latin1');
    // Within the second command of the last transaction: the server drops that command, and leaves the MULTI before it.
    truncateSync(file, text.indexOf('ZADD', text.lastIndexOf('MULTI')) + 10);
    await server.start();
    const after = await openHere(urlOf('cut'));
    await put(after, 'd');
    await askRedis(server.port, 'BGREWRITEAOF');
    await until(async () => (await infoOf(server.port, 'aof_rewrite_in_progress')) === '0', 'the file to be rewritten');
    await put(after, 'e');
    await server.kill();
    await server.start();
    const again = await openHere(urlOf('cut'));
    expect((await changesOf(again)).map(({ key }) => key)).to.deep.equal(['a', 'b', 'd', 'e']);
    expect(codesOf(again.recovery)).to.deep.equal([]);
  }).timeout(30_000);

  it(`commit/all-or-nothing: ${CUTS} cuts of the append-only file: whole commits stand, and a live handle notices what is missing`, async () => {
    const seed = seedFromEnvironment();
    console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
    const random = seeded(seed);
    const job = newJob();
    const writer = await openHere(urlOf(job));
    const revisions: number[] = [];
    for (let number = 0; number < 40; number++) {
      const puts = [`left/${number}`, `right/${number}`].map((key) => ({ key, value: number }));
      const result = await writer.commit({ puts, deletes: [`gone/${number}`] });
      if (result.ok) revisions.push(result.revision);
    }
    await server.kill();
    const file = appendOnlyFile(server.directory);
    const whole = readFileSync(file);
    let noticed = 0;
    for (let cut = 0; cut < CUTS; cut++) {
      writeFileSync(file, whole);
      // The first cut takes nothing: what is noticed must not be noticed there.
      const length = cut === 0 ? whole.length : Math.floor(whole.length * (0.5 + random() / 2));
      truncateSync(file, length);
      await server.start();
      const fresh = await openHere(urlOf(job));
      const standing = (await changesOf(fresh)).map(({ key }) => key).sort();
      const count = standing.length / 2;
      const expected = Array.from({ length: count }, (_, number) => [`left/${number}`, `right/${number}`]).flat();
      expect(standing, `cut to ${length} of ${whole.length}`).to.deep.equal(expected.sort());
      const isMissing = count < revisions.length;
      counts.cases++;
      // Somebody else commits first: that must not hide it.
      await put(fresh, 'left/later');
      const answer = await writer.read(['left/0']).then(() => 'fine', codeFrom);
      expect(answer, `${count} of ${revisions.length} commits stand`).to.equal(isMissing ? BACKWARDS : 'fine');
      if (isMissing) {
        noticed++;
        await changesOf(writer);
      }
      await fresh.close();
      await server.kill();
      if (!isMissing) continue;
      // The next cut starts from the same file, for a handle that has seen all of it.
      writeFileSync(file, whole);
      await server.start();
      await changesOf(writer).catch(() => changesOf(writer));
      await server.kill();
    }
    expect(noticed).to.be.at.least(CUTS / 2);
    await server.start();
  }).timeout(60_000);

  it('FLUSHALL is an alarm for every live handle, not an empty store, until each reads from the start', async () => {
    const [one, two] = [await openHere(urlOf('flushed')), await openHere(urlOf('flushed'))];
    await put(one, 'a');
    await two.read(['a']);
    await askRedis(server.port, 'FLUSHALL');
    expect(await codeOf(one.read(['a']))).to.equal(BACKWARDS);
    expect(await codeOf(put(one, 'b'))).to.equal(BACKWARDS);
    expect(await codeOf(changesOf(one, 1))).to.equal(BACKWARDS);
    expect(await changesOf(one)).to.deep.equal([]);
    const revision = await put(one, 'a');
    // The other one still knows a store that is no more.
    const error = await errorOf(put(two, 'c'));
    expect(error).to.be.instanceOf(WentBackwardsError).and.include({ code: BACKWARDS, revision });
    expect((await changesOf(two)).map(({ key }) => key)).to.deep.equal(['a']);
    await put(two, 'c');
    expect(codesOf(one.recovery)).to.deep.equal(['went-backwards']);
  });

  it('a fresh server in place of the old one is an alarm', async () => {
    const store = await openHere(urlOf('fresh'));
    await put(store, 'a');
    await server.kill();
    rmSync(join(server.directory, 'appendonlydir'), { recursive: true });
    await server.start();
    expect(await codeOf(store.read(['a']))).to.equal(BACKWARDS);
    expect(await codeOf(store.read(['a'])), 'again').to.equal(BACKWARDS);
  });

  it('a restored older state is an alarm, also for those who come after others went on with it', async () => {
    const stores = await Promise.all([1, 2, 3].map(() => openHere(urlOf('restored'))));
    const [one, two, three] = stores as [StateBackend, StateBackend, StateBackend];
    await put(one, 'a');
    await three.read(['a']);
    await server.kill();
    cpSync(join(server.directory, 'appendonlydir'), join(server.directory, 'kept'), { recursive: true });
    await server.start();
    await put(one, 'b');
    await two.read(['b']);
    await server.kill();
    rmSync(join(server.directory, 'appendonlydir'), { recursive: true });
    cpSync(join(server.directory, 'kept'), join(server.directory, 'appendonlydir'), { recursive: true });
    await server.start();
    // This one had not seen what is missing, and its commit has a revision above all that was ever seen.
    await put(three, 'c');
    expect(await codeOf(two.read(['b']))).to.equal(BACKWARDS);
    // Nor does it help that the server that made this commit is gone, and its turn is one of those that are over.
    await server.kill();
    await server.start();
    await put(three, 'd');
    expect(await codeOf(put(one, 'e'))).to.equal(BACKWARDS);
  });

  it('an older state that was put in place while the server ran is an alarm for every live handle', async () => {
    const [one, two] = [await openHere(urlOf('in-place')), await openHere(urlOf('in-place'))];
    const copy = async (from: string, to: string): Promise<void> => {
      for (const name of ['header', 'records', 'revisions', 'tombstones'])
        await askRedis(server.port, 'COPY', `${from}{in-place}:${name}`, `${to}{in-place}:${name}`, 'REPLACE');
    };
    await put(one, 'a');
    await copy('loopstate:', 'kept:');
    await put(one, 'b');
    await two.read(['b']);
    await copy('kept:', 'loopstate:');
    expect(await codeOf(one.read(['b']))).to.equal(BACKWARDS);
    await changesOf(one);
    // Above all that was ever seen.
    await put(one, 'c');
    expect(await codeOf(two.read(['b']))).to.equal(BACKWARDS);
    expect((await changesOf(two)).map(({ key }) => key)).to.deep.equal(['a', 'c']);
    await put(two, 'd');
    await put(one, 'e');
  });

  it('an older state that is put in place again, or that a new handle commits to first, is an alarm for every live handle', async () => {
    const copy = async (from: string, to: string): Promise<void> => {
      for (const name of ['header', 'records', 'revisions', 'tombstones'])
        await askRedis(server.port, 'COPY', `${from}{again}:${name}`, `${to}{again}:${name}`, 'REPLACE');
    };
    const [one, ...others] = [await openHere(urlOf('again')), await openHere(urlOf('again')), await openHere(urlOf('again'))];
    await put(one, 'a');
    await copy('loopstate:', 'kept:');
    await put(one, 'b');
    for (const other of others) await other.read(['b']);
    for (const [round, other] of others.entries()) {
      await copy('kept:', 'loopstate:');
      expect(await codeOf(one.read(['b']))).to.equal(BACKWARDS);
      await put(await openHere(urlOf('again')), `new-${round}`);
      await changesOf(one);
      await put(one, 'c');
      expect(await codeOf(other.read(['b']))).to.equal(BACKWARDS);
    }
  });

  it('once a store was seen to be behind it stays refused, whatever it becomes, until it is read from the start', async () => {
    const store = await openHere(urlOf('behind'));
    const [first, second] = [await put(store, 'a'), await put(store, 'a')];
    await askRedis(server.port, 'HSET', 'loopstate:{behind}:header', 'revision', first);
    expect(await codeOf(store.read(['a']))).to.equal(BACKWARDS);
    await askRedis(server.port, 'HSET', 'loopstate:{behind}:header', 'revision', second);
    expect(await codeOf(put(store, 'a'))).to.equal(BACKWARDS);
    await changesOf(store);
    await put(store, 'a');
  });

  it('commit/one-revision: revisions grow across restarts, and when the store starts anew', async () => {
    const store = await openHere(urlOf('growing'));
    const revisions = [await put(store, 'a')];
    await server.kill();
    await server.start();
    revisions.push(await put(store, 'a'));
    await askRedis(server.port, 'FLUSHALL');
    expect(await codeOf(put(store, 'a'))).to.equal(BACKWARDS);
    await changesOf(store);
    revisions.push(await put(store, 'a'));
    expect(revisions).to.deep.equal([...new Set(revisions)].sort((one, two) => one - two));
  });

  describe('damage', () => {
    let store: StateBackend;
    let job = '';
    const key = (part: string): string => `loopstate:{${job}}:${part}`;

    beforeEach(async () => {
      job = newJob();
      store = await openHere(urlOf(job));
      for (const each of ['a', 'b', 'c']) await put(store, each, `value of ${each}`);
    });

    it('a flipped byte of a value is noticed wherever it is read, and the other records are not concerned', async () => {
      const stored = String(await askRedis(server.port, 'HGET', key('records'), 'b'));
      for (let at = 0; at < stored.length; at++) {
        const flipped = `${stored.slice(0, at)}${String.fromCharCode(stored.charCodeAt(at) ^ 1)}${stored.slice(at + 1)}`;
        await askRedis(server.port, 'HSET', key('records'), 'b', flipped);
        expect(await codeOf(store.read(['b'])), flipped).to.equal('LOOPSTATE_FOREIGN');
      }
      expect(await codeOf(changesOf(store))).to.equal('LOOPSTATE_FOREIGN');
      const refused = store.commit({ checks: [{ key: 'b', revision: 0 }], puts: [{ key: 'd', value: 1 }] });
      expect(await codeOf(refused)).to.equal('LOOPSTATE_FOREIGN');
      expect((await store.read(['a', 'd'])).map((record) => record?.value)).to.deep.equal(['value of a', undefined]);
      expect(codesOf(store.recovery)).to.deep.equal(['record-damaged']);
    });

    it('records that were swapped, dropped or added by hand are noticed', async () => {
      const stored = String(await askRedis(server.port, 'HGET', key('records'), 'b'));
      await askRedis(server.port, 'HSET', key('records'), 'a', stored);
      expect(await codeOf(store.read(['a']))).to.equal('LOOPSTATE_FOREIGN');
      await askRedis(server.port, 'HDEL', key('records'), 'a');
      expect(await codeOf(store.read(['b']))).to.equal('LOOPSTATE_FOREIGN');
      await askRedis(server.port, 'HSET', key('records'), 'other', stored);
      expect(await codeOf(store.read(['a']))).to.equal('LOOPSTATE_FOREIGN');
    });

    for (const part of ['records', 'revisions']) {
      it(`a missing ${part} key is noticed by reads, commits that rely on it and openings`, async () => {
        await askRedis(server.port, 'DEL', key(part));
        expect(await codeOf(store.read(['a']))).to.equal('LOOPSTATE_FOREIGN');
        expect(await codeOf(changesOf(store))).to.equal('LOOPSTATE_FOREIGN');
        expect(await codeOf(openHere(urlOf(job)))).to.equal('LOOPSTATE_FOREIGN');
        if (part === 'revisions') expect(await codeOf(put(store, 'd'))).to.equal('LOOPSTATE_FOREIGN');
      });
    }

    it('a missing header is an alarm for a live handle, and damage for a new one', async () => {
      await askRedis(server.port, 'DEL', key('header'));
      expect(await codeOf(store.read(['a']))).to.equal(BACKWARDS);
      expect(await codeOf(openHere(urlOf(job)))).to.equal('LOOPSTATE_FOREIGN');
    });
  });
});

function appendOnlyFile(directory: string): string {
  const folder = join(directory, 'appendonlydir');
  const [name = ''] = readdirSync(folder).filter((file) => file.endsWith('.incr.aof'));
  return join(folder, name);
}

function codeFrom(error: unknown): string {
  if (isLoopStateError(error)) return error.code;
  throw error;
}
