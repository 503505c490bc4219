/**
 * Whatever is given as the name of a state: it means a place, or it is refused with a code; and a password that stands in it stands in no
 * message, no cause and no finding. URLs of every scheme are made from parts that fit and parts that don't, and opened where that asks nobody
 * but this machine.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { prove } from '@loopstate/conformance';
import { isLoopStateError } from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import fc from 'fast-check';
import { LoopState, openBackend } from 'loopstate';
import { placeOf } from '../../packages/loopstate/src/backend-url.js';
import { shownState } from '../../packages/loopstate/src/cli/shown-state.js';
import { readTarget } from '../../packages/redis/src/target.js';
import { holdsFor, PROPERTY_TIMEOUT_MS } from '../support/property.js';

/** Found in whatever says too much. */
const SECRET = 'hunter2';

const scheme = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('redis', 'rediss', 'redis+sentinel', 'redis+cluster') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'REDIS',
      'Redis+Sentinel',
      'sqlite',
      'file',
      'memory',
      'postgres',
      'http',
      'redis+srv',
      'constructor',
      '__proto__',
    ),
  },
);
const odd = fc.constantFrom(
  '@',
  ':',
  '/',
  '?',
  '#',
  '&',
  '=',
  '%',
  '%zz',
  '%00',
  '[',
  ']',
  ' ',
  '\n',
  '\0',
  'é',
  '🙂',
  '\\',
  '+',
  ';',
  ',',
  '{',
  '..',
);
const words = fc.array(fc.oneof(odd, fc.constantFrom('a', '1', 'job', 'x')), { maxLength: 3 }).map((parts) => parts.join(''));
const password = fc.tuple(words, words, fc.boolean()).map(([before, after, isEncoded]) => {
  const plain = `${before}${SECRET}${after}`;
  return isEncoded ? encodeURIComponent(plain) : plain;
});
const user = fc.oneof(fc.constantFrom('', 'user', 'us%40er'), words);
const host = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('127.0.0.1', 'localhost', '[::1]', 'a,b', 'one:1,two:2') },
  { weight: 1, arbitrary: words },
);
const port = fc.oneof(
  fc.constantFrom('', ':1', ':0', ':65535', ':65536', ':port', ':-1', ':'),
  fc.nat(99_999).map((number) => `:${number}`),
);
const path = fc.oneof(
  fc.constantFrom('', '/', '/0', '/15', '/99999', '/mymaster', '/mymaster/1', '/a/b/c'),
  words.map((text) => `/${text}`),
);
const parameter = fc.tuple(
  fc.oneof(
    fc.constantFrom('job', 'wait', 'durable', 'unsafe', 'tls', 'connectTimeoutMs', 'commandTimeoutMs', 'constructor', '__proto__', ''),
    words,
  ),
  fc.oneof(fc.constantFrom('a', '1', '', 'required', 'eviction', 'yes', '%7b', '%', 'x'.repeat(300)), words),
);
const query = fc.oneof(
  fc.constant('?job=a'),
  fc
    .array(parameter, { maxLength: 4 })
    .map((all) => (all.length === 0 ? '' : `?${all.map(([name, value]) => `${name}=${value}`).join('&')}`)),
);
const slashes = fc.constantFrom('//', '//', '//', '//', '', '/', '///');

const url = fc
  .record({ scheme, slashes, user, password, host, port, path, query, end: fc.constantFrom('', '', '', '#', '#x') })
  .map(
    (part) => `${part.scheme}:${part.slashes}${part.user}:${part.password}@${part.host}${part.port}${part.path}${part.query}${part.end}`,
  );

describe('random URLs', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'loopstate-urls-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('LOOPSTATE_BAD_OPTION: a URL means a place or is refused, and a password in it is never told', async () => {
    const held = await holdsFor(url, 3_000, async (given) => {
      const place = outcomeOf(() => placeOf(given));
      if (place.error !== undefined) return expectRefusal(place.error, given);
      if (place.value?.kind !== 'package' || place.value.scheme === 'sqlite') return;
      const target = outcomeOf(() => readTarget(given));
      if (target.error !== undefined) return expectRefusal(target.error, given);
      // What errors and findings name it by, and what the command does.
      expectNoSecret(target.value?.where, given);
      expectNoSecret(shownState(given), given);
    });
    prove({ test: 'P5 random URLs', backend: 'every', counts: { cases: held }, least: { cases: 3_000 } });
  }).timeout(PROPERTY_TIMEOUT_MS);

  it('LOOPSTATE_UNAVAILABLE: a server that is not there is told of without the password', async () => {
    const reachable = fc
      .record({
        scheme: fc.constantFrom('redis', 'rediss', 'redis+sentinel', 'redis+cluster'),
        user: fc.constantFrom('', 'user'),
        password: words.map((text) => encodeURIComponent(`${SECRET}${text}`)),
        access: fc.constantFrom('read' as const, 'write' as const),
        how: fc.constantFrom('openBackend' as const, 'LoopState.open' as const),
      })
      .map(({ access, how, ...part }) => {
        const path = part.scheme === 'redis+sentinel' ? '/mymaster' : '';
        // Nobody listens on port 1.
        return { access, how, url: `${part.scheme}://${part.user}:${part.password}@127.0.0.1:1${path}?job=a&connectTimeoutMs=40` };
      });
    const held = await holdsFor(reachable, 60, async ({ access, how, url: given }) => {
      const opening = how === 'openBackend' ? openBackend(given, { access }) : LoopState.open(given, { access });
      const error = await opening.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(isLoopStateError(error, 'LOOPSTATE_UNAVAILABLE'), inspect(error)).to.equal(true);
      expectNoSecret(inspect(error, { depth: 9, showHidden: true, getters: true }), given);
    });
    prove({ test: 'P5 random URLs', backend: 'redis', counts: { cases: held }, least: { cases: 60 } });
  }).timeout(PROPERTY_TIMEOUT_MS);

  it('LOOPSTATE_BAD_OPTION: whatever is a path or a file: URL opens, or is refused with a code', async () => {
    const piece = fc.oneof(words, fc.constantFrom('state.json', 'x'.repeat(300), '%2e%2e', '%41', 'a b'));
    const name = fc.array(piece, { minLength: 1, maxLength: 3 }).map((pieces) => pieces.join('').replaceAll('/', '').replaceAll('..', ''));
    const inputs = fc.record({
      name,
      form: fc.constantFrom('path', 'file', 'file-url', 'sqlite', 'sqlite-job'),
      access: fc.constantFrom('read' as const, 'write' as const),
    });
    const held = await holdsFor(inputs, 150, async ({ name: given, form, access }) => {
      const target = {
        path: `${directory}/${given}`,
        file: `file:${directory}/${given}`,
        'file-url': `file://${directory}/${given}`,
        sqlite: `sqlite:${directory}/${given}`,
        'sqlite-job': `sqlite:${directory}/state.db?job=${given}`,
      }[form];
      try {
        const backend = await openBackend(target, { access });
        await backend.close();
      } catch (error) {
        if (!isLoopStateError(error)) throw new AssertionError(`${target}: ${inspect(error)}`);
        expect(['LOOPSTATE_BAD_OPTION', 'LOOPSTATE_UNAVAILABLE', 'LOOPSTATE_ABSENT', 'LOOPSTATE_FOREIGN'], inspect(error)).to.include(
          error.code,
        );
      }
    });
    prove({ test: 'P5 random URLs', backend: 'file', counts: { cases: held }, least: { cases: 150 } });
  }).timeout(PROPERTY_TIMEOUT_MS);
});

function outcomeOf<T>(run: () => T): { readonly value?: T; readonly error?: unknown } {
  try {
    return { value: run() };
  } catch (error) {
    return { error };
  }
}

function expectRefusal(error: unknown, given: string): void {
  if (!isLoopStateError(error, 'LOOPSTATE_BAD_OPTION')) throw new AssertionError(`It is refused with ${inspect(error)}`);
  expectNoSecret(inspect(error, { depth: 9, showHidden: true, getters: true }), given);
}

function expectNoSecret(said: string | undefined, given: string): void {
  if (said?.includes(SECRET)) throw new AssertionError(`${JSON.stringify(given)} is told as ${said}`);
}
