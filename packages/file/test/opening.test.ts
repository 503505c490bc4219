/**
 * Proves what opening does with the place it is given: what it makes, keeps, sweeps away and refuses. On real files.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import { nodeDisk } from '../src/disk.js';
import { encodeJournalHeader } from '../src/journal.js';
import { checksum } from '../src/lines.js';
import { type FileBackendOptions, openFileBackend } from '../src/open-file-backend.js';
import { withDirectory } from './directory.js';
import { systemError } from './modelled-disk.js';

const IS_ROOT = process.geteuid?.() === 0;
const [OWNER, MEMBER, GROUP] = [12_345, 12_346, 23_456];

const mode = (path: string) => (fs.statSync(path).mode & 0o777).toString(8);

async function put(path: string, key: string, options: FileBackendOptions = {}): Promise<void> {
  const backend = await openFileBackend(path, options);
  await backend.commit({ puts: [{ key, value: 1 }] });
  await backend.close();
}

/** Runs `run` as a user whose only other group is that of the state. */
async function asMember(run: () => Promise<void>): Promise<void> {
  const groups = process.getgroups?.() ?? [];
  if (IS_ROOT) {
    process.setgroups?.([GROUP]);
    process.setegid?.(MEMBER);
    process.seteuid?.(MEMBER);
  }
  try {
    await run();
  } finally {
    if (IS_ROOT) {
      process.seteuid?.(0);
      process.setegid?.(0);
      process.setgroups?.(groups);
    }
  }
}

async function refusal(path: string, options: FileBackendOptions = {}): Promise<string> {
  try {
    await (await openFileBackend(path, options)).close();
  } catch (error) {
    if (!isLoopStateError(error)) throw error;
    expect(error.message).to.match(/^.+[.)]$/);
    return error.code;
  }
  return 'opened';
}

describe('file: opening', () => {
  it('makes missing directories, and files that only the owner can read', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'a', 'b', 'state.json');
      await put(path, 'x');
      for (const name of fs.readdirSync(join(directory, 'a', 'b'))) expect(mode(join(directory, 'a', 'b', name)), name).to.equal('600');
    });
  });

  it('keeps mode and owner of a state file that is replaced, and gives its journals the same', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await put(path, 'x');
      fs.chmodSync(path, 0o640);
      if (process.getuid?.() === 0) fs.chownSync(path, 12_345, 23_456);
      const before = fs.statSync(path);
      await put(path, 'y');
      const after = fs.statSync(path);
      expect([after.mode, after.uid, after.gid]).to.deep.equal([before.mode, before.uid, before.gid]);
      const newest = fs
        .readdirSync(directory)
        .filter((name) => name.endsWith('.journal'))
        .at(-1)!;
      expect(mode(join(directory, newest))).to.equal('640');
    });
  });

  // As another user than root it proves less: there is nobody then to whom the files could be lost.
  it('always-starts: a state that root has used, or made anew, belongs to its owner still, and so does its lock', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      for (const gone of ['', `${path}.lock`, path]) {
        await put(path, 'x');
        fs.chmodSync(path, 0o660);
        if (IS_ROOT) fs.chownSync(path, OWNER, GROUP);
        await put(path, 'y');
        fs.rmSync(gone, { force: true });
        await put(path, 'z');
        for (const name of [path, `${path}.lock`]) {
          const stats = fs.statSync(name);
          expect([mode(name), stats.uid, stats.gid]).to.deep.equal(['660', ...(IS_ROOT ? [OWNER, GROUP] : [stats.uid, stats.gid])]);
        }
        for (const name of fs.readdirSync(directory)) fs.rmSync(join(directory, name));
      }
    });
  });

  it('gives nobody what the name of its lock leads to', async () => {
    await withDirectory(async (directory) => {
      const [path, other] = [join(directory, 'state.json'), join(directory, 'other')];
      await put(path, 'x');
      fs.chmodSync(path, 0o660);
      if (IS_ROOT) fs.chownSync(path, OWNER, GROUP);
      for (const link of [fs.symlinkSync, fs.linkSync]) {
        fs.writeFileSync(other, 'of somebody else', { mode: 0o600 });
        fs.rmSync(`${path}.lock`);
        link(other, `${path}.lock`);
        const before = fs.statSync(other);
        await put(path, 'y');
        const after = fs.statSync(other);
        expect([after.mode, after.uid, after.gid]).to.deep.equal([before.mode, before.uid, before.gid]);
        fs.rmSync(other);
      }
    });
  });

  it('always-starts: what one of a group replaces belongs to the group still', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await put(path, 'x');
      fs.chmodSync(path, 0o660);
      if (IS_ROOT) fs.chownSync(path, OWNER, GROUP);
      for (const value of ['y', 'z']) await put(path, value);
      fs.chmodSync(directory, 0o777);
      await asMember(() => put(path, 'w'));
      const after = fs.statSync(path);
      expect([mode(path), after.gid]).to.deep.equal(['660', IS_ROOT ? GROUP : after.gid]);
    });
  });

  it('keeps a symlink, also one to a file that is not there yet, and puts everything beside the file itself', async () => {
    await withDirectory(async (directory) => {
      fs.mkdirSync(join(directory, 'real'));
      const link = join(directory, 'state.json');
      fs.symlinkSync(join('real', 'target.json'), link);
      await put(link, 'x');
      await put(link, 'y');
      expect(fs.lstatSync(link).isSymbolicLink()).to.equal(true);
      expect(fs.readdirSync(directory)).to.have.members(['real', 'state.json']);
      const backend = await openFileBackend(join(directory, 'real', 'target.json'));
      expect((await backend.read(['x', 'y'])).map((record) => record?.value)).to.deep.equal([1, 1]);
      await backend.close();
    });
  });

  it('always-starts: what everybody may write is locked by nobody for himself', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await put(path, 'x');
      await put(path, 'y');
      fs.rmSync(`${path}.lock`);
      fs.chmodSync(directory, 0o777);
      for (const name of fs.readdirSync(directory)) {
        fs.chmodSync(join(directory, name), 0o666);
        if (IS_ROOT) fs.chownSync(join(directory, name), OWNER, OWNER);
      }
      // Of no group of the state's.
      await asMember(() => put(path, 'z'));
      expect(mode(`${path}.lock`)).to.equal('666');
    });
  });

  it('once-recorded: a symlink leads to the same state, by whichever other one its directory is named', async () => {
    await withDirectory(async (directory) => {
      fs.mkdirSync(join(directory, 'a', 'b'), { recursive: true });
      fs.symlinkSync(join('a', 'b'), join(directory, 'short'));
      fs.symlinkSync(join('..', 'target.json'), join(directory, 'a', 'b', 'state.json'));
      await put(join(directory, 'a', 'b', 'state.json'), 'x');
      const backend = await openFileBackend(join(directory, 'short', 'state.json'));
      expect((await backend.read(['x']))[0]?.value).to.equal(1);
      await backend.close();
    });
  });

  it('sweeps temporaries away, never reads them, and touches no file of another name', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await put(path, 'x');
      fs.copyFileSync(path, `${path}.0123456789abcdef.tmp`);
      const others = [
        'state.json.tmp',
        'state.json2',
        'state.json.x.journal',
        'other.json.1.journal',
        'state.json.0123456789abcdef.tmp.bak',
      ];
      for (const name of others) fs.writeFileSync(join(directory, name), name);
      const killed = await openFileBackend(path);
      await killed.close();
      expect(fs.existsSync(`${path}.0123456789abcdef.tmp`)).to.equal(false);
      for (const name of others) expect(fs.readFileSync(join(directory, name), 'utf8')).to.equal(name);
    });
  });

  it('refuses a newer format, of the state file or of a journal, and touches nothing', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const rest = '"format":2,"store":"s",';
      fs.writeFileSync(path, `{"loopstate":"${checksum(rest)}",${rest}\n"new":[]}\n`);
      expect(await refusal(path)).to.equal('LOOPSTATE_NEWER_FORMAT');
      expect(fs.readdirSync(directory)).to.deep.equal(['state.json']);
      fs.unlinkSync(path);
      await put(path, 'x');
      const line = encodeJournalHeader({ store: 's', generation: 9, since: 0, after: 0 });
      const newer = line.slice(12, -1).replace('"format":1', '"format":2');
      fs.writeFileSync(`${path}.9.journal`, `["${checksum(newer)}",${newer}\n`);
      const before = fs.readdirSync(directory).map((name) => fs.readFileSync(join(directory, name), 'latin1'));
      expect(await refusal(path)).to.equal('LOOPSTATE_NEWER_FORMAT');
      expect(fs.readdirSync(directory).map((name) => fs.readFileSync(join(directory, name), 'latin1'))).to.deep.equal(before);
    });
  });

  it('refuses what can be no state file with one clear sentence, before anything is written', async () => {
    await withDirectory(async (directory) => {
      fs.mkdirSync(join(directory, 'folder'));
      fs.writeFileSync(join(directory, 'file'), 'text');
      fs.symlinkSync('circle', join(directory, 'circle'));
      const places: [string, string][] = [
        ['', 'LOOPSTATE_BAD_OPTION'],
        ['a\0b', 'LOOPSTATE_BAD_OPTION'],
        [join(directory, 'folder'), 'LOOPSTATE_BAD_OPTION'],
        [join(directory, 'file', 'state.json'), 'LOOPSTATE_UNAVAILABLE'],
        [join(directory, 'circle'), 'LOOPSTATE_UNAVAILABLE'],
        [join(directory, 'n'.repeat(255)), 'LOOPSTATE_BAD_OPTION'],
        [join(directory, 'new', 'ü'.repeat(101)), 'LOOPSTATE_BAD_OPTION'],
        [join(directory, 'file'), 'LOOPSTATE_FOREIGN'],
      ];
      if (process.platform !== 'win32') {
        execFileSync('mkfifo', [join(directory, 'fifo')]);
        places.push([join(directory, 'fifo'), 'LOOPSTATE_BAD_OPTION']);
      }
      const before = fs.readdirSync(directory);
      for (const [path, code] of places) expect(await refusal(path), path).to.equal(code);
      expect(fs.readdirSync(directory)).to.deep.equal(before);
    });
  });

  it('takes the longest name that leaves room for what is put aside, and opens a longer one that is there already', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'n'.repeat(200));
      await put(path, 'x');
      await put(path, 'y');
      for (const name of [path, `${path}.previous`]) fs.writeFileSync(name, 'spoilt');
      const backend = await openFileBackend(path);
      const kept = backend.recovery.flatMap(({ keptAs }) => keptAs ?? []);
      expect(kept.map((name) => fs.readFileSync(name, 'utf8'))).to.include.members(['spoilt', 'spoilt']);
      await backend.close();
      const longer = join(directory, 'm'.repeat(215));
      for (const end of ['', '.previous']) fs.copyFileSync(path, `${longer}${end}`);
      await (await openFileBackend(longer)).close();
      fs.unlinkSync(longer);
      await (await openFileBackend(longer)).close();
    });
  });

  it('refuses a directory or file that this user may not use', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const readOnly = { ...nodeDisk, assertWritable: (at: string) => Promise.reject(systemError('EROFS', at)) };
      expect(await refusal(path, { disk: readOnly })).to.equal('LOOPSTATE_UNAVAILABLE');
      expect(fs.readdirSync(directory)).to.deep.equal([]);
      fs.writeFileSync(path, '');
      const unreadable = { ...nodeDisk, readFile: (at: string) => Promise.reject(systemError('EACCES', at)) };
      expect(await refusal(path, { disk: unreadable })).to.equal('LOOPSTATE_UNAVAILABLE');
      expect(fs.readdirSync(directory)).to.deep.equal(['state.json']);
    });
  });

  it('where files can have one name only, the previous snapshot is a copy', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const disk = { ...nodeDisk, link: (_from: string, to: string) => Promise.reject(systemError('EPERM', to)) };
      await put(path, 'x', { disk });
      await put(path, 'y', { disk });
      fs.writeFileSync(path, 'spoilt');
      const backend = await openFileBackend(path, { disk });
      expect((await backend.read(['x', 'y'])).map((record) => record?.value)).to.deep.equal([1, 1]);
      expect(fs.readFileSync(backend.recovery[0]?.keptAs ?? '', 'utf8')).to.equal('spoilt');
      await backend.close();
    });
  });

  it('reads no more than the beginning of what a whole state file makes old, and all of it where the state file is damaged', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const keys = Array.from({ length: 1_000 }, (_, index) => `key-${index}`);
      for (const value of ['old', 'new']) {
        const backend = await openFileBackend(path);
        for (const key of keys) await backend.commit({ puts: [{ key, value }] });
        await backend.close();
      }
      const read = new Map<string, number>();
      const readFile: typeof nodeDisk.readFile = async (at, ...range) => {
        const bytes = await nodeDisk.readFile(at, ...range);
        read.set(at, bytes.length);
        return bytes;
      };
      const valuesIn = async (access: 'read' | 'write') => {
        const backend = await openFileBackend(path, { access, disk: { ...nodeDisk, readFile } });
        const values = new Set((await backend.read(keys)).map((record) => record?.value));
        await backend.close();
        return [[...values], backend.recovery.map(({ code }) => code)];
      };
      const journals = fs.readdirSync(directory).filter((name) => name.endsWith('.journal'));
      const old = ['state.json.previous', ...journals.sort().slice(0, -1)].map((name) => join(directory, name));
      expect(old.filter((at) => fs.statSync(at).size > 20_000).length).to.be.greaterThan(1);
      for (const access of ['read', 'write'] as const) {
        expect(await valuesIn(access)).to.deep.equal([['new'], []]);
        expect(read.get(path)).to.equal(fs.statSync(path).size);
        expect(Math.max(...old.map((at) => read.get(at) ?? 0))).to.be.lessThan(1_000);
      }
      for (const damage of [(bytes: Buffer) => bytes.fill(0, 5_000, 5_001), (bytes: Buffer) => bytes.fill(0, 30, 31)]) {
        fs.writeFileSync(path, damage(fs.readFileSync(path)));
        expect(await valuesIn('read')).to.deep.equal([['new'], ['snapshot-damaged']]);
        expect(read.get(`${path}.previous`)).to.equal(fs.statSync(`${path}.previous`).size);
      }
    });
  });

  it('takes the records of a large state file while more of it is read', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const valueAt = (index: number) => `${index}`.repeat(200_000 + index);
      const keys = Array.from({ length: 40 }, (_, index) => `${index}`);
      const writer = await openFileBackend(path);
      for (const [index, key] of keys.entries()) await writer.commit({ puts: [{ key, value: valueAt(index) }] });
      await writer.close();
      const ends: number[] = [];
      const readFile: typeof nodeDisk.readFile = (at, options = {}) => {
        const onRead: typeof options.onRead = (bytes, readTo) => {
          ends.push(readTo);
          options.onRead?.(bytes, readTo);
        };
        return nodeDisk.readFile(at, at === path && options.onRead !== undefined ? { ...options, onRead } : options);
      };
      const backend = await openFileBackend(path, { disk: { ...nodeDisk, readFile } });
      expect(ends.length).to.be.greaterThan(2);
      expect(ends).to.deep.equal([...ends].sort((a, b) => a - b));
      expect(ends.at(-1)).to.equal(fs.statSync(path).size);
      const records = await backend.read(keys);
      expect(records.map((record) => record?.value === valueAt(Number(record?.key)))).to.deep.equal(keys.map(() => true));
      expect(backend.recovery).to.deep.equal([]);
      await backend.close();
    });
  });

  it('a place whose file system forgets does not claim to survive a power loss', async () => {
    await withDirectory(async (directory) => {
      const disk = { ...nodeDisk, survivesPowerLoss: async () => false };
      const backend = await openFileBackend(join(directory, 'state.json'), { disk });
      expect(backend.traits).to.deep.equal({ name: 'file', survives: 'process-crash', reach: 'process' });
      await backend.close();
    });
  });
});
