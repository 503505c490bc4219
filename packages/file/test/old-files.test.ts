/**
 * Proves that state files of older formats are taken over: whole ones wholly, torn ones as far as they are complete, for every
 * byte that they may end at. No id is ever made of half an id, and the original is kept.
 */
import { isLoopStateError, type Json, type Put } from '@loopstate/core';
import { expect } from 'chai';
import { parseOldFile } from '../src/old-file.js';
import { type FileBackend, openFileBackend } from '../src/open-file-backend.js';
import { forgetOpenStores, ModelledDisk, noLock } from './modelled-disk.js';

const FIRST = {
  completed: ['a', 'ab', 'abc "quoted" \\ 😀', '__proto__'],
  failed: [
    { id: 'f1', reason: 'no {reason}' },
    { id: 'f2', reason: 'é' },
  ],
  inProgress: 'p',
};
const SECOND = {
  version: 2,
  results: {
    a: { status: 'success', cost: { usd: 1.25, costSource: 'reported' } },
    ab: { status: 'error', reason: 'bad' },
    __proto__x: { status: 'success' },
  },
  claims: { c: { at: 1 } },
  totalUsd: 1.25,
};

/** One record per id, told apart by what became of it. */
function importIds(document: { readonly [name: string]: Json }): Put[] {
  const { completed, failed, results } = document as {
    completed?: string[];
    failed?: { id: string }[];
    results?: Record<string, { status: string }>;
  };
  return [
    ...(completed ?? []).map((id) => ({ key: id, value: 'success' })),
    ...(failed ?? []).map(({ id }) => ({ key: id, value: 'error' })),
    ...Object.entries(results ?? {}).map(([id, { status }]) => ({ key: id, value: status })),
  ];
}

function open(disk: ModelledDisk): Promise<FileBackend> {
  forgetOpenStores();
  return openFileBackend(disk.statePath, { disk, lock: noLock, journalSpaceBytes: 300, importOldFormat: importIds });
}

async function contents(backend: FileBackend): Promise<Map<string, Json | undefined>> {
  const found = new Map<string, Json | undefined>();
  for await (const { key, record } of backend.changes(0)) found.set(key, record?.value);
  return found;
}

describe('file: older formats', () => {
  for (const [name, document] of Object.entries({ first: FIRST, second: SECOND })) {
    for (const text of [JSON.stringify(document, null, 2), JSON.stringify(document)]) {
      it(`always-starts: the ${name} format, ${text.includes('\n') ? 'pretty' : 'dense'}, is taken over whole or torn at any byte`, async function () {
        this.timeout(60_000);
        const all = new Map(importIds(document as unknown as { [name: string]: Json }).map(({ key, value }) => [key, value]));
        const bytes = Buffer.from(text);
        let known = 0;
        for (let cut = 1; cut <= bytes.length; cut++) {
          for (const torn of [bytes.subarray(0, cut), Buffer.concat([bytes.subarray(0, cut), Buffer.alloc(bytes.length - cut)])]) {
            const disk = ModelledDisk.holding(new Map([['state.json', torn]]));
            const backend = await open(disk);
            const found = await contents(backend);
            for (const [id, status] of found) expect(all.get(id), `${id}, cut at ${cut}`).to.equal(status);
            expect(found.size, `cut at ${cut}`).to.be.at.least(known);
            known = Math.max(known, found.size);
            const [report] = backend.recovery;
            expect([report?.code, report?.severity]).to.deep.equal(
              cut === bytes.length ? ['old-format-imported', 'info'] : ['old-format-salvaged', 'loss'],
            );
            expect(
              disk
                .files()
                .get(report?.keptAs?.split('/').at(-1) ?? '')
                ?.equals(torn),
              'the original is kept',
            ).to.equal(true);
          }
        }
        expect(known).to.equal(all.size);
      });
    }
  }

  it('what was taken over survives the loss of the state file', async () => {
    const disk = ModelledDisk.holding(new Map([['state.json', Buffer.from(JSON.stringify(FIRST))]]));
    await (await open(disk)).close();
    const files = disk.files();
    files.delete('state.json');
    const again = await open(ModelledDisk.holding(files));
    expect((await contents(again)).size).to.equal(6);
    expect(again.recovery.map(({ code, severity }) => [code, severity])).to.deep.equal([['snapshot-missing', 'warning']]);
  });

  it('by default the records are those of a loop', async () => {
    const disk = ModelledDisk.holding(new Map([['state.json', Buffer.from(JSON.stringify(SECOND))]]));
    forgetOpenStores();
    const backend = await openFileBackend(disk.statePath, { disk, lock: noLock });
    const [done, failed] = await backend.read(['item/a', 'item/ab']);
    expect(done?.value).to.include({ status: 'completed' });
    expect(failed?.value).to.include({ status: 'failed' });
  });

  it('members may be missing; {"version":2} alone is one', () => {
    for (const text of ['{"version":2}', '{"completed":[]}', '{"failed":[]}', '{"version":2,"results":{}}']) {
      expect(parseOldFile(Buffer.from(text))?.isTorn, text).to.equal(false);
    }
  });

  it('other content is none, and is refused, untouched, with nothing beside it', async () => {
    const foreign = [
      '{}',
      '[]',
      'null',
      '"text"',
      '{"name":"x"}',
      '{"version":3}',
      '{"version":2,"lockfileVersion":1}',
      '{"completed":1}',
      '# Notes\n',
      '{"completed":[]} x',
      '{"nam',
      '{"version":2,"x',
      '['.repeat(100_000),
    ];
    for (const text of foreign) {
      const bytes = Buffer.from(text);
      const disk = ModelledDisk.holding(new Map([['state.json', bytes]]));
      let refusal: unknown;
      await open(disk).catch((error: unknown) => {
        refusal = error;
      });
      expect(isLoopStateError(refusal, 'LOOPSTATE_FOREIGN'), text.slice(0, 40)).to.equal(true);
      expect([...disk.files()], text.slice(0, 40)).to.deep.equal([['state.json', bytes]]);
    }
  });

  it('an empty or blank file starts empty, with a report', async () => {
    for (const text of ['', ' \n', '\0\0\0']) {
      const backend = await open(ModelledDisk.holding(new Map([['state.json', Buffer.from(text)]])));
      expect(
        backend.recovery.map(({ code }) => code),
        JSON.stringify(text),
      ).to.deep.equal(['snapshot-empty']);
      expect((await contents(backend)).size).to.equal(0);
    }
  });
});
