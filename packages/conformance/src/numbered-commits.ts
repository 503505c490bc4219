import { isDeepStrictEqual } from 'node:util';
import type { Commit, Json, StateRecord } from '@loopstate/core';
import type { Violation } from './history.js';
import { show } from './show.js';

/** So many commits after a key was put it is deleted: more than are ever in flight together. */
const DOOM_AFTER = 16;

/** What is known of the numbered commits of a store before it is opened again. */
export interface Ledger {
  /** The numbers that were tried at all. */
  readonly tried: ReadonlySet<number>;
  /** The numbers that must be there, each with its revision: acknowledged, or seen after an earlier crash. */
  readonly owed: ReadonlyMap<number, number>;
}

/** Commit `number`: two records for good, one that a later commit deletes, and the deletion of an earlier one's. */
export function numberedCommit(number: number): Commit {
  const value = numberedValue(number);
  return {
    puts: [
      { key: `left/${number}`, value },
      { key: `right/${number}`, value },
      { key: `doomed/${number + DOOM_AFTER}`, value },
    ],
    deletes: [`doomed/${number}`],
  };
}

/**
 * Which commits stand, each with its revision, and what is wrong with that: lost, invented, torn, inexact or out of order. All
 * records of the store must be given, and the store must hold nothing but numbered commits.
 */
export function judgeSurvivors(
  records: ReadonlyMap<string, StateRecord>,
  ledger: Ledger,
): { standing: Map<number, number>; violations: Violation[] } {
  const standing = new Map<number, number>();
  const violations: Violation[] = [];
  for (const { key, value, revision } of records.values()) {
    const [kind, digits = ''] = key.split('/');
    const number = Number(digits);
    const author = kind === 'doomed' ? number - DOOM_AFTER : number;
    if (kind === 'left') standing.set(number, revision);
    if (!ledger.tried.has(author)) violations.push({ law: 'commit/acked-survives', message: `${show(key)} was never tried` });
    if (!isDeepStrictEqual(value, numberedValue(author)))
      violations.push({ law: 'value/exact', message: `${show(key)} holds ${show(value)}` });
  }
  for (const number of ledger.tried) {
    const revision = standing.get(number);
    const expected = { right: revision, doomed: standing.has(number + DOOM_AFTER) ? undefined : revision };
    const found = { right: records.get(`right/${number}`)?.revision, doomed: records.get(`doomed/${number + DOOM_AFTER}`)?.revision };
    if (isDeepStrictEqual(found, expected)) continue;
    violations.push({ law: 'commit/all-or-nothing', message: `half of commit ${number} stands: left ${revision}, and ${show(found)}` });
  }
  for (const [number, revision] of ledger.owed) {
    const found = standing.get(number);
    if (found === revision) continue;
    const message = `commit ${number} was acknowledged at revision ${revision} and ${found === undefined ? 'is gone' : `stands at ${found}`}`;
    violations.push({ law: 'commit/acked-survives', message });
  }
  if (new Set(standing.values()).size !== standing.size) {
    violations.push({ law: 'commit/one-revision', message: 'two commits stand at one revision' });
  }
  return { standing, violations };
}

function numberedValue(number: number): Json {
  return { number, text: `${number}—`.repeat((number * 37) % 60), list: [number / 7, { odd: number % 2 === 1 }, null] };
}
