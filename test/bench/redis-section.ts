/** The Redis backend beside a bare `EVALSHA` of the same bytes by the same driver, on a server of our own; and beside a queue. */
import { randomUUID } from 'node:crypto';
import { createClient } from '@keyv/redis';
import { LoopState, openBackend } from 'loopstate';
import { startRedis } from '../support/redis-server.js';
import { compete, inFlight, oneByOne, standingOf, type Turn, timesAsFast, timesAsLong } from './contest.js';
import { loadPeers } from './peers.js';
import type { Budget, SectionOptions, SectionResult, Table } from './section.js';
import { hammerBoth } from './sqlite-section.js';
import { commitNew, newKey, recordText } from './workload.js';

const SERIAL = 1_000;
const PARALLEL = 20_000;
const QUEUED = 2_000;
/** What the verdicts are about: the others are there to compare. */
const JUDGED = 'AOF everysec';

/**
 * A commit without a backend around it: a record is put if it has the revision that is demanded, its own revision is that of the
 * clock, and an index by revision tells what changed. It gets as many keys and bytes as the backend's own script, whose first
 * arguments say which store of which server is meant, and what was seen of it.
 */
const BARE = `
local found = redis.call('HGET', KEYS[1], ARGV[1])
if (found and string.match(found, '^%d+') or '0') ~= ARGV[2] then return found end
local time = redis.call('TIME')
local revision = time[1] .. string.sub('00000' .. time[2], -6)
redis.call('HSET', KEYS[1], ARGV[1], revision .. ' ' .. ARGV[3])
redis.call('ZADD', KEYS[2], revision, ARGV[1])
return tonumber(revision)`;

const SETTINGS = {
  'AOF off': ['--appendonly', 'no'],
  'AOF everysec': ['--appendonly', 'yes', '--appendfsync', 'everysec'],
  'AOF always': ['--appendonly', 'yes', '--appendfsync', 'always'],
} as const;

/** See the file's comment. */
export async function redisSection(options: SectionOptions): Promise<SectionResult> {
  const tables: Table[] = [];
  const budgets: Budget[] = [];
  const notes: string[] = [];
  for (const [name, flags] of Object.entries(SETTINGS)) {
    const found = await measure(name, flags, options);
    tables.push(found.table);
    budgets.push(...found.budgets);
    notes.push(...found.notes);
  }
  return { title: 'Redis', tables, budgets, notes };
}

async function measure(name: string, flags: readonly string[], { rounds, scale }: SectionOptions) {
  const server = await startRedis(['--save', '', '--maxmemory-policy', 'noeviction', ...flags]);
  const url = `redis://127.0.0.1:${server.port}/0?job=bench`;
  const client = createClient({ socket: { host: '127.0.0.1', port: server.port } });
  await client.connect();
  const backend = await openBackend(url, { access: 'write' });
  const state = await LoopState.open(`${url}-loop`);
  const sha = await client.scriptLoad(BARE);
  const keys = ['records', 'revisions', 'header', 'tombstones'].map((part) => `loopstate:{bare}:${part}`);
  const known = [`${randomUUID()} 1 ${'0'.repeat(40)}`, `${Date.now() * 1_000}`, '0'.repeat(40), '10000', '100', '1', '1'];
  const evaluate = (): Promise<unknown> => {
    const key = newKey();
    return client.evalSha(sha, { keys, arguments: [key, '0', `00000000 ${recordText()}`, ...known, key] });
  };
  const beginAndEnd = async (): Promise<void> => {
    const id = newKey();
    await state.begin(id);
    await state.end(id, { status: 'success', output: { ok: true } });
  };
  const queue = await startQueue(server.port);
  try {
    const operations = { serial: Math.ceil(SERIAL * scale), parallel: Math.ceil(PARALLEL * scale) };
    const standings = await compete(
      [
        { name: 'loopstate', turn: () => oneByOne(operations.serial, () => commitNew(backend)) },
        { name: 'EVALSHA', turn: () => oneByOne(operations.serial, evaluate) },
        { name: 'loopstate, 64 in flight', turn: () => inFlight(64, operations.parallel, () => commitNew(backend)) },
        { name: 'EVALSHA, 64 in flight', turn: () => inFlight(64, operations.parallel, evaluate) },
        { name: 'loopstate, claim and outcome, 64 workers', turn: () => inFlight(64, operations.parallel / 2, beginAndEnd) },
        { name: 'BullMQ, add and process, 64 workers', turn: () => queue.turn(Math.ceil(QUEUED * scale)) },
      ],
      { rounds },
    );
    const of = (standing: string) => standingOf(standings, standing);
    const isJudged = name === JUDGED;
    const shared = isJudged ? await hammerBoth(`${url}-shared`, { rounds: Math.min(3, rounds), scale }) : undefined;
    const budgets: Budget[] = [
      {
        name: `redis, 1 worker, ${name}: p50 / EVALSHA`,
        figure: timesAsLong(of('loopstate'), of('EVALSHA')),
        bound: 1.15,
        side: 'at most',
      },
      {
        name: `redis, 64 workers, ${name}: commits / EVALSHA, 64 in flight`,
        figure: timesAsFast(of('loopstate, 64 in flight'), of('EVALSHA, 64 in flight')),
        bound: 1.7,
        side: 'at least',
      },
      {
        name: `redis, 64 workers, ${name}: items / jobs of BullMQ`,
        figure: timesAsFast(of('loopstate, claim and outcome, 64 workers'), of('BullMQ, add and process, 64 workers')),
        bound: 6,
        side: 'at least',
      },
    ];
    if (shared !== undefined)
      budgets.push({
        name: `redis, 4 processes x 16 workers, ${name}: commits / of one process`,
        figure: shared.four / shared.one,
        bound: 0.85,
        side: 'at least',
      });
    return {
      table: {
        title: `Redis, ${name}`,
        note: 'An operation is a commit of one new record, acknowledged by the server; a bare one is a script that gets the same bytes and does no more than that.',
        standings,
        floor: 'EVALSHA',
        peers: ['BullMQ, add and process, 64 workers'],
      },
      budgets,
      notes:
        shared === undefined
          ? []
          : [
              `Four processes of 16 workers each, ${name}: ${shared.four.toFixed(0)} commits per second beside ${shared.one.toFixed(0)} of one process of 16; the slowest took ${shared.worstMs.toFixed(0)} ms.`,
            ],
    };
  } finally {
    await queue.close();
    await state.close();
    await backend.close();
    client.destroy();
    await server.remove();
  }
}

/** A queue whose jobs do nothing, with 64 at once. */
async function startQueue(port: number) {
  const { bullmq } = await loadPeers();
  const options = { connection: { host: '127.0.0.1', port } };
  const queue = new bullmq.Queue('bench', options);
  let completed = 0;
  let onCompleted: () => void = () => undefined;
  const worker = new bullmq.Worker('bench', async () => undefined, { ...options, concurrency: 64 });
  worker.on('completed', () => {
    completed++;
    onCompleted();
  });
  return {
    async turn(operations: number): Promise<Turn> {
      completed = 0;
      const startMs = performance.now();
      const all = new Promise<void>((resolve) => {
        onCompleted = () => void (completed === operations && resolve());
      });
      const { latenciesUs } = await inFlight(64, operations, () => queue.add('item', { record: recordText() }));
      await all;
      return { operations, elapsedMs: performance.now() - startMs, latenciesUs };
    },
    async close(): Promise<void> {
      await worker.close();
      await queue.close();
    },
  };
}
