/** The Redis backend beside a bare `EVALSHA` of the same bytes by the same driver, on a server of our own. */
import { randomUUID } from 'node:crypto';
import { createClient } from '@keyv/redis';
import { openBackend } from 'loopstate';
import { startRedis } from '../support/redis-server.js';
import { compete, inFlight, oneByOne, timesAsFast, timesAsLong } from './contest.js';
import type { Budget, SectionOptions, SectionResult, Table } from './section.js';
import { commitNew, newKey, recordText } from './workload.js';

const SERIAL = 1_000;
const PARALLEL = 10_000;

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
  for (const [name, flags] of Object.entries(SETTINGS)) {
    const found = await measure(name, flags, options);
    tables.push(found.table);
    budgets.push(...found.budgets);
  }
  return { title: 'Redis', tables, budgets };
}

async function measure(name: string, flags: readonly string[], { rounds, scale }: SectionOptions) {
  const server = await startRedis(['--save', '', ...flags]);
  const client = createClient({ socket: { host: '127.0.0.1', port: server.port } });
  await client.connect();
  const backend = await openBackend(`redis://127.0.0.1:${server.port}/0?job=bench`, { access: 'write' });
  const sha = await client.scriptLoad(BARE);
  const keys = ['records', 'revisions', 'header', 'tombstones'].map((name) => `loopstate:{bare}:${name}`);
  const known = [`${randomUUID()} 1 ${'0'.repeat(40)}`, `${Date.now() * 1_000}`, '0'.repeat(40), '10000', '100', '1', '1'];
  const evaluate = (): Promise<unknown> => {
    const key = newKey();
    return client.evalSha(sha, { keys, arguments: [key, '0', `00000000 ${recordText()}`, ...known, key] });
  };
  try {
    const operations = { serial: Math.ceil(SERIAL * scale), parallel: Math.ceil(PARALLEL * scale) };
    const standings = await compete(
      [
        { name: 'loopstate', turn: () => oneByOne(operations.serial, () => commitNew(backend)) },
        { name: 'EVALSHA', turn: () => oneByOne(operations.serial, evaluate) },
        { name: 'loopstate, 64 in flight', turn: () => inFlight(64, operations.parallel, () => commitNew(backend)) },
        { name: 'EVALSHA, 64 in flight', turn: () => inFlight(64, operations.parallel, evaluate) },
      ],
      { rounds },
    );
    const [serial, bareSerial, parallel, bareParallel] = standings as [Row, Row, Row, Row];
    return {
      table: {
        title: `Redis: ${name}`,
        note: 'An operation is a commit of one new record, acknowledged by the server; a bare one is a script that gets the same bytes and does no more than that.',
        standings,
        floor: 'EVALSHA',
      },
      budgets: [
        { name: `redis, 1 worker, ${name}: p50 / EVALSHA`, figure: timesAsLong(serial, bareSerial), bound: 1.15, side: 'at most' },
        {
          name: `redis, 64 workers, ${name}: rate / EVALSHA, 64 in flight`,
          figure: timesAsFast(parallel, bareParallel),
          bound: 1.7,
          side: 'at least',
        },
      ] satisfies Budget[],
    };
  } finally {
    await backend.close();
    client.destroy();
    await server.remove();
  }
}

type Row = Awaited<ReturnType<typeof compete>>[number];
