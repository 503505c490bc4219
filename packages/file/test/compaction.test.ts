/**
 * Proves that compacting a state file leaves one that is all of the store by itself. On real files, in a directory of its own.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { compactFile } from '../src/compact-file.js';
import { openFileBackend } from '../src/open-file-backend.js';
import { withDirectory } from './directory.js';

describe('file: compaction', () => {
  it('acked-survives: what a killed process left in journals is in the state file alone', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'state.json');
      const killed = join(directory, 'killed.json');
      const writer = await openFileBackend(path);
      for (let n = 0; n < 200; n++) await writer.commit({ puts: [{ key: 'k', value: 'x'.repeat(1_000) + n }] });
      // As a SIGKILL leaves it: whatever stands on the disk now.
      for (const name of fs.readdirSync(directory)) {
        if (!/lock|holder/.test(name)) fs.copyFileSync(join(directory, name), join(directory, name.replace('state', 'killed')));
      }
      await writer.close();
      const { bytesBefore, bytesAfter, recovery } = await compactFile(killed);
      expect(recovery).to.deep.equal([]);
      expect(bytesAfter).to.equal(fs.statSync(killed).size).and.to.be.below(bytesBefore);
      const alone = join(directory, 'alone.json');
      fs.copyFileSync(killed, alone);
      const reader = await openFileBackend(alone, { access: 'read' });
      expect((await reader.read(['k']))[0]?.value).to.equal(`${'x'.repeat(1_000)}199`);
      expect(reader.recovery).to.deep.equal([]);
      await reader.close();
      expect((await compactFile(killed)).bytesAfter).to.equal(bytesAfter);
    });
  });

  it('commit/all-or-nothing: what is not there is not made', async () => {
    await withDirectory(async (directory) => {
      const error: unknown = await compactFile(join(directory, 'state.json')).catch((reason: unknown) => reason);
      expect(error).to.include({ code: 'LOOPSTATE_ABSENT' });
      expect(fs.readdirSync(directory)).to.deep.equal([]);
    });
  });
});
