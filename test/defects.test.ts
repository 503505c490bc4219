/**
 * The tests are worth something: real mistakes, made one at a time in the source of the product, turn them red, each in a test of what it
 * breaks. The same machinery with nothing broken leaves the same tests green.
 */
import { prove } from '@loopstate/conformance';
import { AssertionError, expect } from 'chai';
import type { Defect } from './defects/defect.js';
import { documentedRows, rowOf, WRITE_VARIABLE, writeDocument } from './defects/document.js';
import { fileDefects } from './defects/file-defects.js';
import { loopDefects } from './defects/loop-defects.js';
import { redisDefects } from './defects/redis-defects.js';
import { type TestRun, tryDefect, tryNothing } from './defects/run-defect.js';
import { sqliteDefects } from './defects/sqlite-defects.js';

/** How many are begun before their turn: as one ends, the next one must be at hand. */
const AHEAD = 2;

const groups = [
  { backend: 'file', title: 'The file backend', defects: fileDefects, least: 24 },
  { backend: 'sqlite', title: 'The SQLite backend', defects: sqliteDefects, least: 16 },
  { backend: 'redis', title: 'The Redis backend', defects: redisDefects, least: 14 },
  { backend: 'loop-state', title: 'LoopState and runLoop', defects: loopDefects, least: 18 },
] as const;
const all: readonly Defect[] = groups.flatMap(({ defects }) => defects);

const runs = new Map<Defect, Promise<TestRun>>();
const caught = new Map<Defect, string>();

describe('seeded defects', function () {
  this.timeout(240_000);

  after(() => {
    const rows = Array.from(caught, ([{ breaks, name }, title]) => `    ${breaks.padEnd(22)} ${name}\n${' '.repeat(27)}✗ ${title}`);
    if (rows.length > 0) console.log(`\n    promise or law × defect × test that caught it\n${rows.join('\n')}`);
    if (process.env[WRITE_VARIABLE] === undefined) return;
    expect(caught.size, 'caught: only a whole list is written').to.equal(all.length);
    writeDocument(groups.map((group) => ({ ...group, caughtBy: (defect) => caught.get(defect) ?? '' })));
  });

  for (const { backend, defects, least } of groups) {
    describe(backend, () => {
      for (const defect of defects) {
        it(`${defect.breaks}: one that ${defect.name} is caught`, async () => {
          caught.set(defect, titleOf(await beginAt(defect)));
        });
      }

      it('the tests that caught them are green where nothing is broken', async () => {
        for (const defect of defects) caught.set(defect, titleOf(await beginAt(defect)));
        const titles = new Set(defects.map((defect) => caught.get(defect) ?? ''));
        const tests = {
          files: [...new Set(defects.flatMap(({ caughtBy }) => caughtBy.files))],
          grep: [...titles].map((title) => `^${title.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`).join('|'),
        };
        const run = await tryNothing(new Set(defects.map(({ file }) => file)), tests);
        expect(run.broke ?? run.failed?.error, `${run.failed?.title ?? 'the run'} is red`).to.equal(undefined);
        expect(new Set(run.passed)).to.deep.equal(titles);
        prove({ test: 'S6 seeded defects', backend, counts: { cases: defects.length }, least: { cases: least } });
      });
    });
  }

  describe('what is no catch', () => {
    const file = 'packages/file/src/record-log.ts';
    const caughtBy = { files: ['packages/file/test/record-log.test.ts'], grep: 'RecordLog' };
    const tries: readonly (readonly [name: string, find: string, replace: string, outcome: string])[] = [
      [
        'a product that does not load',
        '\nconst CHUNK_ENTRIES',
        "\nthrow new Error('It does not load.');\nconst CHUNK_ENTRIES",
        'no result',
      ],
      [
        'an error that is no assertion',
        'const cut = new LogCut(',
        "if (revision >= 0) throw new Error('It fails.');\n    const cut = new LogCut(",
        'no assertion',
      ],
      ['a change that no test notices', 'CHUNK_ENTRIES = 1_000;', 'CHUNK_ENTRIES = 999;', 'unnoticed'],
      ['a defect that no longer applies', 'what is not there', '', 'refused'],
      ['a defect that applies twice', 'this.#index.get(', 'this.#index.set(', 'refused'],
      ['a defect that is no TypeScript', 'CHUNK_ENTRIES = 1_000;', 'CHUNK_ENTRIES = ;', 'refused'],
      ['a defect that is none', 'CHUNK_ENTRIES = 1_000;', 'CHUNK_ENTRIES =  1_000;', 'refused'],
    ];
    for (const [name, find, replace, outcome] of tries) {
      it(name, async () => {
        const run = tryDefect({ name, breaks: 'flat-cost', file, find, replace, caughtBy });
        expect(await run.then(outcomeOf, () => 'refused')).to.equal(outcome);
      });
    }
  });

  it('no two defects have one name, and the document lists them as they are', () => {
    expect(new Set(all.map(({ name, file }) => `${name} ${file}`)).size).to.equal(all.length);
    if (process.env[WRITE_VARIABLE] !== undefined) return; // It is written when all is done.
    expect(documentedRows(), `docs/seeded-defects.md: write it anew, with ${WRITE_VARIABLE}=1`).to.deep.equal(all.map(rowOf));
  });
});

/** The run of a defect; those of the next ones begin too. */
async function beginAt(defect: Defect): Promise<TestRun> {
  const place = all.indexOf(defect);
  for (const next of all.slice(place, place + 1 + AHEAD)) {
    if (runs.has(next)) continue;
    const run = tryDefect(next);
    run.catch(() => undefined); // Its own test is told.
    runs.set(next, run);
  }
  return await (runs.get(defect) as Promise<TestRun>);
}

function outcomeOf({ broke, failed }: TestRun): 'caught' | 'unnoticed' | 'no assertion' | 'no result' {
  if (broke !== undefined) return 'no result';
  if (failed === undefined) return 'unnoticed';
  return failed.isAssertion ? 'caught' : 'no assertion';
}

/** The title of the test that caught a defect. */
function titleOf(run: TestRun): string {
  const { broke, failed, passed } = run;
  if (failed !== undefined && outcomeOf(run) === 'caught') return failed.title;
  throw new AssertionError(
    `not caught: ${outcomeOf(run)}. ${broke ?? failed?.error ?? `${passed.length} tests passed: the suite has a hole.`}`,
  );
}
