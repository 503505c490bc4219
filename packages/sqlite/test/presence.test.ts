/** Proves that whoever opens a database finds it prepared, also where another is about to enter at the same moment. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { openAttached } from '../src/connection.js';
import { Presence } from '../src/presence.js';
import { type SeeStatement, withDirectory, withStatementsCaught } from './stores.js';

/** Well below the 40 ms for which an entering process waits. */
const MOMENT_MS = 5;

describe('sqlite: presence', () => {
  it('always-starts: who holds the lock for a moment only is not taken for present', async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, 'lock');
      const other = await openAttached(path, 'presence');
      await other.query('BEGIN');
      await other.query('SELECT count(*) FROM presence.sqlite_schema');
      let letGo: Promise<unknown> | undefined;
      const see: SeeStatement = (sql, pass) => {
        if (sql === 'BEGIN EXCLUSIVE') letGo ??= sleep(MOMENT_MS).then(() => other.query('COMMIT'));
        return pass();
      };
      let isPrepared = false;
      const whenAlone = async (): Promise<void> => {
        isPrepared = true;
      };
      const presence = await withStatementsCaught(see, () => Presence.enter(path, { withinMs: 5_000, whenAlone }));
      expect(isPrepared).to.equal(true);
      await letGo;
      await other.close();
      await presence.leave({ whenLast: async () => {}, whenOthers: async () => {} });
    });
  });
});
