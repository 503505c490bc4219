/** Values of every kind for tests: those that JSON brings back as they were, and those that it does not. */
import type { Json } from '@loopstate/core';
import fc from 'fast-check';

const NAMES = ['__proto__', 'constructor', 'toString', 'toJSON', 'length', 'status', 'by', '', '0', '-1', 'é', 'e\u0301', '\0'];

const text = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('\u2028', '\u0085', '\ufeff', '\uffff', '\u202e', '"\\', '\\ud800', '[null]', '-0', '\u{10ffff}'),
  },
);
const name = fc.oneof(fc.constantFrom(...NAMES), text);
const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
  fc.integer(),
  fc.constantFrom(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 53 + 2, 5e-324, 1e21, 1e-7, Number.MAX_VALUE),
);

/** Comes back deep-equal. */
export const exactValue: fc.Arbitrary<Json> = fc.letrec<{ value: Json; array: Json[]; object: { [name: string]: Json } }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'small' },
    fc.oneof(fc.constant(null), fc.boolean(), number, text),
    tie('array'),
    tie('object'),
  ),
  array: fc.array(tie('value'), { maxLength: 6 }),
  object: fc.dictionary(name, tie('value'), { maxKeys: 6, noNullPrototype: true }),
})).value;

/** A value that is made anew for each use, and that a counterexample shows by a few words. */
export interface MadeValue {
  make(): unknown;
}

/** Large, or deep, and exact all the same. */
const bulkyValue: fc.Arbitrary<MadeValue> = fc
  .record({ kind: fc.nat(4), size: fc.double({ min: 0, max: 1, noNaN: true }) })
  .map(({ kind, size }) => {
    switch (kind) {
      case 0:
        return made(`${size} MiB`, () => 'x'.repeat(size * 1_048_500));
      case 1:
        return made(`${size} MiB once escaped`, () => '€\0'.repeat(size * 116_000));
      case 2:
        return made(`${size} * 1,500 arrays within each other`, () => nested(size * 1_500, (inner) => [inner]));
      case 3:
        return made(`${size} * 1,500 objects within each other`, () => nested(size * 1_500, (inner) => ({ beside: 1, inner })));
      default:
        return made(`${size} * 100,000 numbers`, () => Array.from({ length: size * 100_000 }, (_, index) => index));
    }
  });

/** Comes back deep-equal too, whatever it costs. */
export const storableValue: fc.Arbitrary<MadeValue> = fc.oneof(
  { weight: 12, arbitrary: exactValue.map((value) => made(fc.stringify(value), () => value)) },
  { weight: 1, arbitrary: bulkyValue },
);

class Point {
  readonly x = 1;
}

class List extends Array<number> {}

/** Each is made anew for its use: some are objects that must not be shared. The name is for the reader of a counterexample. */
const POISONS: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  '-0': () => -0,
  NaN: () => Number.NaN,
  Infinity: () => Number.NEGATIVE_INFINITY,
  BigInt: () => 1n,
  symbol: () => Symbol('a'),
  function: () => () => 1,
  Date: () => new Date(0),
  'an invalid Date': () => new Date(Number.NaN),
  Map: () => new Map(),
  Set: () => new Set(['a']),
  RegExp: () => /a/,
  Error: () => new Error('a'),
  'a Promise within': () => [Promise.resolve(1)],
  Buffer: () => Buffer.from('a'),
  'a typed array': () => new Float64Array(2),
  'an instance': () => new Point(),
  'an array of a class of its own': () => List.from([1]),
  'a boxed string': () => Object('a'),
  'a boxed number': () => Object(1),
  'a toJSON': () => ({ toJSON: () => 1 }),
  'a toJSON that is inherited': () => Object.create({ toJSON: () => 1 }),
  'a toJSON of an array': () => Object.assign([1], { toJSON: () => 1 }),
  'a toJSON that throws': () => ({ toJSON: () => fail() }),
  'a getter that throws': () => ({
    get a() {
      return fail();
    },
  }),
  'a proxy that throws': () => new Proxy({}, { ownKeys: () => fail() }),
  'a proxy that was revoked': () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  'a hole': () => Object.assign([1], { length: 3 }),
  'a long hole': () => new Array(4_294_967_295),
  'an array with a name': () => Object.assign([1], { a: 1 }),
  'an array with a symbol': () => Object.assign([1], { [Symbol('a')]: 1 }),
  'a symbol as a name': () => ({ [Symbol('a')]: 1 }),
  'half of a pair': () => 'a\ud800',
  'the other half of a pair': () => '\udfffa',
  'half of a pair in a name': () => ({ 'a\udc00': 1 }),
  'a cycle': () => {
    const cycle: unknown[] = [];
    cycle.push({ cycle });
    return cycle;
  },
  'nested 100,000 times': () => nested(100_000, (inner) => [inner]),
  'nested 20,000 times, in objects': () => nested(20_000, (inner) => ({ inner })),
  'two million texts, by sharing': () => shared(21),
  'more texts than there are atoms, by sharing': () => shared(400),
  'over 1 MiB': () => 'x'.repeat(1_024 * 1_024 + 1),
  'over 1 MiB in UTF-8': () => '€'.repeat(400_000),
  'over 1 MiB once escaped': () => '\u0001'.repeat(200_000),
};

/** A value that must be refused: something that JSON can't bring back stands somewhere in it. */
export const poisonedValue: fc.Arbitrary<MadeValue> = fc
  .record({
    poison: fc.constantFrom(...Object.keys(POISONS)),
    path: fc.array(fc.oneof(name, fc.nat(3)), { maxLength: 12 }),
    beside: exactValue,
  })
  .map(({ poison, path, beside }) =>
    made(`${poison} at ${fc.stringify(path)} beside ${fc.stringify(beside)}`, () =>
      path.reduceRight<unknown>((inner, step) => {
        if (typeof step === 'number') return [...Array.from({ length: step }, () => beside), inner];
        const members: [string, unknown][] = [
          ['beside', beside],
          [step, inner],
        ];
        return Object.fromEntries(members);
      }, POISONS[poison]?.()),
    ),
  );

function made(words: string, make: () => unknown): MadeValue {
  return Object.assign({ make }, { [fc.toStringMethod]: () => words });
}

function nested<T>(depth: number, wrap: (inner: T | null) => T): T {
  let value: T | null = null;
  for (let count = 0; count < depth; count++) value = wrap(value);
  return wrap(value);
}

/** Two to the power of `depth` texts, in as few arrays as that. */
function shared(depth: number): unknown {
  let value: unknown = 'x';
  for (let count = 0; count < depth; count++) value = [value, value];
  return value;
}

function fail(): never {
  throw new TypeError('It is not to be read.');
}
