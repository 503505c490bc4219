import { type Json, LIMITS } from '@loopstate/core';
import { expect } from 'chai';
import { expectCode, expectExact } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { readChanges } from '../follow-changes.js';
import { mustCommit, mustConflict, testLaw } from '../law-test.js';

/** Built by `JSON.parse` where a literal would mean something else, as `__proto__` does. */
const EXACT_VALUES: Readonly<Record<string, Json>> = {
  null: null,
  booleans: [true, false],
  'empty containers': ['', [], {}, [[]], [{}], { a: {}, b: [] }],
  'whole numbers': [0, 1, -1, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 53 + 2, 1e15, 1e21],
  'broken numbers': [0.1, 0.1 + 0.2, 5e-324, -5e-324, 1e308, Number.MAX_VALUE, Number.EPSILON, 1 / 3, 123456.789e-30],
  'strings that look like something else': ['null', '0', '-0', '1e5', 'true', '{}', '[]', '"', '2026-01-01T00:00:00.000Z', ':base64:AA=='],
  'control characters': Array.from({ length: 33 }, (_, code) => String.fromCharCode(code)).join(''),
  'line separators': '\u2028\u2029\u0085\r\n\n\r\t',
  'all of Unicode': ['é', 'e\u0301', '🙂', '\u{10ffff}', '\uffff', '\ufeff', '日本語', '\u202e', '\0'],
  escapes: ['\\', '\\u0000', '\\n', '"\\"', '</script>', "'", '%s%d', '{{a}}'],
  'names of every kind': JSON.parse(
    '{"__proto__":{"a":1},"constructor":2,"toString":null,"":3,"0":4,"-1":5,"a b":6,"\\u0000":7,"é":8,"e\\u0301":9,"length":10}',
  ) as Json,
  '__proto__ within __proto__': JSON.parse('{"a":[{"__proto__":{"__proto__":null}}],"__proto__":"text"}') as Json,
  '500 arrays within each other': nest(500, (inner) => [inner]),
  '500 objects within each other': nest(500, (inner) => ({ inner, beside: 1 })),
  'a long array': Array.from({ length: 5_000 }, (_, index) => index / 7),
  'an object of 2,000 names': Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`name-${index}`, index])),
  'the largest string': 'x'.repeat(LIMITS.valueBytes - 2),
  'the largest string of 3-byte characters': '€'.repeat(Math.floor((LIMITS.valueBytes - 2) / 3)),
};

class Point {
  readonly x = 1;
}

/** Each is made anew for its test, since some of them are not constants. */
const REFUSED_VALUES: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  'undefined in an object': () => ({ a: 1, b: undefined }),
  'undefined in an array': () => [1, undefined],
  'a hole in an array': () => new Array(2),
  'an array with a name': () => Object.assign([1], { extra: 2 }),
  '-0': () => -0,
  '-0 within': () => ({ a: [{ b: -0 }] }),
  NaN: () => Number.NaN,
  Infinity: () => [Number.POSITIVE_INFINITY],
  '-Infinity': () => ({ a: Number.NEGATIVE_INFINITY }),
  BigInt: () => 1n,
  'BigInt within': () => ({ a: [1n] }),
  'a function': () => ({ a: () => 1 }),
  'a symbol': () => [Symbol('a')],
  'a symbol as a name': () => ({ [Symbol('a')]: 1 }),
  'a Date': () => new Date(0),
  'a Date within': () => ({ at: new Date(0) }),
  'a toJSON': () => ({ toJSON: () => 1 }),
  'a Map': () => new Map([['a', 1]]),
  'a Set': () => ({ a: new Set() }),
  'a class instance': () => new Point(),
  'a typed array': () => new Uint8Array(2),
  'a boxed string': () => Object('a'),
  'an Error': () => new Error('a'),
  'a cycle': () => {
    const cycle: { self?: unknown } = {};
    cycle.self = [cycle];
    return cycle;
  },
  'half of a surrogate pair': () => 'a\ud800',
  'half of a surrogate pair within': () => [{ a: '\udc00b' }],
  'half of a surrogate pair in a name': () => ({ 'a\ud800': 1 }),
  'one byte over 1 MiB': () => 'x'.repeat(LIMITS.valueBytes - 1),
  'over 1 MiB in few characters': () => '€'.repeat(Math.ceil((LIMITS.valueBytes - 1) / 3)),
  'over 1 MiB once escaped': () => '\0'.repeat(LIMITS.valueBytes / 5),
};

/** Which values there are, that they come back exact, and that they are copies. */
export function testValueLaws(fixture: BackendFixture): void {
  testLaw(
    fixture,
    'value/exact',
    `${Object.keys(EXACT_VALUES).length} kinds of values come back deep-equal, also after reopening`,
    async ({ open }) => {
      const [store, other] = [await open(), await open()];
      // Two or three large ones are not one commit: each goes alone.
      for (const [key, value] of Object.entries(EXACT_VALUES)) {
        await mustCommit(store, { puts: [{ key, value }] });
        expectExact((await store.read([key]))[0]?.value, value, key);
        expectExact((await other.read([key]))[0]?.value, value, `${key}, on another handle`);
      }
      for (const { key, record } of await readChanges(store, 0)) expectExact(record?.value, EXACT_VALUES[key], `${key}, as a change`);
      await Promise.all([store.close(), other.close()]);
      const reopened = await open();
      for (const [key, value] of Object.entries(EXACT_VALUES)) {
        expectExact((await reopened.read([key]))[0]?.value, value, `${key}, after reopening`);
        const [conflict] = await mustConflict(reopened, { checks: [{ key, revision: 0 }], puts: [{ key: 'a', value: 1 }] });
        expectExact(conflict?.record?.value, value, `${key}, as a conflict`);
      }
    },
  );

  testLaw(fixture, 'value/exact', 'an object without a prototype is a plain object', async ({ open }) => {
    const store = await open();
    const value = Object.assign(Object.create(null) as { [key: string]: Json }, { a: { b: 1 } });
    await mustCommit(store, { puts: [{ key: 'a', value }] });
    expectExact((await store.read(['a']))[0]?.value, { a: { b: 1 } });
  });

  testLaw(fixture, 'value/exact', 'one object in two places is no cycle', async ({ open }) => {
    const store = await open();
    const shared = { a: 1 };
    await mustCommit(store, { puts: [{ key: 'a', value: [shared, { shared }] }] });
    expectExact((await store.read(['a']))[0]?.value, [{ a: 1 }, { shared: { a: 1 } }]);
  });

  testLaw(fixture, 'value/exact', 'to change what was put, or what was read, changes nothing in the store', async ({ open }) => {
    const [store, other] = [await open(), await open()];
    const put = { list: [1], inner: { a: 'first' } };
    const committing = store.commit({ puts: [{ key: 'a', value: put }] });
    // From the call on, not only once it resolved: a commit is what it was when it was given.
    put.list.push(2);
    put.inner.a = 'changed';
    expect((await committing).ok).to.equal(true);
    const expected = { list: [1], inner: { a: 'first' } };
    for (const handle of [store, other]) {
      for (const keys of [['a'], ['a', 'a'], ['a']]) {
        const [read, again = expected] = (await handle.read(keys)).map((record) => record!.value as typeof put);
        expectExact(read, expected, 'the value read');
        read!.list.push(3);
        read!.inner.a = 'changed';
        expectExact(again, expected, 'the same value, read a second time');
      }
      const [change] = await readChanges(handle, 0);
      expectExact(change?.record?.value, expected, 'the change');
      (change!.record!.value as typeof put).list.length = 0;
    }
    expectExact((await store.read(['a']))[0]?.value, expected);
    expectExact((await other.read(['a']))[0]?.value, expected);
  });

  testLaw(fixture, 'value/exact', 'what was given to commit or read may be used again at once', async ({ open }) => {
    const store = await open();
    const puts = [{ key: 'a', value: 1 }];
    const deletes: string[] = [];
    const committing = store.commit({ puts, deletes });
    Object.assign(puts[0]!, { key: 'b', value: 2 });
    deletes.push('a');
    await committing;
    const keys = ['a', 'b'];
    const reading = store.read(keys);
    keys.reverse();
    expectExact(
      (await reading).map((record) => record?.value),
      [1, undefined],
    );
  });

  for (const [title, makeValue] of Object.entries(REFUSED_VALUES)) {
    testLaw(fixture, 'value/exact', `as a value, ${title} is refused before anything happens`, async ({ open }) => {
      const store = await open();
      const puts = [
        { key: 'fine', value: 1 },
        { key: 'a', value: makeValue() as Json },
      ];
      await expectCode(store.commit({ puts }), 'LOOPSTATE_VALUE_REFUSED', title);
      expectExact(await readChanges(store, 0), [], 'what the store holds');
      await mustCommit(store, { checks: [{ key: 'a', revision: 0 }], puts: [{ key: 'a', value: 1 }] });
    });
  }
}

function nest(depth: number, wrap: (inner: Json) => Json): Json {
  let value: Json = 'innermost';
  for (let level = 0; level < depth; level++) value = wrap(value);
  return value;
}
