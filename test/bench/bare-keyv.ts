import { KeyvSqlite } from '@keyv/sqlite';

/** Keyv's adapter on a database of its own, as safe as ours: WAL and synchronous=FULL, read back. */
export async function openBareKeyv(path: string): Promise<KeyvSqlite> {
  const adapter = new KeyvSqlite(`sqlite://${path}`);
  await adapter.query('PRAGMA journal_mode = WAL');
  await adapter.query('PRAGMA synchronous = FULL');
  const [mode] = await adapter.query('PRAGMA journal_mode');
  const [level] = await adapter.query('PRAGMA synchronous');
  if (mode.journal_mode !== 'wal' || level.synchronous !== 2) throw new Error('The bare database has other settings.');
  return adapter;
}
