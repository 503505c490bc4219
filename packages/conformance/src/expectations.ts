import { isDeepStrictEqual } from 'node:util';
import { type ErrorCode, isLoopStateError, type StateRecord } from '@loopstate/core';
import { AssertionError, expect } from 'chai';
import { show } from './show.js';

/** Demands equality in everything that JSON can show: own keys such as `__proto__`, the sign of zero, plain prototypes. */
export function expectExact(actual: unknown, expected: unknown, what = 'the value'): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new AssertionError(`${what}: expected ${show(expected)}, got ${show(actual)}`);
}

/** Demands that a call reject with an error of loopstate that carries `code`. */
export async function expectCode(call: Promise<unknown>, code: ErrorCode, what = 'the call'): Promise<void> {
  let answer: unknown;
  try {
    answer = await call;
  } catch (error) {
    if (isLoopStateError(error, code)) return;
    throw new AssertionError(`${what} must reject with ${code}, and rejected with ${show(error)}`);
  }
  throw new AssertionError(`${what} must reject with ${code}, and resolved with ${show(answer)}`);
}

/** Demands a record under `key`, with exactly this value, put by the commit of this revision. */
export function expectRecord(record: StateRecord | undefined, expected: Pick<StateRecord, 'key' | 'value' | 'revision'>): void {
  if (record === undefined) throw new AssertionError(`a record of ${show(expected.key)} was expected, and there is none`);
  const { key, value, revision } = record;
  expectExact({ key, value, revision }, expected, 'the record');
  expect(record.at, 'the time of the record, in ms').to.be.a('number').and.satisfy(Number.isFinite);
}
