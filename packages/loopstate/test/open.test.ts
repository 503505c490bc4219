/**
 * What a user writes to name a state opens the store that is meant, and nothing else. Each form of a URL is judged by itself; then the
 * library is opened with each kind of target in a directory of its own.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import * as core from '@loopstate/core';
import { openRedisBackend } from '@loopstate/redis';
import { openSqliteBackend } from '@loopstate/sqlite';
import { expect } from 'chai';
import * as library from 'loopstate';
import { LoopState, LoopStateError, openMemoryBackend } from 'loopstate';
import { placeOf } from '../src/backend-url.js';
import { shownState } from '../src/cli/shown-state.js';

describe('placeOf', () => {
  const FILES: Readonly<Record<string, string>> = {
    './state.json': './state.json',
    'state.json': 'state.json',
    '/abs/state.json': '/abs/state.json',
    '../a b/ü.json': '../a b/ü.json',
    './redis:x': './redis:x',
    'dir/redis:x': 'dir/redis:x',
    '.hidden:x': '.hidden:x',
    'C:\\data\\state.json': 'C:\\data\\state.json',
    'c:/data/state.json': 'c:/data/state.json',
    'what?is#this%41': 'what?is#this%41',
    'file:./x.json': './x.json',
    'file:x.json': 'x.json',
    'FILE:x.json': 'x.json',
    'file:/abs/x.json': '/abs/x.json',
    'file:./a%20b%3F.json': './a b?.json',
    '__proto__:x': '__proto__:x',
  };
  for (const [target, path] of Object.entries(FILES)) {
    it(`takes ${target} for a file`, () => expect(placeOf(target)).to.deep.equal({ kind: 'file', path }));
  }

  it('takes a standard file URL for its file', () => {
    const path = join(tmpdir(), 'ä b#?.json');
    expect(placeOf(pathToFileURL(path).href)).to.deep.equal({ kind: 'file', path });
  });

  it('leaves sqlite: and redis: to their packages, parameters included', () => {
    const packageOf = (url: string) => ({ ...placeOf(url) }) as { packageName?: string; url?: string };
    expect(packageOf('sqlite:./x.db')).to.include({ packageName: '@loopstate/sqlite', url: 'sqlite:./x.db' });
    expect(packageOf('redis://h/0?job=x')).to.include({ packageName: '@loopstate/redis', url: 'redis://h/0?job=x' });
    expect(packageOf('rediss://h')).to.include({ packageName: '@loopstate/redis' });
    expect(placeOf('memory:')).to.deep.equal({ kind: 'memory' });
  });

  const REFUSED = [
    '',
    'a\0b',
    'file:',
    'file:x?mode=7',
    'file:x#y',
    'file:50%.json',
    'file://elsewhere/share/x.json',
    'file://user:secret@h:70000/x.json',
    'memory:x',
    'http://user:secret@h/',
    'postgres:user:secret',
    'constructor:secret',
  ];
  for (const target of REFUSED) {
    it(`refuses ${JSON.stringify(target)}, and says nothing secret`, () => {
      const error = thrownBy(() => placeOf(target));
      expect(error).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
      expect(inspect(error, { depth: 9, showHidden: true })).to.not.include('secret');
    });
  }
});

describe('shownState', () => {
  it('shows no password and no parameter', () => {
    expect(shownState('redis://user:p@ss@host:1/2?password=x')).to.equal('redis://host:1/2');
    expect(shownState('rediss://:secret@host')).to.equal('rediss://host');
    expect(shownState('sqlite:./x.db?key=secret')).to.equal('sqlite:./x.db');
    expect(shownState('./a@b?c.json')).to.equal('./a@b?c.json');
  });
});

describe('LoopState of loopstate', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'loopstate-open-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('opens a path, a file URL, { url } and { path }, all the same file', async () => {
    const path = join(directory, 'state.json');
    const first = await LoopState.open(path);
    expect(first).to.be.instanceOf(LoopState).and.to.be.instanceOf(core.LoopState);
    await first.begin('a');
    await first.end('a', { status: 'success' });
    await first.close();
    for (const target of [`file:${path}`, { url: pathToFileURL(path).href }, { path }]) {
      const again = await LoopState.open(target);
      expect(again.isOutstanding('a')).to.equal(false);
      await again.close();
    }
  });

  it('create takes a path as it is, whatever it looks like', async () => {
    const before = process.cwd();
    process.chdir(directory);
    try {
      const state = await LoopState.create('redis:x');
      await state.begin('a');
      await state.close();
      expect(existsSync(join(directory, 'redis:x'))).to.equal(true);
    } finally {
      process.chdir(before);
    }
  });

  it('closes the backend that it opened, so that another can open it, and leaves open one that was handed in', async () => {
    const path = join(directory, 'state.json');
    await (await LoopState.open(path)).close();
    await (await LoopState.open(path)).close();
    const backend = openMemoryBackend();
    await (await LoopState.open(backend)).close();
    expect(await backend.read(['x'])).to.deep.equal([undefined]);
  });

  it('with access read looks on and writes nothing', async () => {
    const path = join(directory, 'state.json');
    const writer = await LoopState.open(path);
    await writer.begin('a');
    const reader = await LoopState.open(path, { access: 'read' });
    expect(reader.progress.inProgress).to.equal(1);
    expect(await rejection(reader.claim('b'))).to.include({ code: 'LOOPSTATE_READ_ONLY' });
    await reader.close();
    await writer.close();
  });

  it('refuses targets and options that it does not know', async () => {
    const targets = [
      undefined,
      null,
      7,
      {},
      { path: 7 },
      { path: '' },
      { path: 'x', url: 'y' },
      'gopher:x',
      ' redis://:secret@127.0.0.1/0',
      '\tsqlite:x.db',
      '\nmemory:',
    ];
    for (const target of targets) {
      expect(await rejection(LoopState.open(target as never)), String(target)).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    }
    const path = join(directory, 'state.json');
    expect(await rejection(LoopState.open(path, { acces: 'read' } as never))).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    expect(await rejection(LoopState.open(path, { access: 'append' } as never))).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    expect(await rejection(LoopState.open(openMemoryBackend(), { access: 'read' }))).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    // A refused option leaves no lock behind.
    await (await LoopState.open(path)).close();
  });

  it('every way to open one refuses options that it does not know or can not use, and makes nothing', async () => {
    const redis = 'redis://127.0.0.1:1/0';
    const openers: Readonly<Record<string, (options: never) => Promise<unknown>>> = {
      LoopState: (options) => LoopState.open(join(directory, 'a.json'), options),
      file: (options) => library.openFileBackend(join(directory, 'a.json'), options),
      sqlite: (options) => openSqliteBackend(join(directory, 'a.db'), options),
      redis: (options) => openRedisBackend(redis, options),
      memory: (options) => library.openBackend('memory:', options),
    };
    for (const [name, open] of Object.entries(openers)) {
      for (const options of [null, 5, 'read', { acces: 'read' }, { access: null }, { access: 'append' }, { onFinding: 5 }]) {
        const about = `${name} ${JSON.stringify(options)}`;
        expect(await rejection(open(options as never)), about).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
      }
    }
    expect(await rejection(openRedisBackend(null as never))).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    expect(await rejection(library.diagnose(undefined as never))).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    expect(readdirSync(directory)).to.deep.equal([]);
  });
});

describe('loopstate', () => {
  it('exports everything of @loopstate/core, and its own LoopState', () => {
    expect(library).to.include.keys(Object.keys(core));
    expect(library.LoopState).to.not.equal(core.LoopState);
    expect(library.runLoop).to.equal(core.runLoop);
  });
});

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    expect(error).to.be.instanceOf(LoopStateError);
    return error;
  }
  throw new Error('It did not throw.');
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => {
      throw new Error('It did not reject.');
    },
    (error: unknown) => error,
  );
}
