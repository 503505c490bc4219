/**
 * Proves the promise *always-starts*: files are damaged in every way at every byte, and the store opens, keeps every commit
 * that any intact line holds, reports what is lost, keeps the damaged bytes, and is healed. What intact lines hold is judged by
 * searching the damaged files for the very bytes of the undamaged ones, without any code of recovery.
 */
import type { Json } from '@loopstate/core';
import { expect } from 'chai';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import { forgetOpenStores, ModelledDisk, noLock } from './modelled-disk.js';

/** One bit that keeps a letter a letter, one that changes its case, one that makes it no ASCII. */
const MASKS = [0x01, 0x20, 0x80];

type Files = ReadonlyMap<string, Buffer>;

function open(disk: ModelledDisk, compactAtBytes = 500): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes, journalSpaceBytes: 300 });
}

interface Made {
  readonly files: Files;
  /** Every value that was ever put, by key and revision. */
  readonly puts: ReadonlyMap<string, Json>;
  readonly highestRevision: number;
  /** What stands in the end. */
  readonly standing: ReadonlyMap<string, { readonly revision: number; readonly value: Json }>;
}

/** A store with a previous snapshot, journals, puts, replacements and deletions. */
async function make(ending: 'closed' | 'killed'): Promise<Made> {
  const disk = new ModelledDisk();
  const puts = new Map<string, Json>();
  const standing = new Map<string, { revision: number; value: Json }>();
  let highestRevision = 0;
  let backend = await open(disk);
  for (let round = 0; round < 13; round++) {
    if (round === 9 && ending === 'closed') {
      await backend.close();
      backend = await open(disk, 10_000);
    }
    const put = { key: `item/${round % 7}`, value: { round, text: 'é'.repeat(round) } };
    const gone = round % 4 === 3 ? [`item/${(round - 2) % 7}`] : [];
    const result = await backend.commit({ puts: [put], deletes: gone });
    if (!result.ok) throw new Error('no conflict was expected');
    highestRevision = result.revision;
    puts.set(`${put.key}@${result.revision}`, put.value);
    standing.set(put.key, { revision: result.revision, value: put.value });
    for (const key of gone) standing.delete(key);
  }
  if (ending === 'closed') await backend.close();
  else await new Promise((resolve) => setTimeout(resolve, 5)); // A compaction beside may be under way.
  return { files: disk.files(), puts, standing, highestRevision };
}

interface Damage {
  readonly label: string;
  readonly files: Map<string, Buffer>;
  readonly touched: readonly string[];
}

function* damages(files: Files): Generator<Damage> {
  const kinds = [...files].filter(([name]) => !name.endsWith('.tmp'));
  for (const [name, bytes] of kinds) {
    const end = contentBytes(bytes);
    const make = (label: string, damaged: Buffer | undefined): Damage => {
      const left = new Map(files);
      if (damaged === undefined) left.delete(name);
      else left.set(name, damaged);
      return { label: `${name} ${label}`, files: left, touched: [name] };
    };
    yield make('deleted', undefined);
    yield make('emptied', Buffer.alloc(0));
    yield make('zeroed', Buffer.alloc(bytes.length));
    yield make('doubled', Buffer.concat([bytes, bytes]));
    yield make('foreign', Buffer.from('{"name":"something else"}'));
    for (let at = 0; at < end; at++) {
      for (const mask of MASKS) {
        const flipped = Buffer.from(bytes);
        flipped[at] = flipped[at]! ^ mask;
        yield make(`byte ${at} ^ ${mask}`, flipped);
      }
    }
    for (let cut = 1; cut <= end; cut++) yield make(`cut at ${cut}`, bytes.subarray(0, cut));
    for (let at = 0; at < end; at += 32) {
      yield make(`zeros at ${at}`, Buffer.concat([bytes.subarray(0, at), Buffer.alloc(64), bytes.subarray(at + 64)]));
      yield make(`removed at ${at}`, Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 9)]));
    }
  }
  for (const [a, bytesOfA] of kinds) {
    for (const [b, bytesOfB] of kinds) {
      if (a >= b) continue;
      yield { label: `${a} and ${b} swapped`, files: new Map([...files, [a, bytesOfB], [b, bytesOfA]]), touched: [a, b] };
      yield { label: `${a} and ${b} emptied`, files: new Map([...files, [a, Buffer.alloc(0)], [b, Buffer.alloc(0)]]), touched: [a, b] };
      yield { label: `${a} under the name of ${b} too`, files: new Map([...files, [b, Buffer.from(bytesOfA)]]), touched: [b] };
    }
  }
}

function contentBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

/** The puts that the lines hold which stand in `left` byte for byte as in `original`, unless such a line deletes them later. */
function intact(original: Files, left: Files): Map<string, number> {
  const held = new Map<string, number>();
  const gone = new Map<string, number>();
  const note = (revisions: Map<string, number>, key: string, revision: number) =>
    revisions.set(key, Math.max(revisions.get(key) ?? 0, revision));
  const all = Buffer.concat([...left.values()]);
  for (const bytes of original.values()) {
    for (const line of bytes.subarray(0, contentBytes(bytes)).toString().split('\n')) {
      const text = line.endsWith(',') ? line.slice(0, -1) : line;
      if (!text.startsWith('["') || !all.includes(text)) continue;
      const [, first, second, puts, deletes] = JSON.parse(text) as [string, number, unknown, [string][]?, string[]?];
      for (const [key] of puts ?? []) note(held, key, first);
      for (const key of deletes ?? []) note(gone, key, first);
      if (Array.isArray(second)) for (const [key, revision] of second as [string, number][]) note(held, key, revision);
    }
  }
  for (const name of ['state.json', 'state.json.previous']) {
    const snapshot = original.get(name);
    if (snapshot === undefined || ![...left.values()].some((bytes) => bytes.equals(snapshot))) continue;
    // A whole snapshot says of every key that is not in it that it is gone.
    const { revision, chunks } = JSON.parse(snapshot.toString()) as { revision: number; chunks: [string, number, [string][]][] };
    const keys = new Set(chunks.flatMap(([, , records]) => records.map(([key]) => key)));
    for (const key of held.keys()) if (!keys.has(key)) note(gone, key, revision + 0.5);
  }
  for (const [key, revision] of gone) if ((held.get(key) ?? 0) < revision) held.delete(key);
  return held;
}

for (const ending of ['closed', 'killed'] as const) {
  describe(`file: damage to a store that was ${ending}`, () => {
    it('always-starts: every intact line is kept, any loss is reported, and the damaged bytes are put aside', async function () {
      this.timeout(240_000);
      const made = await make(ending);
      let cases = 0;
      let losses = 0;
      for (const damage of damages(made.files)) {
        cases++;
        if (await judge(made, damage)) losses++;
      }
      console.log(`      ${cases} cases, ${losses} with a loss`);
      expect(cases).to.be.at.least(5_000);
      expect(losses).to.be.at.least(1);
      expect(losses).to.be.at.most(cases / 2);
    });

    it('always-starts: the state file alone, in any state, costs nothing', async () => {
      const made = await make(ending);
      for (const damage of damages(made.files)) {
        if (damage.touched.join() !== 'state.json') continue;
        const backend = await open(ModelledDisk.holding(damage.files));
        expect(await contents(backend), damage.label).to.deep.equal([...made.standing].map(([key, { value }]) => [key, value]).sort());
        expect(
          backend.recovery.filter(({ severity }) => severity === 'loss'),
          damage.label,
        ).to.deep.equal([]);
      }
    });
  });
}

/** Judges one case; true if something was lost. */
async function judge(made: Made, { label, files, touched }: Damage): Promise<boolean> {
  const disk = ModelledDisk.holding(files);
  const backend = await open(disk);
  const found = new Map<string, number>();
  for await (const { key, revision, record } of backend.changes(0)) {
    found.set(key, revision);
    expect(record?.value, `${label}: ${key}@${revision} was put so`).to.deep.equal(made.puts.get(`${key}@${revision}`));
  }
  for (const [key, revision] of intact(made.files, files)) {
    const standing = made.standing.get(key);
    if (standing !== undefined) expect(found.get(key) ?? 0, `${label}: ${key} is in an intact line`).to.be.at.least(revision);
  }
  const isLost =
    [...made.standing].some(([key, { revision }]) => found.get(key) !== revision) ||
    [...found.keys()].some((key) => !made.standing.has(key));
  // The last line of the newest journal cannot be told from a write that was cut short; that is said too.
  if (isLost)
    expect(
      backend.recovery.filter(({ code, severity }) => severity === 'loss' || code === 'torn-tail'),
      label,
    ).not.to.deep.equal([]);
  for (const { keptAs } of backend.recovery) {
    if (keptAs === undefined) continue;
    const kept = disk.files().get(keptAs.split('/').at(-1)!);
    expect(
      touched.some((name) => files.get(name)?.equals(kept!)),
      `${label}: ${keptAs}`,
    ).to.equal(true);
  }
  const next = await backend.commit({ puts: [{ key: 'next', value: null }] });
  expect(next.ok && next.revision, `${label}: commit/one-revision`).to.be.greaterThan(made.highestRevision);
  await backend.close();
  const healed = await open(disk);
  expect(healed.recovery, `${label}, reopened`).to.deep.equal([]);
  return isLost;
}

async function contents(backend: FileBackend): Promise<[string, unknown][]> {
  const found: [string, unknown][] = [];
  for await (const { key, record } of backend.changes(0)) found.push([key, record?.value]);
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}
