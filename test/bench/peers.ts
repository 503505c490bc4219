/**
 * What people use today for the same purpose, from the registry, each in the best configuration that is fair. They are no dependency
 * of the workspace: the benchmark installs them beside itself when it is first run.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('./peers/', import.meta.url));

/** A prepared statement of better-sqlite3. */
interface Statement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): unknown;
}

/** What is used of a database of better-sqlite3. */
export interface BetterDatabase {
  pragma(text: string, options?: { simple: boolean }): unknown;
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): unknown;
}

interface SqliteSaver {
  put(config: object, checkpoint: object, metadata: object): Promise<unknown>;
}

interface Queue {
  add(name: string, data: object): Promise<unknown>;
  close(): Promise<void>;
}

interface Worker {
  on(event: 'completed', listener: () => void): unknown;
  close(): Promise<void>;
}

/** The modules, as far as they are used. */
export interface Peers {
  readonly BetterSqlite3: new (path: string) => BetterDatabase;
  readonly SqliteSaver: new (database: BetterDatabase) => SqliteSaver;
  readonly writeFileAtomic: (path: string, text: string) => Promise<void>;
  readonly atomically: { writeFile(path: string, text: string): Promise<void> };
  readonly bullmq: {
    readonly Queue: new (name: string, options: object) => Queue;
    readonly Worker: new (name: string, work: () => Promise<void>, options: object) => Worker;
  };
}

let loaded: Promise<Peers> | undefined;

/** The peers, installed if need be. */
export function loadPeers(): Promise<Peers> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Peers> {
  if (!existsSync(join(FOLDER, 'node_modules'))) {
    console.log('Installing what the benchmark compares with; one of them may have to be compiled.');
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel', 'error'], {
      cwd: FOLDER,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  const require = createRequire(join(FOLDER, 'package.json'));
  const { SqliteSaver } = require('@langchain/langgraph-checkpoint-sqlite');
  return {
    BetterSqlite3: require('better-sqlite3'),
    SqliteSaver,
    writeFileAtomic: require('write-file-atomic'),
    atomically: await import(require.resolve('atomically')),
    bullmq: require('bullmq'),
  };
}
