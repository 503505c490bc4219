/**
 * Redis servers of our own: each on a free port, in a temporary directory, ended at the latest when this process exits. No other
 * server is ever touched. Where `redis-server` is missing it is installed, if that can be done without asking anybody.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { askRedis, infoOf } from './resp.js';

/** Every acknowledged commit is on the disk, and nothing is evicted: what a store is tested on unless a test says otherwise. */
export const DURABLE: readonly string[] = [
  '--appendonly',
  'yes',
  '--appendfsync',
  'always',
  '--save',
  '',
  '--maxmemory-policy',
  'noeviction',
];

/** A replica need not wait for others that may want the same data. */
const REPLICATION: readonly string[] = ['--repl-diskless-sync-delay', '0'];
const START_WITHIN_MS = 10_000;
const SLOTS = 16_384;
/** What Sentinels call the master. */
export const MASTER_NAME = 'mymaster';
const HOW_TO_INSTALL = 'redis-server is not installed: apt-get install redis-server, or brew install redis.';

const running = new Set<ChildProcess>();
const directories = new Set<string>();
let installing: Promise<void> | undefined;

process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A server; `start` and `startAgain` begin it again, on the same port and directory, after it was killed. */
export interface RedisServer {
  readonly port: number;
  readonly directory: string;
  readonly pid: number;
  readonly isRunning: boolean;
  /** Resolves when it answers and has loaded its data. */
  start(args?: readonly string[]): Promise<void>;
  /**
   * Starts it after a crash, and resolves when it has written its file anew too. Redis 7.0.15 leaves the MULTI of a transaction within
   * which that file ends, and would run it, with what came after it, when it is started once more (see docs/operating-redis.md).
   */
  startAgain(): Promise<void>;
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Ends it and removes its directory. */
  remove(): Promise<void>;
}

/** Starts one server. */
export async function startRedis(args: readonly string[] = DURABLE): Promise<RedisServer> {
  installing ??= installIfMissing();
  await installing;
  const server = new OwnServer(await freePort(), args);
  await server.start();
  return server;
}

/** A master and its replica under three Sentinels. */
export interface SentinelGroup {
  readonly sentinelPorts: readonly number[];
  readonly masterName: string;
  master(): RedisServer;
  /** Kills the master, waits until its replica is promoted, and brings the old one back as a replica of it. */
  failOver(): Promise<void>;
  remove(): Promise<void>;
}

/** Starts a master, a replica and three Sentinels, and resolves when the replica follows and the Sentinels know of each other. */
export async function startSentinelGroup(): Promise<SentinelGroup> {
  let master = await startRedis([...DURABLE, ...REPLICATION]);
  let replica = await startRedis([...DURABLE, ...REPLICATION, '--replicaof', '127.0.0.1', `${master.port}`]);
  await followed(master);
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(master.port)));
  const sentinelPorts = sentinels.map(({ port }) => port);
  await until(async () => {
    const known = await Promise.all(sentinelPorts.map((port) => askRedis(port, 'SENTINEL', 'SENTINELS', MASTER_NAME)));
    const replicas = await Promise.all(sentinelPorts.map((port) => askRedis(port, 'SENTINEL', 'REPLICAS', MASTER_NAME)));
    return known.every((others) => (others as unknown[]).length === 2) && replicas.every((own) => (own as unknown[]).length === 1);
  }, 'the Sentinels to know of each other');
  return {
    sentinelPorts,
    masterName: MASTER_NAME,
    master: () => master,
    async failOver() {
      await master.kill();
      // At once: so the Sentinels can be given the time that they need to tell a slow server from a dead one.
      await until(
        async () => (await askRedis(sentinelPorts[0] ?? 0, 'SENTINEL', 'FAILOVER', MASTER_NAME)) === 'OK',
        'a Sentinel to begin the failover',
      );
      await until(async () => (await infoOf(replica.port, 'role')) === 'master', 'the replica to be promoted', 30_000);
      [master, replica] = [replica, master];
      await replica.start([...DURABLE, ...REPLICATION, '--replicaof', '127.0.0.1', `${master.port}`]);
      await followed(master);
      await until(async () => {
        const named = await Promise.all(sentinelPorts.map((port) => askRedis(port, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME)));
        return named.every((address) => Number((address as string[])[1]) === master.port);
      }, 'all Sentinels to name the new master');
    },
    async remove() {
      for (const server of [...sentinels, replica, master]) await server.remove();
    },
  };
}

/** Three masters that share the slots, with a replica each if wanted. */
export interface RedisCluster {
  readonly ports: readonly number[];
  readonly servers: readonly RedisServer[];
  /** The server that holds a key now. */
  holderOf(key: string): Promise<RedisServer>;
  /** Resolves when every node says that the cluster serves all slots. */
  serves(): Promise<void>;
  remove(): Promise<void>;
}

/** Starts a cluster and resolves when every node says that it serves. */
export async function startRedisCluster({ replicas = 0 }: { replicas?: 0 | 1 } = {}): Promise<RedisCluster> {
  const args = [
    ...DURABLE,
    ...REPLICATION,
    '--cluster-enabled',
    'yes',
    '--cluster-node-timeout',
    '1000',
    '--cluster-replica-validity-factor',
    '0',
  ];
  const servers = await Promise.all(Array.from({ length: 3 + 3 * replicas }, () => startRedis(args)));
  const ports = servers.map(({ port }) => port);
  const masters = servers.slice(0, 3);
  const [first] = masters as [RedisServer];
  for (const [index, { port }] of masters.entries()) {
    const range = [Math.floor((index * SLOTS) / 3), Math.floor(((index + 1) * SLOTS) / 3)] as const;
    await askRedis(port, 'CLUSTER', 'ADDSLOTS', ...Array.from({ length: range[1] - range[0] }, (_, slot) => range[0] + slot));
    await askRedis(port, 'CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
  }
  for (const port of ports.slice(1)) await askRedis(first.port, 'CLUSTER', 'MEET', '127.0.0.1', port);
  const allServe = async () => {
    const infos = await Promise.all(ports.map(async (port) => String(await askRedis(port, 'CLUSTER', 'INFO'))));
    return infos.every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${ports.length}`));
  };
  await until(allServe, 'the cluster to serve');
  for (const [index, replica] of servers.slice(3).entries()) {
    const master = masters[index] as RedisServer;
    await askRedis(replica.port, 'CLUSTER', 'REPLICATE', String(await askRedis(master.port, 'CLUSTER', 'MYID')));
    await followed(master);
  }
  return {
    ports,
    servers,
    serves: () => until(allServe, 'the cluster to serve'),
    async holderOf(key) {
      for (const { port } of servers.filter(({ isRunning }) => isRunning)) {
        const slot = Number(await askRedis(port, 'CLUSTER', 'KEYSLOT', key));
        const ranges = (await askRedis(port, 'CLUSTER', 'SLOTS')) as [number, number, [string, number]][];
        const holder = ranges.find(([from, to]) => from <= slot && slot <= to);
        const found = servers.find(({ port }) => port === holder?.[2][1]);
        if (found !== undefined) return found;
      }
      throw new Error('No node holds the key.');
    },
    async remove() {
      for (const server of servers) await server.remove();
    },
  };
}

/** Waits until `isDone` says so; errors count as «not yet». */
export async function until(isDone: () => Promise<boolean>, what: string, withinMs = 15_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await isDone().catch(() => false))) {
    if (performance.now() > endMs) throw new Error(`Waited ${withinMs} ms for ${what}.`);
    await sleep(25);
  }
}

class OwnServer implements RedisServer {
  readonly port: number;
  readonly directory: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  constructor(port: number, args: readonly string[]) {
    this.port = port;
    this.directory = mkdtempSync(join(tmpdir(), 'loopstate-redis-'));
    directories.add(this.directory);
    this.#args = args;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  async start(args = this.#args): Promise<void> {
    const own = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.directory, '--daemonize', 'no'];
    const all = args[0]?.endsWith('.conf') ? args : [...own, ...args];
    const logFile = join(this.directory, 'server.log');
    const child = spawn('redis-server', [...all, '--logfile', logFile], { stdio: 'ignore' });
    // A server that is up when the tests are through is ended with this process, and does not hold it up.
    child.unref();
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.#child = child;
    await until(
      async () => {
        if (child.exitCode !== null) return true;
        return (await askRedis(this.port, 'PING')) === 'PONG';
      },
      `the server on port ${this.port}`,
      START_WITHIN_MS,
    );
    if (child.exitCode !== null) throw new Error(`redis-server ended at once: ${readFileSync(logFile, 'utf8').slice(-2_000)}`);
  }

  async startAgain(): Promise<void> {
    await this.start();
    await askRedis(this.port, 'BGREWRITEAOF');
    await until(async () => (await infoOf(this.port, 'aof_rewrite_in_progress')) === '0', 'the file to be written anew');
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const ended = once(child, 'exit');
    child.ref();
    child.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    directories.delete(this.directory);
    // A child that it had, to write its files anew, may be at it still.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

/** Starts a Sentinel that knows of the master at a port. */
export async function startSentinel(masterPort: number): Promise<RedisServer> {
  const port = await freePort();
  const server = new OwnServer(port, []);
  const configuration = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${server.directory}`,
    `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${masterPort} 2`,
    // A Sentinel connects to a server at most once a second: with less than that, each failover would bring about the next.
    `sentinel down-after-milliseconds ${MASTER_NAME} 10000`,
    `sentinel failover-timeout ${MASTER_NAME} 20000`,
  ];
  const file = join(server.directory, 'sentinel.conf');
  await writeFile(file, `${configuration.join('\n')}\n`);
  await server.start([file, '--sentinel']);
  return server;
}

async function followed(master: RedisServer): Promise<void> {
  await until(async () => /state=online/.test((await infoOf(master.port, 'slave0')) ?? ''), 'a replica to follow');
}

/** A port that is free together with the one 10,000 above it, where a cluster's nodes speak with each other. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if ((await isFree(port)) && (await isFree(port + 10_000))) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

async function installIfMissing(): Promise<void> {
  if (isInstalled()) return;
  const run = promisify(execFile);
  try {
    if (process.platform === 'darwin') await run('brew', ['install', 'redis']);
    else {
      const prefix = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
      for (const command of [
        ['apt-get', 'update'],
        ['apt-get', 'install', '-y', 'redis-server'],
      ]) {
        const [program = '', ...args] = [...prefix, ...command];
        await run(program, args);
      }
    }
  } catch (cause) {
    throw new Error(HOW_TO_INSTALL, { cause });
  }
  if (!isInstalled()) throw new Error(HOW_TO_INSTALL);
}

function isInstalled(): boolean {
  return spawnSync('redis-server', ['--version']).status === 0;
}
