/**
 * Proves that one process writes: a second opener is refused at once and told by whom, and the lock is free the moment its holder dies,
 * whatever is written beside it. With child processes that are killed, and a worker thread, on real files.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { prove } from '@loopstate/conformance';
import { isLoopStateError, LockedError } from '@loopstate/core';
import { expect } from 'chai';
import { buildSync } from 'esbuild';
import { compiledPackages, spawnCompiled } from '../../../test/support/compiled.js';
import { kernelLock } from '../src/lock.js';
import { StoreNames } from '../src/names.js';
import { loadTryLock } from '../src/native-lock.js';
import { openFileBackend } from '../src/open-file-backend.js';
import { withDirectory } from './directory.js';

const KILLS = 10;

describe('file: lock', () => {
  before(async function () {
    this.timeout(60_000);
    await compiledPackages();
  });

  it('acked-survives: a second process is refused with the holder, and acquires at once when that is killed', async () => {
    let cases = 0;
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      for (let kills = 0; kills < KILLS; kills++) {
        const holder = await spawnCompiled('packages/file/test/programs/commit.ts', [path, 'Infinity', '1'], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const ended = once(holder, 'exit');
        await once(holder.stdout!, 'data');
        const refusal = await openFileBackend(path).catch((error: unknown) => error);
        expect(refusal).to.be.instanceOf(LockedError);
        expect((refusal as LockedError).holder).to.include({ pid: holder.pid, host: hostname() });
        holder.kill('SIGKILL');
        await ended;
        const backend = await openFileBackend(path);
        expect(backend.recovery.filter(({ severity }) => severity !== 'info')).to.deep.equal([]);
        await backend.close();
        expect(fs.existsSync(`${path}.holder`)).to.equal(false);
        cases += 2;
      }
    });
    prove({ test: 'S13 locks', backend: 'file', counts: { cases, kills: KILLS }, least: { kills: 10 } });
  }).timeout(60_000);

  it('always-starts: what names a holder holds nothing: a pid that lives again does not fool it', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await (await openFileBackend(path)).close();
      const lock = fs.readFileSync(`${path}.lock`);
      for (const holder of [
        JSON.stringify({ pid: process.pid, host: hostname(), since: 1 }),
        JSON.stringify({ pid: 1 }),
        '{"pid":',
        'null',
        '',
      ]) {
        fs.writeFileSync(`${path}.holder`, holder);
        const backend = await openFileBackend(path);
        expect((await backend.commit({ puts: [{ key: 'a', value: holder }] })).ok).to.equal(true);
        await backend.close();
      }
      expect(fs.readFileSync(`${path}.lock`)).to.deep.equal(lock);
      // Neither can be written, by root either.
      fs.mkdirSync(`${path}.holder`);
      await (await openFileBackend(path)).close();
      fs.rmdirSync(`${path}.holder`);
      fs.symlinkSync(join('absent', 'holder'), `${path}.holder`);
      await (await openFileBackend(path)).close();
      expect(fs.existsSync(`${path}.holder`)).to.equal(false);
    });
  });

  it('one-item: the build that is loaded itself takes the lock that the package takes', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'lock');
      const ways = [await loadTryLock(), await loadTryLock('another version')] as const;
      for (const [first, second] of [ways, [...ways].reverse() as unknown as typeof ways]) {
        const [one, another] = [fs.openSync(path, 'w'), fs.openSync(path, 'w')];
        expect([first(one), second(another), first(another)]).to.deep.equal([true, false, false]);
        fs.closeSync(one);
        expect(second(another)).to.equal(true);
        fs.closeSync(another);
      }
    });
  });

  it('the package that is installed is the known version: nothing of its loader is loaded', async () => {
    await withDirectory(async (directory) => {
      const { root } = await compiledPackages();
      const script = `import { createRequire } from 'node:module';
        import { openFileBackend } from '@loopstate/file';
        await (await openFileBackend(process.argv[1])).close();
        console.log(Object.keys(createRequire(import.meta.url).cache).join());`;
      const args = ['--input-type=module', '-e', script, '--', join(directory, 'state.json')];
      const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: join(root, 'packages/loopstate') });
      expect(stdout).to.include('fs-native-extensions.node').and.not.include('require-addon');
    });
  });

  it('always-starts: in a bundle of CommonJS, which has no URL, the lock is loaded as the package loads it', async () => {
    await withDirectory(async (directory) => {
      const [bundle] = buildSync({
        entryPoints: [fileURLToPath(new URL('../src/native-lock.ts', import.meta.url))],
        ...{ bundle: true, write: false, platform: 'node', format: 'cjs', external: ['fs-native-extensions'] },
        conditions: ['@loopstate/source'],
        logOverride: { 'empty-import-meta': 'silent' },
      }).outputFiles;
      const script = `${bundle!.text}
        const file = require('node:fs').openSync(process.argv[1], 'w');
        module.exports.loadTryLock().then((tryLock) => console.log(tryLock(file)));`;
      const args = ['--input-type=commonjs', '-e', script, '--', join(directory, 'lock')];
      const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: fileURLToPath(new URL('..', import.meta.url)) });
      expect(stdout).to.equal('true\n');
    });
  });

  it('close/final: the lock is given back though the file that names its holder cannot be removed', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const backend = await openFileBackend(path);
      // What cannot be removed, for root too.
      fs.rmSync(`${path}.holder`);
      fs.mkdirSync(`${path}.holder`);
      await backend.close();
      fs.rmdirSync(`${path}.holder`);
      await (await openFileBackend(path)).close();
    });
  });

  it('fenced: a lock whose file is removed is taken again, and nobody else gets in', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const backend = await openFileBackend(path);
      fs.rmSync(`${path}.lock`);
      expect((await backend.commit({ puts: [{ key: 'a', value: 1 }] })).ok).to.equal(true);
      const refusal = await kernelLock.acquire(new StoreNames(path)).catch((error: unknown) => error);
      expect(refusal).to.be.instanceOf(LockedError);
      await backend.close();
      await (await openFileBackend(path)).close();
    });
  });

  it('fenced: who waits for a lock whose file is removed does not hold it beside the next one', async () => {
    await withDirectory(async (directory) => {
      const names = new StoreNames(join(directory, 'state.json'));
      const first = await kernelLock.acquire(names);
      const { openSync } = fs;
      const leave = () => {
        fs.rmSync(names.lock);
        void first.release();
      };
      fs.openSync = (...args) => {
        fs.openSync = openSync;
        // By then the second has been refused once.
        queueMicrotask(leave);
        return openSync(...args);
      };
      const second = await kernelLock.acquire(names);
      const refusal = await kernelLock.acquire(names).catch((error: unknown) => error);
      expect(refusal).to.be.instanceOf(LockedError);
      await second.release();
    });
  });

  it('acked-survives: a store whose lock cannot be looked at goes on', async () => {
    await withDirectory(async (directory) => {
      const [here, away] = [join(directory, 'here'), join(directory, 'away')];
      const backend = await openFileBackend(join(here, 'state.json'));
      fs.renameSync(here, away);
      // What leads nowhere, for root too.
      fs.symlinkSync('here', here);
      expect((await backend.commit({ puts: [{ key: 'a', value: 1 }] })).ok).to.equal(true);
      fs.rmSync(here);
      fs.renameSync(away, here);
      await backend.close();
      const again = await openFileBackend(join(here, 'state.json'));
      expect((await again.read(['a']))[0]?.value).to.equal(1);
      await again.close();
    });
  });

  it('fenced: who lost the file of its lock to another writes nothing more', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const backend = await openFileBackend(path);
      fs.rmSync(`${path}.lock`);
      const other = await kernelLock.acquire(new StoreNames(path));
      const before = fs.readdirSync(directory).map((name) => fs.readFileSync(join(directory, name), 'utf8'));
      const refusal = await backend.commit({ puts: [{ key: 'a', value: 1 }] }).catch((error: unknown) => error);
      expect(isLoopStateError(refusal, 'LOOPSTATE_UNAVAILABLE')).to.equal(true);
      expect(fs.readdirSync(directory).map((name) => fs.readFileSync(join(directory, name), 'utf8'))).to.deep.equal(before);
      await other.release();
      await backend.close();
      const again = await openFileBackend(path);
      expect(again.recovery).to.deep.equal([]);
      await again.close();
    });
  });

  it('fenced: who lost the file of its lock to another writes nothing as it closes, and says so', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const backend = await openFileBackend(path);
      await backend.commit({ puts: [{ key: 'a', value: 1 }] });
      fs.rmSync(`${path}.lock`);
      const other = await kernelLock.acquire(new StoreNames(path));
      const before = fs.readFileSync(path, 'utf8');
      await backend.close();
      expect(fs.readFileSync(path, 'utf8')).to.equal(before);
      expect(backend.recovery.map(({ code }) => code)).to.deep.equal(['compaction-failed']);
      const third = await openFileBackend(path).catch((error: unknown) => error);
      expect((third as LockedError).holder).to.include({ pid: process.pid });
      await other.release();
    });
  });

  it('acked-survives: a worker thread of the same process is refused', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const { root } = await compiledPackages();
      const backend = await openFileBackend(path);
      const tryOpen = async () => {
        const worker = new Worker(join(root, 'packages/file/test/programs/try-open.js'), { workerData: path, execArgv: [] });
        const [answer] = (await once(worker, 'message')) as [string];
        await worker.terminate();
        return answer;
      };
      expect(await tryOpen()).to.equal('LOOPSTATE_LOCKED');
      await backend.close();
      expect(await tryOpen()).to.equal('opened');
    });
  });
});
