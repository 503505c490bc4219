/**
 * A URL means one thing or is refused, and no password leaves it. Proved on the pure reading of targets: no server is asked.
 */
import { inspect } from 'node:util';
import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import { type RedisOptions, readTarget } from '../src/target.js';

describe('redis: targets', () => {
  it('one server, with all that a URL can say', () => {
    const target = readTarget('rediss://us%40er:p%3Ass@[::1]:7000/3?job=a%20b&wait=2&durable=required&unsafe=eviction&commandTimeoutMs=70');
    expect(target).to.deep.equal({
      endpoint: {
        kind: 'server',
        address: { host: '::1', port: 7_000 },
        settings: { username: 'us@er', password: 'p:ss', tls: true, database: 3 },
      },
      where: 'rediss://[::1]:7000/3?job=a%20b',
      job: 'a b',
      wait: 2,
      isDurabilityRequired: true,
      isEvictionAllowed: true,
      connectTimeoutMs: 5_000,
      commandTimeoutMs: 70,
    });
  });

  it('Sentinels and the name of the master', () => {
    const { endpoint, where } = readTarget('redis+sentinel://:secret@one,two:7001/my%20master/2?job=j&tls=yes');
    expect(endpoint).to.deep.equal({
      kind: 'sentinel',
      nodes: [
        { host: 'one', port: 26_379 },
        { host: 'two', port: 7_001 },
      ],
      masterName: 'my master',
      settings: { password: 'secret', tls: true, database: 2 },
      sentinelSettings: { tls: true, database: 0 },
    });
    expect(where).to.equal('redis+sentinel://one:26379,two:7001/my%20master/2?job=j');
  });

  it('a few nodes of a cluster', () => {
    const { endpoint } = readTarget('redis+cluster://one,two:7001?job=j');
    expect(endpoint).to.deep.equal({
      kind: 'cluster',
      nodes: [
        { host: 'one', port: 6_379 },
        { host: 'two', port: 7_001 },
      ],
      settings: { tls: false, database: 0 },
    });
  });

  it('options go before what the URL says, and a client needs a job as well', () => {
    expect(readTarget({ url: 'redis://one?job=url&wait=1', job: 'options' })).to.include({ job: 'options', wait: 1 });
    const undefinedOnes = { job: undefined, wait: undefined, durable: undefined } as object;
    const kept = readTarget({ url: 'redis://one?job=url&wait=1&durable=required', ...undefinedOnes });
    expect(kept).to.include({ job: 'url', wait: 1, isDurabilityRequired: true });
    const client = { url: 'redis://one' };
    expect(readTarget({ client, job: 'j' }).endpoint).to.deep.equal({ kind: 'client', client });
    expect(codeOfTarget({ client })).to.equal('LOOPSTATE_BAD_OPTION');
  });

  const refused = [
    'redis://one:6379/0',
    'redis://one?job=',
    'redis://one?job=a{b',
    'redis://one?job=a%00b',
    `redis://one?job=${'x'.repeat(201)}`,
    'redis://one?job=j&job=k',
    'redis://one?job=j&watch=1',
    'redis://one?job=j&wait=-1',
    'redis://one?job=j&wait=1.5',
    'redis://one?job=j&commandTimeoutMs=0',
    'redis://one?job=j&durable=no',
    'redis://one?job=j&unsafe=all',
    'redis://one?job=j&tls=yes',
    'redis://one?job=j#x',
    'redis://one/zero?job=j',
    'redis://one/0/1?job=j',
    'redis://one,two?job=j',
    'redis://one:70000?job=j',
    'redis:///0?job=j',
    'redis:one?job=j',
    'http://one?job=j',
    'redis://us%er@one?job=j',
    'redis+sentinel://one?job=j',
    'redis+sentinel://one/?job=j',
    'redis+cluster://one/1?job=j',
    'redis+cluster://one?job=j&tls=maybe',
  ];
  for (const url of refused) {
    it(`refuses ${url.slice(0, 60)}`, () => expect(codeOfTarget(url)).to.equal('LOOPSTATE_BAD_OPTION'));
  }

  it('refuses options that it does not know, and two places at once', () => {
    expect(codeOfTarget({ url: 'redis://one', job: 'j', ttl: 5 } as RedisOptions)).to.equal('LOOPSTATE_BAD_OPTION');
    expect(codeOfTarget({ url: 'redis://one', client: {}, job: 'j' })).to.equal('LOOPSTATE_BAD_OPTION');
    expect(codeOfTarget({ job: 'j' })).to.equal('LOOPSTATE_BAD_OPTION');
    expect(codeOfTarget({ url: 'redis://one', job: 'j', wait: '1' as unknown as number })).to.equal('LOOPSTATE_BAD_OPTION');
  });

  it('a password stands in no refusal, wherever it was misplaced', () => {
    const misplaced = [
      'redis://user:hunter2@one',
      'redis://user:hunter2@one:port?job=j',
      'redis://user:hunter2%@one?job=j',
      'redis://one?job=j&password=hunter2',
      'redis://one/hunter2?job=j',
      'redis:user:hunter2@one?job=j',
      'redis+sentinel://user:hunter2@one?job=j',
      'redis://user:hunter2@one,two?job=j',
      'redis://user:?hunter2@one?job=j',
      'redis://user:1?hunter2=1@one?job=j',
      'redis+sentinel://user:1/hunter2@one/mymaster?job=j',
      'redis://user:1?job=hunter2@one',
    ];
    for (const url of misplaced) expect(inspect(errorOfTarget(url), { depth: 9 }), url).not.to.include('hunter2');
  });
});

function codeOfTarget(target: string | RedisOptions): string {
  return errorOfTarget(target).code;
}

function errorOfTarget(target: string | RedisOptions): Error & { code: string } {
  try {
    readTarget(target);
  } catch (error) {
    if (isLoopStateError(error)) return error;
    throw error;
  }
  throw new Error('It was not refused.');
}
