/**
 * Whatever bytes stand where a store is opened, from noise to real files with some damage: opening works or rejects with a code, what was
 * put aside is there byte for byte, what is refused is untouched, and nothing is read that was never written. The files are real, on
 * the disk of this machine.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { prove } from '@loopstate/conformance';
import { type ErrorCode, isLoopStateError, type Json, LoopState, type StateBackend } from '@loopstate/core';
import { openFileBackend } from '@loopstate/file';
import { openSqliteBackend } from '@loopstate/sqlite';
import { AssertionError, expect } from 'chai';
import fc from 'fast-check';
import { EMPTY_VIEW, followChanges } from '../../packages/conformance/src/follow-changes.js';
import { show } from '../../packages/conformance/src/show.js';
import { holdsFor, PROPERTY_TIMEOUT_MS } from '../support/property.js';
import { type Files, mutated, mutations } from './mutations.js';
import { exactValue } from './values.js';

const TEST = 'P3 random files';

/** The only ways in which a place may be refused. */
const REFUSALS = ['LOOPSTATE_FOREIGN', 'LOOPSTATE_NEWER_FORMAT', 'LOOPSTATE_UNAVAILABLE', 'LOOPSTATE_ABSENT', 'LOOPSTATE_BAD_OPTION'];

/** How a backend keeps a store in files. */
interface Kind {
  readonly name: 'file' | 'sqlite';
  /** The name of the file that is opened. */
  readonly main: string;
  open(path: string, access?: 'read' | 'write'): Promise<StateBackend>;
}

const file: Kind = {
  name: 'file',
  main: 'state.json',
  open: (path, access = 'write') => openFileBackend(path, { access, compactAtBytes: 1_000, journalSpaceBytes: 400 }),
};
const sqlite: Kind = { name: 'sqlite', main: 'state.db', open: (path, access = 'write') => openSqliteBackend(path, { access }) };

/** A real store, and every record that ever stood in it: its key and value as one text. */
interface Sample {
  readonly files: Files;
  readonly written: ReadonlySet<string>;
}

for (const { kind, cases } of [
  { kind: file, cases: 60 },
  { kind: sqlite, cases: 40 },
]) {
  describe(`random files: ${kind.name}`, () => {
    let samples: Sample[];
    before(async () => {
      samples = [await makeSample(kind, 'closed'), await makeSample(kind, 'killed')];
    });

    it('always-starts: damage of every kind to the files of a store', async () => {
      const inputs = fc.record({ sample: fc.nat(1), happened: mutations });
      const held = await holdsFor(inputs, cases, async ({ sample, happened }) => {
        const { files, written } = samples[sample]!;
        await withFiles(mutated(files, happened), (directory) => expectOpens(kind, directory, written));
      });
      prove({ test: TEST, backend: kind.name, counts: { cases: held }, least: { cases } });
    }).timeout(PROPERTY_TIMEOUT_MS);

    it('always-starts: noise under every name', async () => {
      const names = [...new Set(samples.flatMap(({ files }) => [...files.keys()]))];
      const noise = fc.oneof(
        fc.uint8Array({ maxLength: 2_000, size: 'max' }),
        text.map((written) => new Uint8Array(Buffer.from(written))),
      );
      const inputs = fc.dictionary(fc.constantFrom(kind.main, ...names), noise, { minKeys: 1, maxKeys: 4, noNullPrototype: true });
      const held = await holdsFor(inputs, cases, (given) =>
        withFiles(new Map(Object.entries(given).map(([name, bytes]) => [name, Buffer.from(bytes)])), (directory) =>
          expectOpens(kind, directory),
        ),
      );
      prove({ test: TEST, backend: kind.name, counts: { cases: held }, least: { cases } });
    }).timeout(PROPERTY_TIMEOUT_MS);
  });
}

const id = fc.oneof(fc.string({ unit: 'binary', maxLength: 8 }), fc.constantFrom('__proto__', '', '\ud800', 'x'.repeat(1_025)));
const anything = fc.oneof(exactValue, fc.constant(-0), fc.constant('\udfff'));
const cost = fc.oneof(anything, fc.record({ usd: fc.oneof(fc.double(), anything), costSource: fc.constantFrom('unavailable', 'billed') }));
/** Documents that are nearly those of older formats, as text; some cut. */
const text = fc
  .tuple(
    fc.oneof(
      fc.record(
        {
          completed: fc.array(fc.oneof(id, anything)),
          failed: fc.array(fc.record({ id, reason: anything })),
          inProgress: fc.oneof(id, anything),
        },
        { requiredKeys: [] },
      ),
      fc.record(
        {
          version: fc.constantFrom<unknown>(2, 3, '2'),
          results: fc.oneof(
            fc.dictionary(
              id,
              fc.record({ status: fc.constantFrom('success', 'error', 'glitch'), reason: anything, cost }, { requiredKeys: [] }),
            ),
            anything,
          ),
          claims: anything,
          totalUsd: fc.oneof(fc.double(), anything),
        },
        { requiredKeys: [] },
      ),
      anything,
    ),
    fc.double({ min: 0, max: 1.5, noNaN: true }),
  )
  .map(([document, part]) => {
    const whole = JSON.stringify(document);
    return whole.slice(0, part < 1 ? Math.floor(whole.length * part) : undefined);
  });

/** `written`: what alone may be read; without it, there is no telling. */
async function expectOpens(kind: Kind, directory: string, written?: ReadonlySet<string>): Promise<void> {
  const path = join(directory, kind.main);
  const before = filesIn(directory);
  const looked = await attempt(() => kind.open(path, 'read'));
  if (typeof looked !== 'string') await looked.close();
  // SQLite takes a log that was left into the database, also for who only looks.
  if (kind === file || looked === 'LOOPSTATE_FOREIGN') expectUntouched(before, directory);
  const store = await attempt(() => kind.open(path));
  if (typeof store === 'string') {
    if (store !== 'LOOPSTATE_UNAVAILABLE') expectUntouched(before, directory);
    return;
  }
  const aside = new Map<string, Buffer>();
  for (const { keptAs, where } of store.recovery) {
    if (keptAs === undefined) continue;
    aside.set(keptAs, readFileSync(keptAs));
    const isExact = kind === file || where.endsWith('-wal') || where.endsWith('.backup');
    if (isExact) expect(before.get(basename(where))?.equals(aside.get(keptAs)!), `${keptAs} is what ${where} was`).to.equal(true);
  }
  await expectWritten(store, written);
  await expectUsable(store);
  await store.close();
  const again = await kind.open(path);
  expect(again.recovery, 'findings after the repair').to.deep.equal([]);
  expect((await again.read(['item/one more']))[0]?.value).to.include({ status: 'completed' });
  await again.close();
  for (const [keptAs, bytes] of aside) expect(readFileSync(keptAs).equals(bytes), `${keptAs} stays`).to.equal(true);
}

function expectUntouched(before: Files, directory: string): void {
  const left = filesIn(directory);
  expect([...left.keys()].sort(), 'the names of what stands there').to.deep.equal([...before.keys()].sort());
  for (const [name, bytes] of before) expect(left.get(name)?.equals(bytes), `${name} is as it was`).to.equal(true);
}

/** A store, or the code with which it was refused. */
async function attempt(open: () => Promise<StateBackend>): Promise<StateBackend | ErrorCode> {
  try {
    return await open();
  } catch (error) {
    if (!isLoopStateError(error) || !REFUSALS.includes(error.code)) throw new AssertionError(`It rejects with ${show(error)}`);
    // A place is refused for what it holds, or for what the system or SQLite say: anything else is a defect in disguise.
    if (error.cause instanceof Error && !('code' in error.cause)) throw new AssertionError(`A defect: ${show(error.cause)}`);
    return error.code;
  }
}

async function expectWritten(store: StateBackend, written: ReadonlySet<string> | undefined): Promise<void> {
  const { records } = await followChanges(store, EMPTY_VIEW, { mayForget: false });
  for (const { key, value } of records.values()) {
    if (written !== undefined && !written.has(JSON.stringify([key, value])))
      throw new AssertionError(`${show(key)} never was ${show(value)}`);
  }
}

/** As a loop: what was recovered must make sense to it. */
async function expectUsable(store: StateBackend): Promise<void> {
  const state = await LoopState.open(store);
  await state.snapshot();
  expect(await state.begin('one more')).to.equal(true);
  await state.end('one more', { status: 'success' });
  await state.close();
}

async function makeSample(kind: Kind, ending: 'closed' | 'killed'): Promise<Sample> {
  const directory = mkdtempSync(join(tmpdir(), 'loopstate-sample-'));
  try {
    const written = new Set<string>();
    let store = await kind.open(join(directory, kind.main));
    let files: Files = new Map();
    for (let round = 0; round < 60; round++) {
      if (round === 40) {
        await store.close();
        store = await kind.open(join(directory, kind.main));
      }
      const key = `item/${round % 45}`;
      const value: Json = { status: 'completed', attempt: 1, output: `${round} `.repeat(1 + (round % 30)), by: `sample.${round}` };
      await store.commit({ puts: [{ key, value }], deletes: round % 9 === 8 ? [`item/${(round - 3) % 45}`] : [] });
      written.add(JSON.stringify([key, value]));
    }
    // While it is open: as a SIGKILL would leave it.
    if (ending === 'killed') files = filesIn(directory);
    await store.close();
    if (ending === 'closed') files = filesIn(directory);
    return { files: new Map([...files].filter(([name]) => !/(\.lock|\.holder|\.tmp|-shm)$/.test(name))), written };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function withFiles(files: Files, run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'loopstate-files-'));
  try {
    for (const [name, bytes] of files) writeFileSync(join(directory, name), bytes);
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function filesIn(directory: string): Files {
  return new Map(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name))]));
}
