/**
 * Proves the promise *always-starts*: files are damaged in every way at every byte, and the store opens, keeps every commit that any
 * intact line holds, reports what is lost, keeps the damaged bytes, and is healed. `damages.ts` says what intact lines hold.
 */
import { prove } from '@loopstate/conformance';
import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import { cuts, type Damage, damages, type Files, FOREIGN, Original } from './damages.js';
import { forgetOpenStores, ModelledDisk, noLock } from './modelled-disk.js';

function open(disk: ModelledDisk, compactAtBytes = 400): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes, journalSpaceBytes: 300, importOldFormat: () => [] });
}

interface Made {
  readonly files: Files;
  readonly original: Original;
  /** Every value that was ever put, as JSON, by key and revision. */
  readonly puts: ReadonlyMap<string, string>;
  readonly highestRevision: number;
  /** The revisions of what stands in the end. */
  readonly standing: ReadonlyMap<string, number>;
}

/** How a store was left: `alone` is the state file of one that was closed, without those beside it. */
type Ending = 'closed' | 'killed' | 'alone';

/** A store with a previous snapshot, journals, puts, replacements and deletions. */
async function make(ending: Ending): Promise<Made> {
  const disk = new ModelledDisk();
  const puts = new Map<string, string>();
  const standing = new Map<string, number>();
  let highestRevision = 0;
  let backend = await open(disk);
  for (let round = 0; round < 13; round++) {
    if (round === 9 && ending !== 'killed') {
      await backend.close();
      backend = await open(disk, 10_000);
    }
    const put = { key: `item/${round % 7}`, value: { round, text: 'é'.repeat(round % 3) } };
    const gone = round % 4 === 3 ? [`item/${(round - 2) % 7}`] : [];
    const result = await backend.commit({ puts: [put], deletes: gone });
    if (!result.ok) throw new Error('no conflict was expected');
    highestRevision = result.revision;
    puts.set(`${put.key}@${result.revision}`, JSON.stringify(put.value));
    standing.set(put.key, result.revision);
    for (const key of gone) standing.delete(key);
  }
  // A compaction beside may be under way.
  if (ending === 'killed') await new Promise((resolve) => setTimeout(resolve, 5));
  else await backend.close();
  const files = new Map([...disk.files()].filter(([name]) => !name.endsWith('.tmp') && (ending !== 'alone' || name === 'state.json')));
  return { files, original: new Original(files), puts, standing, highestRevision };
}

/** What became of one case. */
interface Verdict {
  readonly wrong: readonly string[];
  readonly isLost: boolean;
}

async function judge(made: Made, damage: Damage, original: Damage = damage): Promise<Verdict> {
  const disk = ModelledDisk.holding(damage.files);
  disk.hasLockFile = true;
  const must = made.original.intact(original);
  const backend = await open(disk).catch((error: unknown) => error as Error);
  if (backend instanceof Error) return { isLost: true, wrong: isRightlyRefused(backend, { disk, damage, must }) ? [] : [backend.message] };
  const wrong: string[] = [];
  const found = new Map<string, number>();
  for await (const { key, revision, record } of backend.changes(0)) {
    found.set(key, revision);
    if (made.puts.get(`${key}@${revision}`) !== JSON.stringify(record?.value)) wrong.push(`${key}@${revision} was never put so`);
  }
  for (const [key, revision] of must) {
    if (made.standing.has(key) && (found.get(key) ?? 0) < revision) wrong.push(`${key}@${revision} is in an intact line`);
  }
  const isLost =
    [...made.standing].some(([key, revision]) => found.get(key) !== revision) || [...found.keys()].some((key) => !made.standing.has(key));
  if (isLost && !isReported(backend)) wrong.push('a loss without a report');
  if (isLost && made.files.size > 1 && damage.touched.join() === 'state.json') wrong.push('the state file alone cost something');
  wrong.push(...lostAsides(backend, disk, damage));
  const next = await backend.commit({ puts: [{ key: 'next', value: null }] });
  // What is gone without a trace leaves no revision to go on from.
  if (!next.ok || (made.files.size > 1 && next.revision <= made.highestRevision)) wrong.push('commit/one-revision');
  await backend.close();
  wrong.push(...(await open(disk)).recovery.map(({ code }) => `reopened: ${code}`));
  return { wrong, isLost };
}

/** Where no line of ours is left, what stands there may be another's. */
function isRightlyRefused(
  error: Error,
  { disk, damage, must }: { disk: ModelledDisk; damage: Damage; must: Map<string, number> },
): boolean {
  const isUntouched = [...disk.files()].every(([name, bytes]) => damage.files.get(name)?.equals(bytes));
  return isLoopStateError(error, 'LOOPSTATE_FOREIGN') && damage.files.size === 1 && must.size === 0 && isUntouched;
}

/** The last line of the newest journal cannot be told from a write that was cut short; that is said too. */
function isReported({ recovery }: FileBackend): boolean {
  return recovery.some(({ code, severity }) => severity === 'loss' || code === 'torn-tail' || code === 'snapshot-empty');
}

/** Whatever is put aside is one of the files that were damaged, byte for byte. */
function lostAsides({ recovery }: FileBackend, disk: ModelledDisk, { files, touched }: Damage): string[] {
  return recovery.flatMap(({ keptAs }) => {
    const kept = keptAs === undefined ? undefined : disk.files().get(keptAs.split('/').at(-1)!);
    return keptAs === undefined || touched.some((name) => kept !== undefined && files.get(name)?.equals(kept))
      ? []
      : [`${keptAs} is not it`];
  });
}

describe('file: damage', function () {
  this.timeout(240_000);

  for (const ending of ['closed', 'killed', 'alone'] as const) {
    const what = ending === 'alone' ? 'a state file without those beside it' : `a store that was ${ending}`;
    it(`always-starts: of ${what}, every intact line is kept, any loss is reported, and the damaged bytes are put aside`, async () => {
      const made = await make(ending);
      let cases = 0;
      let losses = 0;
      // Three bits of each byte of what was closed; of what was killed, to be quicker, one.
      for (const damage of damages(made.files, ending === 'killed' ? 'in turn' : 'all')) {
        if (damage.files.size === 0) continue; // Nothing is left that could say that anything was there.
        const { wrong, isLost } = await judge(made, damage);
        expect(wrong, damage.label).to.deep.equal([]);
        cases++;
        if (isLost) losses++;
      }
      expect(losses).to.be.at.least(1);
      if (ending !== 'alone') expect(losses).to.be.at.most(cases / 2);
      prove({ test: 'S5 damage', backend: 'file', counts: { cases }, least: { cases: ending === 'alone' ? 2_000 : 2_400 } });
    });
  }

  it('always-starts: foreign text without any file of ours beside it is refused, and untouched', async () => {
    for (const text of FOREIGN) {
      const disk = ModelledDisk.holding(new Map([['state.json', Buffer.from(text)]]));
      const refusal = await open(disk).catch((error: unknown) => error);
      expect(isLoopStateError(refusal, 'LOOPSTATE_FOREIGN'), text).to.equal(true);
      expect([...disk.files()].map(([name, bytes]) => [name, bytes.toString()])).to.deep.equal([['state.json', text]]);
    }
  });

  it('always-starts: a line that is said to be intact, and is not, is missed', async () => {
    const made = await make('killed');
    const journals = [...made.files.keys()].filter((name) => name.endsWith('.journal'));
    let missed = 0;
    for (const damage of cuts(made.files)) {
      if (damage.touched[0] !== journals.at(-1)) continue;
      const { wrong } = await judge(made, damage, { label: 'a lie', files: made.files, touched: [] });
      if (wrong.length > 0) missed++;
    }
    expect(missed).to.be.greaterThan(0);
  });
});
