import { LIMITS } from '@loopstate/core';
import { expect } from 'chai';
import { expectCode, expectExact, expectRecord } from '../expectations.js';
import type { BackendFixture } from '../fixture.js';
import { readChanges } from '../follow-changes.js';
import { mustCommit, testLaw } from '../law-test.js';
import { show } from '../show.js';

/** Keys that stores, drivers, query languages and JavaScript objects are known to trip over; all are different keys. */
// biome-ignore format: a line for each kind of key says more than a line for each key.
const HOSTILE_KEYS: readonly string[] = [
  ' ', 'a', 'a ', ' a', 'A', '\ta', 'a\n', 'a\r\nb', '\0', 'a\0', 'a\0b', '\b', '\u001b[31m',
  '0', '00', '-0', '1', '1.0', '1e3', 'null', 'undefined', 'true',
  ':', 'a:b', 'a::b', '%', 'a%b', 'a%3Ab', '%00', '_', 'a_b', 'axb', '*', 'a*', '?', '[', '[a]', '{', '}', '{job}', '\\', '\\0', '\\u0000',
  '/', '//', '.', '..', '../../etc/passwd', 'a/b', "'", '"', '`', "'; DROP TABLE records; --", '$1', ';', '#', '--',
  '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', 'length', 'then', 'toJSON',
  'é', 'e\u0301', 'É', 'ß', 'ss', 'SS', 'ﬁ', 'fi', 'İ', 'ı', 'i', 'I', '\uff41', '日本語', 'عربى', '🙂', '👩‍👩‍👧', '\u{1d11e}', '\u{10ffff}', '\uffff',
  '\u200b', '\ufeff', '\ufeffa', '\u2028', '\u2029', '\u202eabc', '\u00a0', '\u00ad', 'a\u00ad',
  'k'.repeat(LIMITS.keyBytes), `${'k'.repeat(LIMITS.keyBytes - 1)}l`, `l${'k'.repeat(LIMITS.keyBytes - 1)}`,
  'é'.repeat(LIMITS.keyBytes / 2), '€'.repeat(Math.floor(LIMITS.keyBytes / 3)), '🙂'.repeat(LIMITS.keyBytes / 4),
];

const REFUSED_KEYS: Readonly<Record<string, unknown>> = {
  'the empty string': '',
  'one byte too many': 'k'.repeat(LIMITS.keyBytes + 1),
  'one byte too many, in few characters': `${'🙂'.repeat(LIMITS.keyBytes / 4)}k`,
  'half of a surrogate pair': 'a\ud83d',
  'the other half': '\ude42',
  'a surrogate pair turned round': '\ude42\ud83d',
  'a number': 7,
  undefined: undefined,
  'an array': ['a'],
};

/** Which keys there are, and that no two of them are one. */
export function testKeyLaws(fixture: BackendFixture): void {
  testLaw(fixture, 'value/exact', `${HOSTILE_KEYS.length} hostile keys are kept apart`, async ({ open }) => {
    const [store, other] = [await open(), await open()];
    const puts = HOSTILE_KEYS.map((key, index) => ({ key, value: index }));
    const checks = HOSTILE_KEYS.map((key) => ({ key, revision: 0 }));
    const revision = await mustCommit(store, { checks, puts });
    const records = await other.read(HOSTILE_KEYS);
    for (const [index, record] of records.entries()) expectRecord(record, { key: HOSTILE_KEYS[index]!, value: index, revision });
    const changes = await readChanges(store, 0);
    expectExact(new Map(changes.map((change) => [change.key, change.record?.value])), new Map(puts.map((put) => [put.key, put.value])));
  });

  testLaw(fixture, 'value/exact', 'to put, check or delete one hostile key touches no other', async ({ open }) => {
    const store = await open();
    const first = await mustCommit(store, { puts: HOSTILE_KEYS.map((key) => ({ key, value: key })) });
    const expected = new Map<string, number | undefined>(HOSTILE_KEYS.map((key) => [key, first]));
    for (const [index, key] of HOSTILE_KEYS.entries()) {
      const checks = [{ key, revision: first }];
      const isDeleted = index % 2 === 0;
      const revision = await mustCommit(store, isDeleted ? { checks, deletes: [key] } : { checks, puts: [{ key, value: key }] });
      expected.set(key, isDeleted ? undefined : revision);
    }
    const records = await store.read(HOSTILE_KEYS);
    expectExact(new Map(records.map((record, index) => [HOSTILE_KEYS[index], record?.revision])), expected);
  });

  testLaw(fixture, 'value/exact', 'a key that was never put is absent, whatever its name', async ({ open }) => {
    const store = await open();
    const records = await store.read(HOSTILE_KEYS);
    const found = records.flatMap((record) => (record === undefined ? [] : [show(record)]));
    expect(found).to.deep.equal([]);
    const [first, ...rest] = HOSTILE_KEYS;
    await mustCommit(store, { puts: [{ key: first!, value: 1 }] });
    expect((await store.read(rest)).filter((record) => record !== undefined)).to.deep.equal([]);
  });

  testLaw(fixture, 'value/exact', 'hostile keys come back after reopening', async ({ open }) => {
    let store = await open();
    const revision = await mustCommit(store, { puts: HOSTILE_KEYS.map((key) => ({ key, value: { [key]: key } })) });
    await store.close();
    store = await open();
    const records = await store.read(HOSTILE_KEYS);
    for (const [index, key] of HOSTILE_KEYS.entries()) {
      // A computed name, since a literal `__proto__` would set the prototype.
      expectRecord(records[index], { key, value: { [key]: key }, revision });
    }
  });

  for (const [title, key] of Object.entries(REFUSED_KEYS)) {
    testLaw(fixture, 'value/exact', `as a key, ${title} is refused wherever it stands`, async ({ open }) => {
      const store = await open();
      const refused = key as string;
      const fine = { key: 'fine', value: 1 };
      await expectCode(store.read(['fine', refused]), 'LOOPSTATE_BAD_KEY', 'read');
      await expectCode(store.commit({ puts: [fine, { key: refused, value: 1 }] }), 'LOOPSTATE_BAD_KEY', 'a put');
      await expectCode(store.commit({ puts: [fine], deletes: [refused] }), 'LOOPSTATE_BAD_KEY', 'a delete');
      await expectCode(store.commit({ puts: [fine], checks: [{ key: refused, revision: 0 }] }), 'LOOPSTATE_BAD_KEY', 'a check');
      expectExact(await readChanges(store, 0), [], 'what the store holds');
    });
  }
}
