/** Test runners such as Jest run each test file in a context of its own: there, what Node raises is no `Error` that the file knows. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { freshDirectories } from './support/cli.js';
import { compiledPackages } from './support/compiled.js';

describe('a context of its own', () => {
  const directory = freshDirectories();

  it('always-starts: stores are made, opened again and read, and what Node raises fails an item with its reason', async () => {
    const { root } = await compiledPackages();
    const args = ['--no-warnings', '--experimental-vm-modules', join(root, 'test/programs/loop-in-a-context.js'), root, directory()];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const each = ['LOOPSTATE_ABSENT', 1, 'ENOENT', 0, 2, 'ENOENT', 0];
    expect(JSON.parse(stdout)).to.deep.equal([...each, ...each]);
  });
});
