/** The stores that are soaked: where workers find one, what can be done to it, and what it holds. */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecoveryFinding } from '@loopstate/core';
import { type ItemSnapshot, LoopState } from 'loopstate';
import { type RedisServer, startRedis, startRedisCluster, startSentinelGroup } from '../support/redis-server.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import type { Backend, Fault } from './plan.js';

/** What a store holds, and what opening it said. */
export interface Content {
  readonly items: ReadonlyMap<string, ItemSnapshot>;
  readonly findings: readonly RecoveryFinding[];
}

/** See the file's comment. */
export interface SoakStore {
  /** What workers open. */
  readonly url: string;
  /** Where its files are, if it is kept in files that processes open by themselves. */
  readonly directory: string | undefined;
  /** How long a run may be silent. */
  readonly leaseMs: number;
  /** What it holds; it stays as it is. Nobody has it open. */
  look(): Promise<Content>;
  /** Does what a fault says, and ends it. */
  suffer(fault: Extract<Fault, { do: 'server' | 'network' }>): Promise<void>;
  /** Copies the files of its servers to a directory; those that processes open by themselves are kept where they are. */
  keep(directory: string): void;
  /** Ends its servers, with their files. */
  end(): Promise<void>;
}

/** Beside each other no two processes of a file are alive, so nothing is presumed there. */
const LONG_LEASE_MS = 30_000;
const SHORT_LEASE_MS = 1_500;

/** Makes a new store; those that are kept in files are made in `parent`. */
export async function openStore(backend: Backend, parent: string, name: string): Promise<SoakStore> {
  switch (backend) {
    case 'file':
      return storeInFiles(join(parent, name), (directory) => `file:${join(directory, 'state.json')}`, LONG_LEASE_MS);
    case 'sqlite':
      return storeInFiles(join(parent, name), (directory) => `sqlite:${join(directory, 'state.db')}?job=soak`, SHORT_LEASE_MS);
    case 'redis':
      return await redisStore(name);
    case 'redis-sentinel':
      return await sentinelStore(name);
    case 'redis-cluster':
      return await clusterStore(name);
  }
}

function storeInFiles(directory: string, urlOf: (directory: string) => string, leaseMs: number): SoakStore {
  mkdirSync(directory, { recursive: true });
  return {
    url: urlOf(directory),
    directory,
    leaseMs,
    async look() {
      // Opening repairs, and that is for the workers to do.
      const copy = mkdtempSync(join(tmpdir(), 'loopstate-soak-copy-'));
      try {
        cpSync(directory, copy, { recursive: true });
        return await contentOf(urlOf(copy));
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    },
    async suffer() {},
    keep() {},
    async end() {},
  };
}

async function redisStore(name: string): Promise<SoakStore> {
  const server = await startRedis();
  const proxy = await startTcpProxy(server.port);
  const url = (port: number): string => `redis://127.0.0.1:${port}/0?job=${name}`;
  return {
    // Whoever looks at it afterwards has time.
    ...servedStore(`${url(proxy.port)}&commandTimeoutMs=400&connectTimeoutMs=4000`, url(server.port), [server]),
    async suffer(fault) {
      if (fault.do === 'server') return await killAndStart(server, fault.pauseMs);
      if (fault.how === 'lose') void proxy.loseReplies();
      if (fault.how === 'hold' || fault.how === 'late') void proxy.holdRequests();
      if (fault.how !== 'cut') await sleep(fault.pauseMs);
      if (fault.how === 'late') proxy.releaseRequests();
      else proxy.cut();
    },
    async end() {
      await proxy.close();
      await server.remove();
    },
  };
}

async function sentinelStore(name: string): Promise<SoakStore> {
  const group = await startSentinelGroup();
  const hosts = group.sentinelPorts.map((port) => `127.0.0.1:${port}`).join(',');
  const url = `redis+sentinel://${hosts}/${group.masterName}?job=${name}&wait=1&connectTimeoutMs=10000`;
  return {
    ...servedStore(url, url, []),
    suffer: () => group.failOver(),
    keep: (target) => cpSync(group.master().directory, join(target, name), { recursive: true }),
    end: () => group.remove(),
  };
}

async function clusterStore(name: string): Promise<SoakStore> {
  const cluster = await startRedisCluster();
  const url = `redis+cluster://${cluster.ports.map((port) => `127.0.0.1:${port}`).join(',')}?job=${name}&connectTimeoutMs=10000`;
  return {
    ...servedStore(url, url, cluster.servers),
    async suffer(fault) {
      await killAndStart(await cluster.holderOf(`loopstate:{${name}}:header`), fault.pauseMs);
      await cluster.serves();
    },
    end: () => cluster.remove(),
  };
}

function servedStore(url: string, ownUrl: string, servers: readonly RedisServer[]): Omit<SoakStore, 'suffer' | 'end'> {
  return {
    url,
    directory: undefined,
    leaseMs: SHORT_LEASE_MS,
    look: () => contentOf(ownUrl),
    keep(target) {
      for (const server of servers) cpSync(server.directory, join(target, basename(server.directory)), { recursive: true });
    },
  };
}

async function killAndStart(server: RedisServer, pauseMs: number): Promise<void> {
  await server.kill();
  await sleep(pauseMs);
  await server.startAgain();
}

async function contentOf(url: string): Promise<Content> {
  const state = await LoopState.open(url);
  try {
    const { items } = await state.snapshot();
    return { items, findings: [...state.recovery] };
  } finally {
    await state.close();
  }
}
