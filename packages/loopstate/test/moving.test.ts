/**
 * The text of an export is noticed to be cut or damaged wherever that happens, and a job log means what GNU parallel meant. The commands
 * are tested from the outside, in test/cli-move.test.ts and test/cli-export.test.ts.
 */
import { constants } from 'node:buffer';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prove } from '@loopstate/conformance';
import { type Json, LoopReader, LoopState, type MovableEntry, openMemoryBackend } from '@loopstate/core';
import { expect } from 'chai';
import { byteLines } from '../src/byte-lines.js';
import { compareLoops, copyLoop } from '../src/copy-loop.js';
import { exportLines, version2Text } from '../src/export-text.js';
import { importItems } from '../src/import-items.js';
import { type ImportOptions, openImport } from '../src/import-source.js';

const ENTRIES: readonly MovableEntry[] = [
  { id: 'a', item: { status: 'completed', attempt: 1, output: { text: 'ä\u2028"\n', list: [1, null] } } },
  { id: '__proto__', item: { status: 'failed', attempt: 2, reason: 'exit 1', cost: { usd: 0.25 }, costUsd: 0.5 } },
  { id: 'nul\0 日本語', item: { status: 'outstanding', attempt: 0, glitches: 1, waitMs: 10, lastError: 'busy' } },
];

describe('An export', () => {
  const at = inDirectory();

  it('comes back as it was, and is the same each time', async () => {
    const text = await exported(ENTRIES, 0.125);
    const { format, carriedUsd, isWhole, leftOut, entries } = await imported(at(text));
    expect({ format, carriedUsd, isWhole, leftOut, entries }).to.deep.equal({
      format: 'jsonl',
      carriedUsd: 0.125,
      isWhole: true,
      leftOut: 0,
      entries: ENTRIES,
    });
    expect(await exported(ENTRIES, 0.125)).to.equal(text);
    expect((await imported(at(text.replaceAll('\n', '\r\n')))).entries, 'from a system with other line ends').to.deep.equal(ENTRIES);
    expect((await imported(at(await exported([])))).entries).to.deep.equal([]);
  });

  it('is refused wherever it was cut, and with --partial gives what is whole', async () => {
    const bytes = Buffer.from(await exported(ENTRIES, 0.125));
    const ends = [...bytes.entries()].filter(([, byte]) => byte === 0x0a).map(([index]) => index);
    let cases = 0;
    // Without its last byte, the newline, it is whole.
    for (let length = 0; length < bytes.length - 1; length++) {
      const path = at(bytes.subarray(0, length));
      expect(await codeOf(path), `${length} bytes`).to.equal('LOOPSTATE_FOREIGN');
      const whole = ends.filter((end) => end <= length).length - 1;
      if (length >= ends[0]!) {
        const { entries, isWhole } = await imported(path, { isPartial: true });
        expect(entries, `${length} bytes`).to.deep.equal(ENTRIES.slice(0, Math.min(whole, ENTRIES.length)));
        expect(isWhole).to.equal(false);
      }
      cases++;
    }
    prove({ test: 'M3 cut exports', backend: 'none', counts: { cases }, least: { cases: 400 } });
  });

  it('is refused whichever byte was damaged, and whichever line is missing, doubled, moved, or after the end', async () => {
    const text = await exported(ENTRIES, 0.125);
    const bytes = Buffer.from(text);
    let cases = 0;
    for (const mask of [0x01, 0x20, 0x80]) {
      for (let index = 0; index < bytes.length - 1; index++) {
        const damaged = Buffer.from(bytes);
        damaged[index]! ^= mask;
        expect(await codeOf(at(damaged)), `byte ${index} ^ ${mask}`).to.match(/^LOOPSTATE_(FOREIGN|NEWER_FORMAT)$/);
        cases++;
      }
    }
    const lines = text.trimEnd().split('\n');
    for (let n = 0; n < lines.length; n++) {
      const others = lines.filter((_, index) => index !== n);
      const variants = [others, [...lines, lines[n]], [...others, lines[n]], lines.with(n, `${lines[n]}${lines[n]}`), lines.with(n, '')];
      for (const variant of variants) {
        if (variant.join() === lines.join()) continue;
        expect(await codeOf(at(`${variant.join('\n')}\n`)), `line ${n}`).to.equal('LOOPSTATE_FOREIGN');
        cases++;
      }
    }
    prove({ test: 'M4 damaged exports', backend: 'none', counts: { cases }, least: { cases: 1_000 } });
  });

  it('with --partial gives what can be read around the damage, and says how much that is not', async () => {
    const lines = (await exported(ENTRIES)).trimEnd().split('\n');
    const entriesOf = async (text: string | Buffer) => {
      const { entries, leftOut, isWhole } = await imported(at(text), { isPartial: true, format: 'jsonl' });
      return [entries.map(({ id }) => ENTRIES.findIndex((entry) => entry.id === id)).join(), leftOut, isWhole];
    };
    expect(await entriesOf(lines.with(2, '{"id":"x"').join('\n'))).to.deep.equal(['0,2', 1, false]);
    expect(await entriesOf(lines.slice(1).join('\n')), 'without its first line').to.deep.equal(['0,1,2', 0, false]);
    expect(await entriesOf(lines.with(1, '\x00').slice(0, -1).join('\n'))).to.deep.equal(['1,2', 1, false]);
    const binary = Buffer.concat([Buffer.from(`${lines[0]}\n`), Buffer.alloc(3_000_000, 0xff), Buffer.from(`\n${lines[3]}\n`)]);
    expect(await entriesOf(binary)).to.deep.equal(['2', 1, false]);
    expect(await entriesOf(lines.join('\n')), 'whole').to.deep.equal(['0,1,2', 0, true]);
  });

  it('of a newer format is refused, with --partial too; and what is no export at all', async () => {
    const text = await exported(ENTRIES);
    for (const newer of [text.replace('"format":1', '"format":2'), text.replace('"records":1', '"records":2')]) {
      expect(await codeOf(at(newer))).to.equal('LOOPSTATE_NEWER_FORMAT');
      expect(await codeOf(at(newer), { isPartial: true })).to.equal('LOOPSTATE_NEWER_FORMAT');
    }
    for (const other of ['', '\n', 'hello', '{}', '[]', '{"version":3}', '{"loopstate":"end","items":0}', '\xff'])
      expect(await codeOf(at(other)), other).to.equal('LOOPSTATE_FOREIGN');
    expect(await codeOf(join(at(''), 'nothing'))).to.equal('LOOPSTATE_BAD_OPTION');
    expect(await codeOf(at(text), { itemsPath: at(text) })).to.equal('LOOPSTATE_BAD_OPTION');
    expect(await codeOf(at(text), { format: 'xml' as never })).to.equal('LOOPSTATE_BAD_OPTION');
  });

  it('is not opened for items that nobody goes through', async () => {
    const paths = [at(await exported(ENTRIES)), at('Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n')];
    const raised: unknown[] = [];
    const note = (error: unknown): void => void raised.push(error);
    for (const path of paths) {
      const source = await openImport(path);
      rmSync(path);
      process.prependListener('uncaughtException', note);
      source.items();
      await new Promise((resolve) => setTimeout(resolve, 30));
      process.off('uncaughtException', note);
    }
    expect(raised).to.deep.equal([]);
  });

  it('is moved by nothing that was given an option which is none', async () => {
    const source = at(await exported(ENTRIES));
    const state = await LoopState.open(openMemoryBackend());
    const from = await LoopReader.open(openMemoryBackend());
    const wrong: readonly ((options: object) => Promise<unknown>)[] = [
      (options) => openImport(source, options),
      async (options) => importItems(state, (await openImport(source)).items(), options),
      (options) => copyLoop(from, state, options),
      (options) => compareLoops(from, from, options),
    ];
    for (const move of wrong) {
      const error: unknown = await move({ partial: true }).catch((reason: unknown) => reason);
      expect(error, String(move)).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    }
    expect(state.progress.completed).to.equal(0);
    await state.close();
  });

  it('is looked for in vain in what is larger than any text can be, and that is refused too', async () => {
    for (const bytes of [constants.MAX_STRING_LENGTH + 1, 3 * 1_024 ** 3]) {
      const path = at('{');
      truncateSync(path, bytes);
      expect(await codeOf(path), `${bytes} bytes`).to.equal('LOOPSTATE_FOREIGN');
    }
  });

  it('of a loop that went on meanwhile counts as its last line of each item says', async () => {
    const [a, b, c] = ENTRIES as [MovableEntry, MovableEntry, MovableEntry];
    const text = await exported([]);
    const later = { id: a.id, item: c.item };
    const body = [a, b, later].map(({ id, item }) => `${JSON.stringify({ id, ...item })}\n`).join('');
    const path = at(`${text.split('\n')[0]}\n${body}`);
    expect((await imported(path, { isPartial: true })).entries).to.deep.equal([b, later]);
  });

  it('in the second older format is read back with its outcomes, reasons and costs', async () => {
    const { format, entries, carriedUsd } = await imported(at(await exported(ENTRIES, 0.125, version2Text)));
    expect(format).to.equal('v2');
    expect(entries).to.deep.equal([
      { id: 'a', item: { status: 'completed', attempt: 1 } },
      { id: '__proto__', item: { status: 'failed', attempt: 1, reason: 'exit 1', cost: { usd: 0.25 }, costUsd: 0.25 } },
    ]);
    expect(carriedUsd, 'what was carried, and what no result tells of').to.equal(0.375);
    const document = JSON.parse(await exported(ENTRIES, 0, version2Text)) as { [name: string]: Json };
    expect(Object.keys(document)).to.deep.equal(['version', 'results', 'claims', 'totalUsd']);
    expect(await codeOf(at(JSON.stringify(document)), { format: 'v1' })).to.equal('LOOPSTATE_FOREIGN');
    // Read as if it were UTF-8, two ids would be one.
    const latin1 = JSON.stringify({ version: 2, results: { Müller: { status: 'success' }, Möller: { status: 'success' } } });
    expect(await codeOf(at(Buffer.from(latin1, 'latin1')))).to.equal('LOOPSTATE_FOREIGN');
    expect((await imported(at('\ufeff{"completed":["x"],"failed":[{"id":"y","reason":"no"}]}'))).format).to.equal('v1');
  });

  it('in an older format is refused where entries of it can be no items; with --partial they are left out', async () => {
    for (const [document, leftOut] of [
      [{ completed: ['', 'good', 7], failed: ['none', { reason: 'no id' }] }, 4],
      [{ version: 2, results: { '': { status: 'success' }, good: { status: 'success' }, odd: { status: 'done' }, none: null } }, 3],
    ] as const) {
      const path = at(JSON.stringify(document));
      expect(await codeOf(path)).to.equal('LOOPSTATE_FOREIGN');
      expect(await openImport(path, { isPartial: true })).to.include({ leftOut, isWhole: false });
      expect((await imported(path, { isPartial: true })).entries).to.deep.equal([
        { id: 'good', item: { status: 'completed', attempt: 1 } },
      ]);
    }
  });

  it('in an older format is refused wherever it was cut, and with --partial gives what is whole', async () => {
    const whole = { version: 2, results: { a: { status: 'success' }, 日本: { status: 'success' } }, claims: {}, totalUsd: 0.5 };
    const bytes = Buffer.from(JSON.stringify(whole));
    const seen = new Set<string>();
    for (let length = 0; length < bytes.length; length++) {
      const path = at(bytes.subarray(0, length));
      expect(await codeOf(path), `${length} bytes`).to.equal('LOOPSTATE_FOREIGN');
      // Of less than that nothing says what it is.
      if (length < '{"version":2,'.length) expect(await codeOf(path, { isPartial: true })).to.equal('LOOPSTATE_FOREIGN');
      else {
        const { entries, isWhole, format } = await imported(path, { isPartial: true });
        expect({ isWhole, format }, `${length} bytes`).to.deep.equal({ isWhole: false, format: 'v2' });
        seen.add(entries.map(({ id }) => id).join());
      }
    }
    expect([...seen]).to.deep.equal(['', 'a', 'a,日本']);
    expect(await codeOf(at('{"half": 1, "anoth'), { isPartial: true })).to.equal('LOOPSTATE_FOREIGN');
  });
});

/** As GNU parallel 20221122 writes it: in the order of the ends, a job that is tried again once more, a line break in a command as NUL. */
const JOB_LOG = [
  'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand',
  "1\t:\t1795540391.317\t     0.000\t0\t0\t0\t0\techo 'a b'",
  "3\t:\t1795540391.333\t     0.002\t0\t0\t0\t0\techo ''",
  '2\tserver\t1795540391.329\t     0.006\t0\t0\t3\t0\techo false',
  "5\t:\t1795540391.346\t     0.003\t0\t0\t0\t0\techo 't\tab'",
  '4\t:\t1795540391.350\t     0.015\t0\t0\t0\t9\techo kill',
  '2\t:\t1795540391.730\t     0.009\t0\t0\t0\t0\techo false',
  "6\t:\t1795540402.612\t     0.028\t0\t4\t-1\t15\techo 'x\0y'",
  '',
].join('\n');

describe('A job log', () => {
  const at = inDirectory();
  const done = { status: 'completed', attempt: 1 };

  it('gives each command, as it ended last', async () => {
    const { format, entries } = await imported(at(JOB_LOG));
    expect(format).to.equal('joblog');
    expect(entries).to.deep.equal([
      { id: "echo 'a b'", item: done },
      { id: "echo ''", item: done },
      { id: "echo 't\tab'", item: done },
      { id: 'echo kill', item: { status: 'failed', attempt: 1, reason: 'signal SIGKILL' } },
      { id: 'echo false', item: done },
      { id: "echo 'x\ny'", item: { status: 'failed', attempt: 1, reason: 'signal SIGTERM' } },
    ]);
    expect((await imported(at(JOB_LOG.replace('\t-1\t15\t', '\t255\t0\t')))).entries.at(-1)?.item.reason).to.equal('exit 255');
  });

  it('gives with the file of the arguments each line that has ended, in the order of that file', async () => {
    const itemsPath = at('a b\nfalse\n\nkill\nt\tab\nx y\nnever run\n');
    const { entries, isWhole } = await imported(at(JOB_LOG), { itemsPath });
    expect(entries.map(({ id, item }) => `${id} ${item.status}`)).to.deep.equal([
      'a b completed',
      'false completed',
      'kill failed',
      't\tab completed',
      'x y failed',
    ]);
    expect(isWhole).to.equal(true);
  });

  it('that was cut, damaged, or does not fit the file is refused; with --partial the rest of it is taken', async () => {
    const items = 'a b\nfalse\n\nkill\nt\tab\nx y\n';
    const cut = JOB_LOG.slice(0, -4);
    const damaged = JOB_LOG.replace('\t3\t0\t', '\tx\t0\t');
    for (const [log, lines] of [
      [cut, items],
      [damaged, items],
      [JOB_LOG, 'a b\nfalse\n'],
      [JOB_LOG, items.replace('kill', 'x'.repeat(1_025))],
    ] as const) {
      const itemsPath = at(lines);
      expect(await codeOf(at(log), { itemsPath })).to.equal('LOOPSTATE_FOREIGN');
      const { leftOut, isWhole } = await imported(at(log), { itemsPath, isPartial: true });
      expect(leftOut).to.be.at.least(1);
      expect(isWhole).to.equal(false);
    }
    expect(await codeOf(at(cut))).to.equal('LOOPSTATE_FOREIGN');
    expect((await imported(at(cut), { isPartial: true })).entries).to.have.length(5);
    const long = JOB_LOG.replace('echo kill', 'x'.repeat(1_025));
    expect(await codeOf(at(long))).to.equal('LOOPSTATE_FOREIGN');
    const rest = await imported(at(long), { isPartial: true });
    expect(rest.entries).to.have.length(5);
    expect(rest).to.include({ leftOut: 1, isWhole: false });
  });
});

describe('byteLines', () => {
  it('finds the same lines however the bytes are cut', async () => {
    const bytes = Buffer.concat([Buffer.from('\ufeffa\r\n\näß😀\n'), Buffer.from([0xff, 0x0a]), Buffer.from(`${'x'.repeat(40)}\nlast`)]);
    for (let chunkBytes = 1; chunkBytes <= bytes.length; chunkBytes++) {
      const chunks = async function* (): AsyncGenerator<Buffer> {
        for (let from = 0; from < bytes.length; from += chunkBytes) yield bytes.subarray(from, from + chunkBytes);
      };
      const found = [];
      for await (const { text, isEnded } of byteLines(chunks(), 20)) found.push(isEnded ? text : [text]);
      expect(found, `${chunkBytes} bytes`).to.deep.equal(['a', '', 'äß😀', undefined, undefined, ['last']]);
    }
  });
});

/** Gives each text a file of its own, in a directory that is removed after the test. */
function inDirectory(): (content: string | Buffer) => string {
  let directory = '';
  let files = 0;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'loopstate-moving-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  return (content) => {
    const path = join(directory, `${++files}`);
    writeFileSync(path, content);
    return path;
  };
}

async function exported(entries: readonly MovableEntry[], carriedUsd = 0, as = exportLines): Promise<string> {
  const backend = openMemoryBackend();
  const state = await LoopState.open(backend);
  await state.putCarriedUsd(carriedUsd);
  await state.putItems(entries, () => true);
  let text = '';
  for await (const part of as(await LoopReader.open(backend))) text += part;
  return text;
}

async function imported(path: string, options: ImportOptions = {}) {
  const source = await openImport(path, options);
  const entries: MovableEntry[] = [];
  for await (const entry of source.items()) entries.push(entry);
  return { ...source, entries };
}

async function codeOf(path: string, options: ImportOptions = {}): Promise<string> {
  return await openImport(path, options).then(
    () => 'imported',
    (error: { code?: string }) => error.code ?? String(error),
  );
}
