/**
 * Proves what a start makes of a state file that somebody put in the place of the store's own: another store's, or a copy that went on
 * elsewhere. On a modelled disk.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { type FileBackend, type FileBackendOptions, openFileBackend } from '../src/open-file-backend.js';
import { forgetOpenStores, ModelledDisk, noLock } from './modelled-disk.js';

const KEYS = Array.from({ length: 7 }, (_, at) => `item/${at}`);

function open(disk: ModelledDisk, options: FileBackendOptions = {}): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, ...options });
}

describe('file: a state file that was put there', () => {
  it('always-starts: the state file of another store in the place of its own costs nothing acknowledged, and is told', async () => {
    const sessions = async (closes: number, value: string): Promise<Map<string, Buffer>> => {
      const disk = new ModelledDisk();
      for (let session = 0; session <= closes; session++) {
        const backend = await open(disk);
        for (const key of KEYS) await backend.commit({ puts: [{ key: `${key}/${session}`, value }] });
        if (session < closes) await backend.close();
      }
      return disk.files();
    };
    const closed = async (closes: number): Promise<Map<string, Buffer>> => {
      const disk = ModelledDisk.holding(await sessions(closes - 1, 'another'));
      await (await open(disk)).close();
      return disk.files();
    };
    for (const ownCloses of [0, 1, 2, 3]) {
      for (const otherCloses of [1, 2, 3, 4, 5, 6]) {
        for (const names of [['state.json'], ['state.json', 'state.json.previous']]) {
          const files = await sessions(ownCloses, 'own');
          const other = await closed(otherCloses);
          for (const name of names) if (other.has(name)) files.set(name, other.get(name)!);
          const label = `${names.join(' and ')} of ${otherCloses} sessions in the place of ${ownCloses}`;
          const disk = ModelledDisk.holding(files);
          const keys = KEYS.flatMap((key) => Array.from({ length: ownCloses + 1 }, (_, session) => `${key}/${session}`));
          for (const access of ['read', 'write'] as const) {
            const backend = await open(disk, { access });
            const missing = (await backend.read(keys)).filter((record) => record?.value !== 'own').length;
            const isToldOf = backend.recovery.some(({ severity, code }) => severity === 'loss' || code === 'other-store');
            expect(missing === 0 || (names.length > 1 && isToldOf), label).to.equal(true);
            expect(backend.recovery, label).to.have.length.greaterThan(0);
            await backend.close();
          }
          expect((await (await open(disk)).read(keys)).length).to.equal(keys.length);
        }
      }
    }
  });

  describe('a state file that went on elsewhere, as a copy, and was put back', () => {
    /** Opens a store, commits these keys, and closes it or leaves it as a kill does. */
    const session = async (files: ReadonlyMap<string, Buffer>, keys: readonly string[], isClosed = true) => {
      const disk = ModelledDisk.holding(files);
      const backend = await open(disk);
      let revision = 0;
      for (const key of keys) {
        const result = await backend.commit({ puts: [{ key, value: key }] });
        if (result.ok) revision = result.revision;
      }
      if (isClosed) await backend.close();
      return { files: disk.files(), revision };
    };
    const only = (files: ReadonlyMap<string, Buffer>) => new Map([['state.json', files.get('state.json')!]]);
    const putBack = (from: ReadonlyMap<string, Buffer>, to: ReadonlyMap<string, Buffer>) => new Map([...to, ...only(from)]);
    /** What is found, by a reader and then by a writer, which must be the same. */
    const found = async (files: ReadonlyMap<string, Buffer>) => {
      const disk = ModelledDisk.holding(files);
      const seen: { keys: string[]; severities: string[] }[] = [];
      for (const access of ['read', 'write'] as const) {
        const backend = await open(disk, { access });
        const keys: string[] = [];
        for await (const { key, record } of backend.changes(0)) if (record !== undefined) keys.push(key);
        seen.push({ keys: keys.sort(), severities: backend.recovery.map(({ severity }) => severity) });
        await backend.close();
      }
      expect(seen[0]).to.deep.equal(seen[1]);
      const { revision } = await session(disk.files(), ['after']);
      return { ...seen[0]!, revision };
    };
    let origin: Map<string, Buffer>;
    beforeEach(async () => {
      origin = (await session(new Map(), ['a'])).files;
    });

    it('always-starts: with more generations and fewer revisions, it does not make what stands there empty', async () => {
      let newest = origin;
      for (const key of ['b', 'c', 'd']) newest = (await session(newest, [key])).files;
      const fork = await session(only(origin), ['x']);
      const { keys, severities, revision } = await found(putBack(newest, fork.files));
      expect(keys).to.include.members(['a', 'x']);
      expect(severities).to.not.deep.equal([]);
      expect(revision).to.be.greaterThan(fork.revision);
    });

    it('always-starts: the same over one that was only opened and closed', async () => {
      const fork = await session(only(origin), []);
      let newest = origin;
      for (const key of ['b', 'c']) newest = (await session(newest, [key])).files;
      const { keys, severities } = await found(putBack(newest, fork.files));
      expect(keys).to.include('a');
      expect(severities).to.not.deep.equal([]);
    });

    it('acked-survives: the same over one that was killed, whose commits are kept', async () => {
      let newest = origin;
      for (const key of ['b', 'c', 'd']) newest = (await session(newest, [key])).files;
      const fork = await session(only(origin), ['x', 'y'], false);
      const { keys, severities } = await found(putBack(newest, fork.files));
      expect(keys).to.include.members(['a', 'x', 'y']);
      expect(severities).to.not.deep.equal([]);
    });

    it('acked-survives, fenced: of the same generation, it takes nothing away, and no revision is given twice', async () => {
      const few = await session(origin, ['b']);
      const many = await session(origin, KEYS);
      const { keys, severities, revision } = await found(putBack(few.files, many.files));
      expect(keys).to.include.members(['a', ...KEYS]);
      expect(severities).to.not.deep.equal([]);
      expect(revision).to.be.greaterThan(many.revision);
    });

    it('acked-survives: put there while the store is open, it takes no journal away', async () => {
      let newest = origin;
      for (const key of ['b', 'c', 'd', 'e']) newest = (await session(newest, [key])).files;
      const disk = ModelledDisk.holding(only(origin));
      const backend = await open(disk, { compactAtBytes: 300, journalSpaceBytes: 200 });
      await disk.unlink(disk.statePath);
      const file = await disk.createFile(disk.statePath, 0o600);
      await file.write(newest.get('state.json')!, 0);
      await file.close();
      for (let round = 0; round < 12; round++) await backend.commit({ puts: [{ key: KEYS[round % 5]!, value: { round } }] });
      await turn();
      for (const key of KEYS) await backend.commit({ puts: [{ key: `late/${key}`, value: 1 }] });
      expect(backend.recovery.map(({ code }) => code)).to.include('snapshot-replaced');
      const { keys, severities } = await found(disk.files());
      expect(keys).to.include.members(KEYS.map((key) => `late/${key}`));
      expect(severities).to.not.include('loss');
    });
  });
});
