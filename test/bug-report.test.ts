/**
 * The bug report that this project began with, word for word: a state file overwritten with half a document must not lose what was
 * completed, neither in the same process nor in a new one after a kill.
 */
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { LoopState } from 'loopstate';
import { spawnCompiled } from './support/compiled.js';

const HALF_A_FILE = '{\n "completed": [\n "a"';

describe('The bug report', () => {
  let folder = '';
  let path = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'loopstate-report-'));
    path = join(folder, 'state.json');
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('always-starts: in the same process, beside the state that is still open', async () => {
    const first = await LoopState.create(path);
    for (const id of ['a', 'b']) {
      await first.begin(id);
      await first.end(id, { status: 'success' });
    }
    await writeFile(path, HALF_A_FILE);
    const second = await LoopState.create(path);
    expect([second.isOutstanding('a'), second.isOutstanding('b')]).to.deep.equal([false, false]);
    expect(second.recovery.length).to.be.greaterThan(0);
    await second.close();
    await first.close();
    await expectKeptAside(folder);
  });

  it('always-starts: in the same process, after a clean close', async () => {
    const first = await LoopState.create(path);
    for (const id of ['a', 'b']) {
      await first.begin(id);
      await first.end(id, { status: 'success' });
    }
    await first.close();
    await writeFile(path, HALF_A_FILE);
    const second = await LoopState.create(path);
    expect([second.isOutstanding('a'), second.isOutstanding('b')]).to.deep.equal([false, false]);
    expect(second.recovery.length).to.be.greaterThan(0);
    await second.close();
    await expectKeptAside(folder);
  });

  it('always-starts: in a new process, after SIGKILL', async () => {
    const child = await spawnCompiled('test/programs/two-items-then-wait.ts', [path], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout!, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    await writeFile(path, HALF_A_FILE);
    const state = await LoopState.create(path);
    expect([state.isOutstanding('a'), state.isOutstanding('b'), state.isOutstanding('c')]).to.deep.equal([false, false, true]);
    expect(state.recovery.length).to.be.greaterThan(0);
    await state.close();
    await expectKeptAside(folder);
  });
});

/** The damaged bytes are still there, under another name. */
async function expectKeptAside(folder: string): Promise<void> {
  const contents = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'utf8')));
  expect(contents).to.include(HALF_A_FILE);
}
