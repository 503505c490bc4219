/**
 * Copies of a store's files, to be looked at, and to try repairs on: SQLite changes a database that it only reads, by what it keeps beside
 * it and by taking in its log.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isError } from '@loopstate/core';
import { StoreNames } from './names.js';
import { stampsOf } from './place.js';

const ATTEMPTS_MAX = 5;
const PAUSE_MS = 50;

/** For a process of its own: one that closes a file gives back all locks that it has on it, also those of an open database. */
const COPY_SCRIPT = `const fs = require('node:fs');
const paths = process.argv.slice(1);
for (let at = 0; at < paths.length; at += 2) {
  try {
    fs.copyFileSync(paths[at], paths[at + 1], fs.constants.COPYFILE_FICLONE);
  } catch (error) {
    if (error.code === 'ENOENT') continue;
    process.stdout.write(error.code);
    process.exit(1);
  }
}`;

/**
 * Runs `run` with the names of copies that are of one moment, and removes them after. `undefined`: processes that have the store open change
 * it all the time.
 *
 * Errors: those of `run`, and any system error.
 */
export async function withCopies<T>(names: StoreNames, run: (copies: StoreNames) => Promise<T>): Promise<T | undefined> {
  const directory = await fs.mkdtemp(join(tmpdir(), 'loopstate-copies-'));
  try {
    const copies = new StoreNames(join(directory, basename(names.database)));
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const before = await stampsOf(names);
      await copy(names, copies);
      if ((await stampsOf(names)) === before) return await run(copies);
      await Promise.all((await fs.readdir(directory)).map((name) => fs.rm(join(directory, name))));
      await sleep(PAUSE_MS);
    }
    return undefined;
  } finally {
    await fs.rm(directory, { recursive: true, force: true });
  }
}

async function copy(from: StoreNames, to: StoreNames): Promise<void> {
  const pairs = [from.database, to.database, from.log, to.log, from.backup, to.backup, from.restored, to.restored];
  try {
    await promisify(execFile)(process.execPath, ['-e', COPY_SCRIPT, '--', ...pairs], { env: { ...process.env, NODE_OPTIONS: '' } });
  } catch (cause) {
    const code = isError(cause) && 'stdout' in cause ? String(cause.stdout) : '';
    throw Object.assign(new Error(`it could not be copied to ${to.directory} ${code}`.trimEnd(), { cause }), { code });
  }
}
