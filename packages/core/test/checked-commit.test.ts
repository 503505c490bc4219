/**
 * What no value may be, beyond the kinds that the suite of the backends goes through: each of these once passed, threw an error without a
 * code, or was walked for ever.
 */
import { type Commit, checkCommit } from '@loopstate/core';
import { expect } from 'chai';
import { codeOf } from './support/codes.js';

class List extends Array<number> {}

const REFUSED: Readonly<Record<string, () => unknown>> = {
  'an array of a class of its own': () => ({ a: List.from([1]) }),
  'an array with a symbol as a name': () => Object.assign([1], { [Symbol('a')]: 1 }),
  'a getter that throws': () => ({
    get a() {
      throw new TypeError('It is not to be read.');
    },
  }),
  'a proxy that was revoked': () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return [proxy];
  },
  'arrays that share what they hold': () => {
    let value: unknown = 'x';
    for (let depth = 0; depth < 400; depth++) value = [value, value];
    return value;
  },
  'objects that share what they hold': () => {
    let value: object = {};
    for (let depth = 0; depth < 7; depth++) value = Object.fromEntries(Array.from({ length: 100 }, (_, name) => [name, value]));
    return value;
  },
  'texts that are long together': () => Array.from({ length: 2_000 }, () => 'x'.repeat(1_000_000)),
};

describe('Values', () => {
  for (const [name, make] of Object.entries(REFUSED)) {
    it(`value/exact: ${name} is refused`, async () => {
      const commit = { puts: [{ key: 'a', value: make() }] } as Commit;
      expect(await codeOf((async () => checkCommit(commit))())).to.equal('LOOPSTATE_VALUE_REFUSED');
    });
  }
});
