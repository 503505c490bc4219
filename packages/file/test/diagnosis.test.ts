/**
 * Proves what is said of a state file, by facts that are made up where a real file can't be brought to show them, and that looking at one
 * keeps nobody out. The command that shows it is tested in test/cli-doctor.test.ts, on real files.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { type Diagnosis, LoopStateError, type StateRecord } from '@loopstate/core';
import { expect } from 'chai';
import { tryLock } from 'fs-native-extensions';
import { type DiagnoseFileOptions, diagnoseFile } from '../src/diagnosis.js';
import { nodeDisk } from '../src/disk.js';
import { FINDING_CODES } from '../src/findings.js';
import { FILE_DIAGNOSES, type FileFacts, judgeFile } from '../src/judge-file.js';
import { openFileBackend } from '../src/open-file-backend.js';
import { withDirectory } from './directory.js';
import { systemError } from './modelled-disk.js';

const PATH = '/data/state.json';

const sound: FileFacts = {
  place: {
    path: PATH,
    directory: '/data',
    nearestDirectory: '/data',
    isWritable: true,
    kind: 'file',
    isReadable: true,
    mode: 0o600,
    names: [],
  },
  survivesPowerLoss: true,
  storeBytes: 1_000,
  temporaries: [],
  putAside: [],
  lock: { lock: 'free' },
  content: { kind: 'read', records: 3, findings: [] },
};

function saidOf({ findings }: Pick<Diagnosis, 'findings'>): string[] {
  return findings.filter(({ severity }) => severity !== 'ok').map(({ id, severity }) => `${severity} ${id}`);
}

async function diagnosed(path: string, options: DiagnoseFileOptions = {}): Promise<string[]> {
  return saidOf(await diagnoseFile(path, options)).filter((said) => !/file-system-forgets|disk-space-low/.test(said));
}

describe('judgeFile', () => {
  const reached = new Set<string>();
  const judge = (facts: Partial<FileFacts>): string[] => {
    const findings = judgeFile({ ...sound, ...facts });
    for (const { id, severity, found, remedy } of findings) {
      reached.add(id);
      expect(found, id).to.match(/^.+\.$/);
      if (severity !== 'ok') expect(remedy, id).to.match(/^.+\.$/);
    }
    return saidOf({ findings });
  };
  const refused = (error: LoopStateError): Partial<FileFacts> => ({ content: { kind: 'refused', error } });

  const CASES: readonly [what: string, facts: Partial<FileFacts>, said: string[]][] = [
    ['all is well', {}, []],
    ['nothing there', { content: { kind: 'absent' } }, ['info no-state']],
    ['not looked at', { content: { kind: 'unknown' } }, []],
    ['held', { lock: { lock: 'held', holder: { pid: 7, host: 'h', since: 0 } } }, ['problem held']],
    ['held by nobody knows whom', { lock: { lock: 'held' } }, ['problem held']],
    ['left by its holder', { lock: { lock: 'free', holder: {} } }, ['info holder-left']],
    ['a lock for another user', { lock: { lock: 'unknown' } }, ['problem lock-unavailable']],
    ['no locks', { lock: { lock: 'unavailable', reason: 'This file system takes no locks.' } }, ['problem lock-unavailable']],
    ['foreign', refused(new LoopStateError('LOOPSTATE_FOREIGN', 'x')), ['problem foreign']],
    ['newer', refused(new LoopStateError('LOOPSTATE_NEWER_FORMAT', 'x')), ['problem newer-format']],
    ['unreadable', refused(new LoopStateError('LOOPSTATE_UNAVAILABLE', 'The disk reports an error.')), ['problem not-readable']],
  ];
  for (const [what, facts, said] of CASES) it(what, () => expect(judge(facts)).to.deep.equal(said));

  it('every kind of damage has its telling, by how grave it is', () => {
    for (const code of Object.keys(FINDING_CODES)) {
      if (code === 'compaction-failed') continue; // It befalls a store that is open.
      const id = { 'old-format-imported': 'old-format', 'old-format-salvaged': 'old-format-torn' }[code] ?? code;
      const texts = (['info', 'warning', 'loss'] as const).map((severity) => {
        const findings = [{ code, severity, where: PATH, message: 'x' }];
        expect(judge({ content: { kind: 'read', records: 1, findings } })).to.deep.equal([
          `${severity === 'info' ? 'info' : 'warning'} ${id}`,
        ]);
        return judgeFile({ ...sound, content: { kind: 'read', records: 1, findings } }).find((finding) => finding.id === id);
      });
      for (const finding of texts) expect(finding?.isRepairable, code).to.equal(true);
      if (texts[2]?.found !== texts[1]?.found) expect(texts[2]?.found).to.not.include('nothing is lost');
    }
  });

  it('every id is reached', () => expect([...reached]).to.include.members(Object.keys(FILE_DIAGNOSES)));
});

describe('diagnoseFile', () => {
  it('counts what repairs put aside of this state, and not of another whose name begins like it', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'review');
      for (const name of ['review', 'review.json', 'review.2']) await (await openFileBackend(join(directory, name))).close();
      for (const name of ['review.json.damaged-2026', 'review.2.1.journal.damaged-2026']) fs.writeFileSync(join(directory, name), '');
      const asides = async () =>
        (await diagnoseFile(path)).findings.flatMap(({ id, found }) => (id === 'put-aside-earlier' ? [found] : []));
      expect(await asides()).to.deep.equal([]);
      const own = ['review.damaged-2026', 'review.original-2026', 'review.previous.damaged-2026', 'review.1.journal.damaged-2026'];
      for (const name of own) {
        fs.writeFileSync(join(directory, name), '');
        expect(await asides(), name).to.have.length(1);
        fs.rmSync(join(directory, name));
      }
    }));

  it('gives each record, in the order of revisions, also of a damaged state', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const keysOf = async (): Promise<string[]> => {
        const records: StateRecord[] = [];
        await diagnoseFile(path, { onRecord: (record) => records.push(record) });
        expect(records.map(({ revision }) => revision)).to.deep.equal(records.map(({ revision }) => revision).sort((a, b) => a - b));
        return records.map(({ key }) => key);
      };
      const backend = await openFileBackend(path);
      for (const key of ['c', 'a', 'b']) await backend.commit({ puts: [{ key, value: key }] });
      await backend.commit({ deletes: ['a'] });
      expect(await keysOf()).to.deep.equal(['c', 'b']);
      await backend.close();
      expect(await keysOf()).to.deep.equal(['c', 'b']);
      fs.writeFileSync(path, 'spoilt');
      expect(await keysOf()).to.deep.equal(['c', 'b']);
    }));

  it('sees that this very process has it open', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const backend = await openFileBackend(path);
      expect(await diagnoseFile(path)).to.include({ isHeld: true });
      expect(await diagnosed(path)).to.deep.equal(['problem held']);
      await backend.close();
      expect(await diagnoseFile(path)).to.include({ isHeld: false });
      expect(await diagnosed(path)).to.deep.equal([]);
    }));

  it('a holder that says nothing sensible is no reason to reject', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await (await openFileBackend(path)).close();
      for (const holder of ['{"pid":1,"since":1e300}', '{"pid":1,"since":null}', 'null', '']) {
        fs.writeFileSync(`${path}.holder`, holder);
        expect(await diagnosed(path)).to.deep.equal(['info holder-left']);
      }
      fs.rmSync(`${path}.holder`);
      fs.mkdirSync(`${path}.holder`);
      expect(await diagnosed(path)).to.deep.equal(['info holder-left']);
    }));

  it('a disk that fails, or a file that may not be read, is a finding', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await (await openFileBackend(path)).close();
      const failing = (code: string) => ({ ...nodeDisk, readFile: (at: string) => Promise.reject(systemError(code, at)) });
      for (const code of ['EIO', 'EACCES', 'EMFILE']) {
        expect(await diagnosed(path, { disk: failing(code) })).to.deep.equal(['problem not-readable']);
      }
      const blind = { ...nodeDisk, readLink: (at: string) => Promise.reject(systemError('EACCES', at)) };
      expect(await diagnosed(path, { disk: blind })).to.deep.equal(['problem place-unusable']);
    }));

  it('a file system that forgets is said to', () =>
    withDirectory(async (directory) => {
      const disk = { ...nodeDisk, survivesPowerLoss: async () => false };
      const diagnosis = await diagnoseFile(join(directory, 'state.json'), { disk });
      expect(saidOf(diagnosis)).to.include('warning file-system-forgets');
    }));

  it('refuses what is no path, as opening does', async () => {
    for (const path of ['', 'a\0b']) {
      const error: unknown = await diagnoseFile(path).catch((reason: unknown) => reason);
      expect(error).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    }
  });

  it('always-starts: a lock that someone has only to look is waited for', () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      await (await openFileBackend(path)).close();
      for (let looks = 0; looks < 10; looks++) {
        const descriptor = fs.openSync(`${path}.lock`, 'r+');
        expect(tryLock(descriptor)).to.equal(true);
        const opening = openFileBackend(path);
        // The first try has failed by then.
        await new Promise((resolve) => setTimeout(resolve, 5));
        fs.closeSync(descriptor);
        await (await opening).close();
      }
    }));
});
