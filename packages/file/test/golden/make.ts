/**
 * Writes the golden files of the formats that this release writes and reads, and `expected.json`, which says what they hold. What is
 * there already is left alone, since it has to open for ever: a new format gets folders of its own.
 *
 * `node --import ./test/register.mjs --conditions=@loopstate/source packages/file/test/golden/make.ts`, then `pnpm format`.
 */
import fs from 'node:fs';
import type { Commit, Json } from '@loopstate/core';
import { encodeJournalHeader } from '../../src/journal.js';
import { checksum, endOfContent } from '../../src/lines.js';
import { openFileBackend } from '../../src/open-file-backend.js';
import { ModelledDisk, noLock, systemError } from '../modelled-disk.js';
import type { Expected, Golden } from './golden.js';

const HERE = new URL('./', import.meta.url);
const EXPECTED = new URL('./expected.json', import.meta.url);
const AT = 1_790_000_000_000;

const TEXTS = ['', 'é😀', '"\\\n\0', '["00000000",1]'];

const OLD_FIRST = {
  completed: ['a', 'prompts/ab', 'é "quoted" \\ 😀', '__proto__'],
  failed: [{ id: 'f', reason: 'no {reason}' }],
  inProgress: 'p',
};
const OLD_SECOND = {
  version: 2,
  results: {
    a: { status: 'success', cost: { usd: 1.25, costSource: 'reported' } },
    'prompts/ab': { status: 'error', reason: 'bad' },
    é: { status: 'success' },
  },
  claims: { c: { at: 1 } },
  totalUsd: 1.25,
};

interface Made {
  readonly disk: ModelledDisk;
  readonly expected: Expected;
}

/** Puts, replacements and deletions over several generations; what is asked for happens before the last commits. */
async function make(how: 'closed' | 'killed' | 'compacting'): Promise<Made> {
  const disk = new ModelledDisk();
  const open = () => openFileBackend(disk.statePath, { disk, lock: noLock, compactAtBytes: 600, journalSpaceBytes: 200, now: () => AT });
  const records: Record<string, { revision: number; value: Json }> = {};
  const replaced: Record<string, Json> = {};
  const backend = await open();
  for (let round = 0; round < 14; round++) {
    if (how === 'compacting' && round === 8)
      disk.fault = ({ name, path }) => (name === 'rename' && path === disk.statePath ? systemError('EIO', path) : undefined);
    const put = { key: `item/${round % 5}`, value: { status: 'completed', round, cost: round / 4, text: TEXTS[round % 4] ?? '' } };
    const gone = round % 6 === 5 ? [`item/${(round - 2) % 5}`] : [];
    const commit: Commit = { puts: [put], deletes: gone };
    const result = await backend.commit(commit);
    if (!result.ok) throw new Error('no conflict was expected');
    for (const [key, { revision, value }] of Object.entries(records))
      if (key === put.key || gone.includes(key)) replaced[`${key}@${revision}`] = value;
    for (const key of gone) delete records[key];
    records[put.key] = { revision: result.revision, value: put.value };
  }
  if (how === 'closed') await backend.close();
  return { disk, expected: { records, replaced, findings: [] } };
}

function save(name: string, files: ReadonlyMap<string, Buffer>, expected: Expected): void {
  const folder = new URL(`${name}/`, HERE);
  if (fs.existsSync(folder)) return;
  fs.mkdirSync(folder);
  for (const [file, bytes] of files) if (!file.endsWith('.tmp')) fs.writeFileSync(new URL(`${file}.golden`, folder), bytes);
  const golden: Golden = fs.existsSync(EXPECTED) ? (JSON.parse(fs.readFileSync(EXPECTED, 'utf8')) as Golden) : {};
  fs.writeFileSync(EXPECTED, JSON.stringify({ ...golden, [name]: expected }));
}

function cut(files: ReadonlyMap<string, Buffer>, name: string, bytesLost: number): Map<string, Buffer> {
  const bytes = files.get(name) ?? Buffer.alloc(0);
  return new Map([...files, [name, bytes.subarray(0, endOfContent(bytes) - bytesLost)]]);
}

function saveOld(name: string, document: object, ids: Readonly<Record<string, Json>>): void {
  const records = Object.fromEntries(Object.entries(ids).map(([id, value], at) => [`item/${id}`, { revision: at + 2, value }]));
  const bytes = Buffer.from(JSON.stringify(document, null, 2));
  save(name, new Map([['state.json', bytes]]), { records, replaced: {}, findings: [['old-format-imported', 'info']] });
  // The first two ids are whole in it.
  const kept = Object.fromEntries(Object.entries(records).slice(0, 2));
  const end = bytes.indexOf('é') + 1;
  save(`${name}-cut`, new Map([['state.json', bytes.subarray(0, end)]]), {
    records: kept,
    replaced: {},
    findings: [['old-format-salvaged', 'loss']],
  });
}

const closed = await make('closed');
const killed = await make('killed');
const compacting = await make('compacting');
const files = killed.disk.files();
const newest =
  [...files.keys()]
    .filter((name) => name.endsWith('.journal'))
    .sort()
    .at(-1) ?? '';
save('format-1-closed', closed.disk.files(), closed.expected);
save('format-1-killed', files, killed.expected);
save('format-1-compacting', compacting.disk.files(), compacting.expected);
save('format-1-alone', new Map([...closed.disk.files()].filter(([name]) => name === 'state.json')), closed.expected);
save('format-1-cut-snapshot', cut(files, 'state.json', 50), { ...killed.expected, findings: [['snapshot-damaged', 'warning']] });
save('format-1-cut-alone', cut(new Map([...closed.disk.files()].filter(([name]) => name === 'state.json')), 'state.json', 10), {
  ...closed.expected,
  findings: [['snapshot-damaged', 'loss']],
});
// A commit that was never acknowledged, half of its line written.
const line = Buffer.from('["00000000",99,1790000000000,[["item/0",');
const journal = files.get(newest) ?? Buffer.alloc(0);
const torn = Buffer.from(journal);
line.copy(torn, endOfContent(journal));
save('format-1-torn-journal', new Map([...files, [newest, torn]]), { ...killed.expected, findings: [['torn-tail', 'info']] });

const completed = { status: 'completed', attempt: 1, by: 'import.1' };
const failed = (reason: string) => ({ status: 'failed', attempt: 1, reason, by: 'import.1' });
saveOld('first', OLD_FIRST, {
  ...Object.fromEntries(OLD_FIRST.completed.map((id) => [id, completed])),
  f: failed('no {reason}'),
});
saveOld('second', OLD_SECOND, {
  a: { ...completed, costUsd: 1.25, cost: { usd: 1.25, costSource: 'reported' } },
  'prompts/ab': failed('bad'),
  é: completed,
});

const refused: Expected = { records: {}, replaced: {}, findings: [], refusal: 'LOOPSTATE_NEWER_FORMAT' };
const rest = '"format":2,"store":"s",';
save('newer-snapshot', new Map([['state.json', Buffer.from(`{"loopstate":"${checksum(rest)}",${rest}\n"new":[]}\n`)]]), refused);
const header = encodeJournalHeader({ store: 's', generation: 99, since: 0, after: 0 }).slice(12, -1).replace('"format":1', '"format":2');
save('newer-journal', new Map([...files, ['state.json.99.journal', Buffer.from(`["${checksum(header)}",${header}\n`)]]), refused);
