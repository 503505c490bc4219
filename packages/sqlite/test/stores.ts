import fs from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isLoopStateError, type StateBackend, type StateRecord } from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import { openSqliteBackend, type SqliteBackendOptions } from '../src/open-sqlite-backend.js';

/** Runs with a new directory, and removes it however that ends. */
export async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'loopstate-sqlite-')));
  try {
    await run(directory);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** The code that opening is refused with, or `opened`. */
export async function refusal(target: Parameters<typeof openSqliteBackend>[0], options: SqliteBackendOptions = {}): Promise<string> {
  try {
    await (await openSqliteBackend(target, options)).close();
  } catch (error) {
    if (!isLoopStateError(error)) throw error;
    expect(error.message).to.match(/^.+[.)]$/);
    return error.code;
  }
  return 'opened';
}

/** The code of the error that a promise rejects with; a promise that resolves fails the test. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  throw new AssertionError('The call was expected to reject, and resolved.');
}

/** The name and the bytes of everything in a directory. */
export function contentOf(directory: string): Record<string, string> {
  return Object.fromEntries(fs.readdirSync(directory).map((name) => [name, fs.readFileSync(join(directory, name), 'base64')]));
}

/** Commits each value under a key of its own; resolves to the last revision. */
export async function put(store: StateBackend, values: Record<string, string | number>): Promise<number> {
  const results = await Promise.all(Object.entries(values).map(([key, value]) => store.commit({ puts: [{ key, value }] })));
  return Math.max(...results.map((result) => (result.ok ? result.revision : Number.NaN)));
}

/** All that a store holds, by key. */
export async function recordsOf(store: StateBackend): Promise<Map<string, StateRecord>> {
  const records = new Map<string, StateRecord>();
  for await (const { key, record } of store.changes(0)) {
    if (record === undefined) records.delete(key);
    else records.set(key, record);
  }
  return records;
}

/** What becomes of a statement; `pass` lets it through. */
export type SeeStatement = (sql: string, pass: () => Promise<unknown>) => Promise<unknown>;

/** Gives `see` each statement of the connections that `run` opens, where the driver hands it to SQLite. */
export async function withStatementsCaught<T>(see: SeeStatement, run: () => Promise<T>): Promise<T> {
  const require = createRequire(import.meta.resolve('@keyv/sqlite'));
  const { prototype } = (require('sqlite3') as { Database: { prototype: { all(...args: unknown[]): void } } }).Database;
  const { all } = prototype;
  prototype.all = function (sql: string, ...args: unknown[]) {
    const done = args.pop() as (error: unknown, rows?: unknown) => void;
    const pass = () =>
      new Promise((resolve, reject) => {
        all.call(this, sql, ...args, (error: unknown, rows: unknown) => (error === null ? resolve(rows) : reject(error)));
      });
    see(sql.trim(), pass).then((rows) => done(null, rows), done);
  };
  try {
    return await run();
  } finally {
    prototype.all = all;
  }
}

/** The findings of a store, as codes. */
export function findingsOf(store: StateBackend): string[] {
  return store.recovery.map(({ code }) => code);
}
