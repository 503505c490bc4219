/**
 * Proves *always-starts* across releases: files that were written once in each released format, whole and cut, open for ever and hold
 * what they held; a newer format is refused, untouched. From copies of `golden/`, and cut anew at every length.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { prove } from '@loopstate/conformance';
import { isLoopStateError, type Json, type StateBackend } from '@loopstate/core';
import { expect } from 'chai';
import { openFileBackend } from '../src/open-file-backend.js';
import { cuts, Original } from './damages.js';
import { withDirectory } from './directory.js';
import { type Expected, readGolden, readGoldenFiles } from './golden/golden.js';
import { forgetOpenStores, ModelledDisk, noLock } from './modelled-disk.js';

const golden = Object.entries(readGolden());
const isOld = (folder: string) => !folder.startsWith('format-');

/** Runs beside a copy of golden files, on a real disk. */
async function withCopy(folder: string, run: (path: string) => Promise<void>): Promise<void> {
  await withDirectory(async (directory) => {
    for (const [name, bytes] of readGoldenFiles(folder)) fs.writeFileSync(join(directory, name), bytes);
    await run(join(directory, 'state.json'));
  });
}

/** The records, without the one that says which store an older format, or a first byte that may be of one, became. */
async function contents(backend: StateBackend): Promise<Record<string, { revision: number; value: Json }>> {
  const found: Record<string, { revision: number; value: Json }> = {};
  for await (const { key, revision, record } of backend.changes(0))
    if (record !== undefined) found[key] = { revision, value: record.value };
  delete found.meta;
  return found;
}

const filesBeside = (path: string) => {
  const directory = join(path, '..');
  return fs.readdirSync(directory).map((name) => [name, fs.readFileSync(join(directory, name), 'latin1')]);
};

describe('file: golden files', () => {
  for (const [folder, { records, findings, refusal }] of golden) {
    if (refusal !== undefined) continue;
    it(`always-starts: ${folder} opens for ever`, async () => {
      await withCopy(folder, async (path) => {
        const before = filesBeside(path);
        const reader = await openFileBackend(path, { access: 'read' });
        expect(await contents(reader)).to.deep.equal(records);
        await reader.close();
        expect(filesBeside(path)).to.deep.equal(before);
        const backend = await openFileBackend(path);
        expect(await contents(backend)).to.deep.equal(records);
        expect(backend.recovery.map(({ code, severity }) => [code, severity])).to.deep.equal(findings);
        const kept = backend.recovery.flatMap(({ keptAs }) => (keptAs === undefined ? [] : fs.readFileSync(keptAs, 'latin1')));
        for (const text of kept) expect(before.map(([, was]) => was)).to.include(text);
        const result = await backend.commit({ puts: [{ key: 'after', value: true }] });
        await backend.close();
        const again = await openFileBackend(path);
        const after = { revision: result.ok ? result.revision : 0, value: true };
        expect(await contents(again)).to.deep.equal({ ...records, after });
        expect(again.recovery).to.deep.equal([]);
        await again.close();
      });
    });
  }

  for (const [folder, { refusal }] of golden) {
    if (refusal === undefined) continue;
    it(`always-starts: ${folder} is refused, and untouched`, async () => {
      await withCopy(folder, async (path) => {
        const before = filesBeside(path);
        for (const access of ['read', 'write'] as const) {
          const error = await openFileBackend(path, { access }).catch((error: unknown) => error);
          expect(isLoopStateError(error) && error.code, access).to.equal(refusal);
        }
        expect(filesBeside(path)).to.deep.equal(before);
      });
    });
  }

  it('always-starts: cut at any length they open, and what is whole in them is kept', async () => {
    let cases = 0;
    for (const folder of ['format-1-killed', 'format-1-alone', 'first', 'second']) {
      const expected = readGolden()[folder]!;
      const files = readGoldenFiles(folder);
      const original = isOld(folder) ? undefined : new Original(files);
      for (const damage of cuts(files)) {
        const disk = ModelledDisk.holding(damage.files);
        disk.hasLockFile = true;
        forgetOpenStores();
        const backend = await openFileBackend(disk.statePath, { disk, lock: noLock, journalSpaceBytes: 300 });
        const found = await contents(backend);
        // Of an old file that is cut inside an entry, what became of the item is known, and perhaps not why.
        const sameness = isOld(folder) ? statusOf : JSON.stringify;
        expect(neverPut(found, expected, sameness), `${folder}: ${damage.label}`).to.deep.equal([]);
        for (const [key, revision] of original?.intact(damage) ?? [])
          if (expected.records[key] !== undefined) expect(found[key]?.revision ?? 0, `${damage.label}, ${key}`).to.be.at.least(revision);
        cases++;
      }
    }
    prove({ test: 'S15 released formats', backend: 'file', counts: { cases: cases + golden.length }, least: { cases: 1_000 } });
  });

  it('always-starts: a record that is not what was written is noticed', async () => {
    const [folder, expected] = golden.find(([name]) => name === 'format-1-killed')!;
    await withCopy(folder, async (path) => {
      const [[key, record] = ['', { revision: 0, value: null }]] = Object.entries(expected.records);
      const backend = await openFileBackend(path, { access: 'read' });
      const lie = { ...expected, records: { ...expected.records, [key]: { ...record, value: 'else' } } };
      expect(neverPut(await contents(backend), lie)).to.deep.equal([`${key}@${record.revision}`]);
      await backend.close();
    });
  });
});

const statusOf = (value: Json | undefined) => (value as { status: string }).status;

/** Which of the records were never put so, as far as `sameness` tells. */
function neverPut(
  found: Readonly<Record<string, { revision: number; value: Json }>>,
  { records, replaced }: Expected,
  sameness: (value: Json | undefined) => string = JSON.stringify,
): string[] {
  return Object.entries(found).flatMap(([key, { revision, value }]) => {
    const was = records[key]?.revision === revision ? records[key]?.value : replaced[`${key}@${revision}`];
    return was !== undefined && sameness(value) === sameness(was) ? [] : [`${key}@${revision}`];
  });
}
