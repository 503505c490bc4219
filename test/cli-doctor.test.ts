/**
 * `loopstate doctor` names what is wrong with a state file, changes nothing, and repairs it when asked, without losing what was
 * acknowledged. Each case makes a state, breaks it in one way, and has the program look at it twice: before and after a repair.
 */
import { chmodSync, copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { expect } from 'chai';
import { type Json, LoopState, openBackend } from 'loopstate';
import { freshDirectories, runCli } from './support/cli.js';
import { doctor, gravityOf, idsOf, startHolder, treeOf } from './support/doctor.js';
import { proveEach } from './support/prove-each.js';

const COUNT = 12;

/** A closed state of several generations with `COUNT` completed items. */
async function makeClosed(path: string): Promise<void> {
  for (let round = 0; round < 3; round++) {
    const state = await LoopState.open({ path });
    await complete(state, round * 4, 4);
    await state.close();
  }
}

/** What a machine that stopped would leave of a state with `COUNT` completed items. */
async function makeLeft(path: string): Promise<void> {
  const live = join(path, '..', 'live');
  mkdirSync(live);
  const state = await LoopState.open({ path: join(live, 'state.json') });
  await complete(state, 0, COUNT);
  for (const name of readdirSync(live)) cpSync(join(live, name), join(path, '..', name));
  await state.close();
  rmSync(live, { recursive: true });
}

async function complete(state: LoopState, first: number, count: number): Promise<void> {
  for (let n = first; n < first + count; n++) {
    await state.begin(`item-${n}`);
    await state.end(`item-${n}`, { status: 'success', output: { n, text: 'what became of it' } });
  }
}

async function put(path: string, puts: { key: string; value: Json }[], deletes: string[] = []): Promise<void> {
  const backend = await openBackend(path, { access: 'write' });
  await backend.commit({ puts, deletes });
  await backend.close();
}

/** Changes one byte of `text` where it first stands in a file. */
function spoil(path: string, text: string): void {
  const bytes = readFileSync(path);
  const at = bytes.indexOf(text);
  bytes[at] = (bytes[at] ?? 0) ^ 0x20;
  writeFileSync(path, bytes);
}

/** Not by its generation: there are few. */
function newestJournal(path: string): string {
  const names = readdirSync(join(path, '..')).filter((name) => name.startsWith(basename(path)) && name.endsWith('.journal'));
  return join(path, '..', names.sort().at(-1) ?? '');
}

function write(path: string, text: string | Buffer): void {
  writeFileSync(path, text, { mode: 0o600 });
}

interface Case {
  readonly make?: (path: string) => void | Promise<void>;
  readonly broken: (path: string) => void | Promise<void>;
  /** The ids that must be found, no other; and the worst severity. */
  readonly ids: readonly string[];
  readonly gravity: 'info' | 'warning' | 'problem';
  /** What is left to be found after the repair. Default: nothing but what was put aside. */
  readonly left?: readonly string[];
  /** How many items must be completed after it. Default: all. */
  readonly completed?: number | 'no state';
}

const nothing = (): void => undefined;

const ORDER = ['problem', 'warning', 'info', 'ok'];

const CASES: Readonly<Record<string, Case>> = {
  'a state as it should be': { broken: nothing, ids: [], gravity: 'info' },
  'no state': { make: nothing, broken: nothing, ids: ['no-state'], gravity: 'info', left: ['no-state'], completed: 'no state' },
  'a directory that is not there': {
    make: nothing,
    broken: (path) => rmSync(join(path, '..'), { recursive: true }),
    ids: ['directory-missing', 'no-state'],
    gravity: 'warning',
    left: ['directory-missing', 'no-state'],
    completed: 'no state',
  },
  'a directory in the place of the file': {
    make: nothing,
    broken: (path) => mkdirSync(path),
    ids: ['not-a-file'],
    gravity: 'problem',
    left: ['not-a-file'],
    completed: 'no state',
  },
  'a path through a file': {
    make: nothing,
    broken(path) {
      rmSync(join(path, '..'), { recursive: true });
      write(join(path, '..'), 'text');
    },
    ids: ['place-unusable'],
    gravity: 'problem',
    left: ['place-unusable'],
    completed: 'no state',
  },
  'symlinks in a circle': {
    make: nothing,
    broken: (path) => symlinkSync('state.json', path),
    ids: ['place-unusable'],
    gravity: 'problem',
    left: ['place-unusable'],
    completed: 'no state',
  },
  'foreign content': {
    make: nothing,
    broken: (path) => write(path, '{"name":"something else"}'),
    ids: ['foreign'],
    gravity: 'problem',
    left: ['foreign'],
    completed: 'no state',
  },
  'a newer format': {
    make: nothing,
    broken(path) {
      const rest = '"format":2,"store":"s",';
      write(path, `{"loopstate":"${crc32(rest).toString(16).padStart(8, '0')}",${rest}\n"new":[]}\n`);
    },
    ids: ['newer-format'],
    gravity: 'problem',
    left: ['newer-format'],
    completed: 'no state',
  },
  'records of a newer loop': {
    broken: (path) => put(path, [{ key: 'meta', value: { format: 2, store: 's', by: 'x.1' } }]),
    ids: ['loop-newer-format'],
    gravity: 'problem',
    left: ['loop-newer-format'],
    completed: 'no state',
  },
  'an older format': {
    make: nothing,
    broken: (path) => write(path, JSON.stringify({ completed: ['a', 'b'], failed: [], inProgress: 'c' })),
    ids: ['old-format'],
    gravity: 'info',
    completed: 2,
  },
  'an older format, torn': {
    make: nothing,
    broken: (path) => write(path, '{"completed": ["a", "b", "c'),
    ids: ['old-format-torn'],
    gravity: 'warning',
    completed: 2,
  },
  'a torn tail': {
    make: makeLeft,
    broken(path) {
      const journal = readFileSync(newestJournal(path));
      journal.write('["0123abcd",99', journal.indexOf(0));
      write(newestJournal(path), journal);
    },
    ids: ['holder-left', 'run-gone', 'torn-tail'],
    gravity: 'warning',
  },
  'damage in the middle of the journal': {
    make: makeLeft,
    broken: (path) => spoil(newestJournal(path), '"item/item-5",{"status":"completed"'),
    ids: ['holder-left', 'journal-damaged', 'run-gone'],
    gravity: 'warning',
    completed: COUNT - 1,
  },
  'a journal that is gone': {
    make: makeLeft,
    broken: (path) => rmSync(newestJournal(path)),
    ids: ['holder-left', 'journal-missing'],
    gravity: 'warning',
    completed: 0,
  },
  'a damaged snapshot': { broken: (path) => spoil(path, 'item-3'), ids: ['snapshot-damaged'], gravity: 'warning' },
  'a snapshot that is cut in half': {
    broken: (path) => write(path, readFileSync(path).subarray(0, 500)),
    ids: ['snapshot-damaged'],
    gravity: 'warning',
  },
  'a snapshot that is gone': { broken: (path) => rmSync(path), ids: ['snapshot-missing'], gravity: 'warning' },
  'a snapshot that someone put back': {
    broken: (path) => copyFileSync(`${path}.previous`, path),
    ids: ['snapshot-replaced'],
    gravity: 'warning',
  },
  'something else in the place of the snapshot': {
    broken: (path) => write(path, '{"name":"something else"}'),
    ids: ['snapshot-replaced'],
    gravity: 'warning',
  },
  'a damaged snapshot that stands alone': {
    async broken(path) {
      for (const name of readdirSync(join(path, '..'))) if (name !== 'state.json') rmSync(join(path, '..', name));
      spoil(path, '"loopstate"');
    },
    ids: ['snapshot-damaged'],
    gravity: 'warning',
  },
  'an empty file that stands alone': {
    make: nothing,
    broken: (path) => write(path, ''),
    ids: ['snapshot-empty'],
    gravity: 'warning',
    completed: 0,
  },
  'a damaged previous snapshot': {
    broken: (path) => spoil(`${path}.previous`, '"store"'),
    ids: ['previous-damaged'],
    gravity: 'warning',
  },
  'a journal of another state': {
    async broken(path) {
      const other = join(path, '..', 'other.json');
      await makeClosed(other);
      copyFileSync(newestJournal(other), `${path}.99.journal`);
      for (const name of readdirSync(join(path, '..'))) if (name.startsWith('other.json')) rmSync(join(path, '..', name));
    },
    ids: ['other-store'],
    gravity: 'warning',
  },
  'leftover temporaries': {
    broken: (path) => copyFileSync(path, `${path}.0123456789abcdef.tmp`),
    ids: ['temporaries-left'],
    gravity: 'info',
  },
  'files that were put aside earlier': {
    broken: (path) => write(`${path}.damaged-2026-01-01T000000.000Z`, 'x'),
    ids: ['put-aside-earlier'],
    gravity: 'info',
  },
  'a file that others may read': {
    broken: (path) => chmodSync(path, 0o644),
    ids: ['readable-by-others'],
    gravity: 'info',
    left: ['readable-by-others'],
  },
  'a file that others may write': {
    broken: (path) => chmodSync(path, 0o666),
    ids: ['writable-by-others'],
    gravity: 'warning',
    left: ['writable-by-others'],
  },
  'a process that was killed': {
    make: async (path) => (await startHolder(path, { count: COUNT })).kill(),
    broken: nothing,
    ids: ['holder-left', 'run-gone'],
    gravity: 'warning',
  },
  'a name of a holder without a lock': {
    broken: (path) => write(`${path}.holder`, '{"pid":1,"host":"elsewhere","since":1}'),
    ids: ['holder-left'],
    gravity: 'info',
  },
  'items of runs that were declared dead, items that failed, wait, or kill': {
    broken: (path) =>
      put(path, [
        { key: 'item/left', value: { status: 'claimed', attempt: 1, run: 'gone', by: 'gone.1' } },
        { key: 'item/failed', value: { status: 'failed', attempt: 1, reason: 'no', by: 'gone.2' } },
        { key: 'item/waits', value: { status: 'outstanding', attempt: 0, glitches: 2, by: 'gone.3' } },
        { key: 'item/kills', value: { status: 'outstanding', attempt: 0, crashes: 2, by: 'gone.4' } },
        { key: 'item/\u001b[31mkiller', value: { status: 'failed', attempt: 1, quarantined: true, by: 'gone.5' } },
      ]),
    ids: ['claims-left-behind', 'items-failed', 'items-glitched', 'items-killing', 'items-quarantined'],
    gravity: 'warning',
    left: ['claims-left-behind', 'items-failed', 'items-glitched', 'items-killing', 'items-quarantined'],
  },
};

describe('loopstate doctor on a state file', function () {
  this.timeout(60_000);
  proveEach({ test: 'D1 findings of doctor', backend: 'file', least: { cases: 30 } });
  const directory = freshDirectories();
  let path = '';
  beforeEach(() => {
    mkdirSync(join(directory(), 'place'));
    path = join(directory(), 'place', 'state.json');
  });

  for (const [name, { make = makeClosed, broken, ids, gravity, left = [], completed = COUNT }] of Object.entries(CASES)) {
    it(`always-starts, acked-survives: ${name}: ${ids.join(', ') || 'all is well'}`, async () => {
      await make(path);
      await broken(path);
      const before = treeOf(directory());
      const first = await doctor(path);
      expect(idsOf(first.findings)).to.deep.equal(ids);
      expect(gravityOf(first.findings)).to.equal(ids.length === 0 ? 'ok' : gravity);
      expect(treeOf(directory()), 'the first look changed something').to.deep.equal(before);
      const second = await doctor(path, '--repair');
      const isAside = second.repair?.recovery.some(({ keptAs }) => keptAs !== undefined) || ids.includes('put-aside-earlier');
      expect(idsOf(second.findings)).to.deep.equal([...left, ...(isAside ? ['put-aside-earlier'] : [])].sort());
      expect(idsOf(second.repair?.better ?? [])).to.deep.equal(ids.filter((id) => !left.includes(id) && id !== 'put-aside-earlier'));
      if (completed === 'no state') {
        expect(treeOf(directory()), 'what can not be repaired').to.deep.equal(before);
        return;
      }
      const state = await LoopState.open({ path }, { access: 'read' });
      expect(state.progress.completed).to.equal(completed);
      await state.close();
    });
  }
});

describe('loopstate doctor', function () {
  this.timeout(60_000);
  const directory = freshDirectories();
  const cli = (...args: string[]) => runCli(['doctor', ...args], { cwd: directory() });

  it('names who holds a state, disturbs nobody, and can not repair what is held (5)', async () => {
    const path = join(directory(), 'state.json');
    const holder = await startHolder(path);
    const before = treeOf(directory());
    const { findings } = await doctor(path);
    expect(idsOf(findings)).to.deep.equal(['held', 'run-at-work']);
    expect(findings.find(({ id }) => id === 'held')?.found).to.include(`process ${holder.child.pid} `);
    const { repair, exitCode } = await doctor(path, '--repair');
    expect(exitCode).to.equal(5);
    expect(repair?.better).to.deep.equal([]);
    expect(treeOf(directory())).to.deep.equal(before);
    await holder.kill();
    expect(await cli('--state', path, '--repair')).to.include({ code: 0, stderr: '' });
  });

  it('a state that is held and damaged is looked at beside its holder, and the repair says why it can not be', async () => {
    const path = join(directory(), 'state.json');
    const holder = await startHolder(path, { count: 40 });
    writeFileSync(path, readFileSync(path).subarray(0, 40));
    const report = await doctor(path, '--repair');
    expect(idsOf(report.findings)).to.deep.equal(['held', 'run-at-work', 'snapshot-damaged']);
    expect(report.repair?.error?.code).to.equal('LOOPSTATE_LOCKED');
    await holder.kill();
    expect((await doctor(path, '--repair')).findings.find(({ id }) => id === 'progress')?.found).to.match(/^40 completed/);
  });

  it('says the worst first to people, each with what to do, and nothing that a terminal would obey', async () => {
    const path = join(directory(), 'state.json');
    await put(path, [
      { key: 'item/\u001b[31mkiller\n', value: { status: 'failed', attempt: 1, quarantined: true, by: 'gone.5' } },
      { key: 'item/waits', value: { status: 'outstanding', attempt: 0, glitches: 2, by: 'gone.3' } },
    ]);
    const { code, stdout, stderr } = await cli('--state', path);
    expect({ code, stderr }).to.deep.equal({ code: 1, stderr: '' });
    const lines = stdout.split('\n');
    const severities = lines.flatMap((line) => /^(problem|warning|info|ok) /.exec(line)?.[1] ?? []);
    expect(severities).to.deep.equal([...severities].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b)));
    expect(severities).to.include.members(['warning', 'info', 'ok']);
    const place = lines.findIndex((line) => line.startsWith('warning  items-quarantined'));
    expect(lines[place + 1]).to.match(/^ +-> /);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may get through.
    expect(stdout).to.not.match(/[\u0000-\u0009\u000b-\u001f]/);
  });

  it('repairs nothing where there is nothing to repair, and says so', async () => {
    const path = join(directory(), 'state.json');
    const { code, stdout } = await cli('--state', path, '--repair');
    expect(code).to.equal(0);
    expect(stdout).to.include('nothing to repair');
    expect(readdirSync(directory())).to.deep.equal([]);
  });

  it('makes no state where there is none to repair', async () => {
    const path = join(directory(), 'state.json');
    writeFileSync(`${path}.0123456789abcdef.tmp`, 'x');
    const before = treeOf(directory());
    expect(idsOf((await doctor(path, '--repair')).findings)).to.deep.equal(['no-state', 'temporaries-left']);
    expect(treeOf(directory())).to.deep.equal(before);
  });

  it('documents its exit codes, and refuses what it does not know (2)', async () => {
    const { code, stdout } = await cli('--help');
    expect(code).to.equal(0);
    for (const exit of ['0', '1', '5', '6']) expect(stdout).to.match(new RegExp(`^ +${exit} {2}\\S`, 'm'));
    expect(stdout).to.include('--repair').and.to.include('Example');
    expect((await cli('--state', 'x', '--fix')).code).to.equal(2);
    expect((await cli('--state', 'postgres:user:secret')).code).to.equal(2);
    expect(await cli('--state', 'memory:', '--json')).to.include({ code: 0 });
  });
});
