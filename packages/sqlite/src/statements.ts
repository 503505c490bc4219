/**
 * The statement that is a whole commit, or a whole group of commits. It writes every row, or none: then it fails with
 * `SQLITE_CONSTRAINT`, or answers with no row. That is one statement of one transaction: between the judging and the writing
 * nothing else commits.
 *
 * The usual commit writes one key that it checks, and its statement says no more than that takes: SQLite compiles it each time, and a long
 * one takes as long to compile as to run. To have SQLite answer with a row costs a tenth of a commit: who knows which revision the last commit
 * of the file has, and so what it would answer, has it judged instead.
 */
import type { Check, CheckedCommit } from '@loopstate/core';
import type { SqlValue } from './connection.js';
import { escapeKey, SEQS_PER_REVISION, sumOf, TABLE } from './records.js';

/** So few checks are written out in the statement; more are passed as one list, which takes SQLite longer to prepare. */
const CHECKS_WRITTEN_OUT_MAX = 4;

/** A key's new value (`null`: it is deleted), by the `nth` commit of a group, counted from 1. */
export interface Write {
  readonly value: string | null;
  readonly nth: number;
}

/** What a group demands and writes; the keys are the users'. */
export interface Group {
  readonly checks: readonly Check[];
  /** For each key the last write of the group. */
  readonly writes: ReadonlyMap<string, Write>;
}

/** A statement with the values of its parameters; it answers with the `seq` of each row that it wrote, unless those are known. */
export interface Statement {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
}

/**
 * A group as if each of its commits were to succeed; `undefined` if one of them checks what an earlier one writes, so that it
 * has to be judged after it.
 */
export function joinCommits(commits: readonly CheckedCommit[]): Group | undefined {
  const checks: Check[] = [];
  const writes = new Map<string, Write>();
  for (const [index, commit] of commits.entries()) {
    for (const check of commit.checks) {
      if (writes.has(check.key)) return undefined;
      checks.push(check);
    }
    addWrites(writes, commit, index + 1);
  }
  return { checks, writes };
}

/** Adds what the `nth` commit of a group writes. */
export function addWrites(writes: Map<string, Write>, { puts, deletes }: CheckedCommit, nth: number): void {
  for (const { key, text } of puts) writes.set(key, { value: text, nth });
  for (const key of deletes) writes.set(key, { value: null, nth });
}

/**
 * The statement that commits a group; `at` in ms since the epoch; `after`: the revision that the last commit of the file must have, so that those
 * of this group are the next ones. It may refuse a group without reason; what it writes is right.
 */
export function commitStatement(job: string, at: number, { checks, writes }: Group, after?: number): Statement {
  const [only] = writes;
  if (only === undefined) throw new TypeError('A group writes at least one key.');
  const isShort = writes.size === 1 && checks.length <= CHECKS_WRITTEN_OUT_MAX;
  return isShort ? shortStatement(job, at, checks, only, after) : longStatement(job, at, checks, writes, after);
}

/** The last revision of the file. */
const LAST = `(SELECT max(seq) FROM ${TABLE}) / ${SEQS_PER_REVISION}`;

/** The `seq` under which a key stands, in SQL; NULL: it is absent. */
function standing(key: string): string {
  return `(SELECT seq FROM ${TABLE} WHERE job = ?1 AND key = ${key} AND value IS NOT NULL)`;
}

/**
 * | parameter   | holds                                                                        |
 * |-------------|------------------------------------------------------------------------------|
 * | ?1          | the job                                                                      |
 * | ?2 ?3 ?4    | of the one write: key, value, sum                                            |
 * | ?5          | its nth; its seq, if that is known                                           |
 * | ?6          | the time                                                                     |
 * | ?7 …        | what is demanded of the last revision and of each check, as far as needed    |
 *
 * A key that must be absent is inserted, which a tombstone refuses too; one that must have a revision is updated, and none that has another.
 */
function shortStatement(
  job: string,
  at: number,
  checks: readonly Check[],
  [key, { value, nth }]: [string, Write],
  after: number | undefined,
): Statement {
  const stored = escapeKey(key);
  const place = after === undefined ? nth : (after + nth) * SEQS_PER_REVISION;
  const parameters: SqlValue[] = [job, stored, value, sumOf(job, stored, value), place, at];
  const parameter = (bound: SqlValue): string => `?${parameters.push(bound)}`;
  const own = checks.find((check) => check.key === key);
  const demands = checks
    .filter((check) => check !== own)
    .map(({ key: other, revision }) => {
      const seqOf = standing(parameter(escapeKey(other)));
      return revision === 0 ? `${seqOf} IS NULL` : `${seqOf} / ${SEQS_PER_REVISION} = ${parameter(revision)}`;
    });
  if (after !== undefined) demands.push(`${LAST} = ${parameter(after)}`);
  if (own !== undefined && own.revision > 0) {
    if (after === undefined) {
      const isOwn = `job = ?1 AND key = ?2 AND value IS NOT NULL AND seq / ${SEQS_PER_REVISION} = ${parameter(own.revision)}`;
      const where = [isOwn, ...demands].join(' AND ');
      return {
        sql: `UPDATE ${TABLE} SET seq = (${LAST} + ?5) * ${SEQS_PER_REVISION}, value = ?3, sum = ?4, at = ?6 WHERE ${where} RETURNING seq`,
        parameters,
      };
    }
    demands.push(`${standing('?2')} / ${SEQS_PER_REVISION} = ${parameter(own.revision)}`);
  }
  // The column of the time refuses NULL.
  const time = demands.length === 0 ? '?6' : `CASE WHEN ${demands.join(' AND ')} THEN ?6 END`;
  const insert = own?.revision === 0 ? 'INSERT' : 'INSERT OR REPLACE';
  const [seq, answer] = after === undefined ? [`(${LAST} + ?5) * ${SEQS_PER_REVISION}`, ' RETURNING seq'] : ['?5', ''];
  return {
    sql: `${insert} INTO ${TABLE} (seq, job, key, value, sum, at) VALUES (${seq}, ?1, ?2, ?3, ?4, ${time})${answer}`,
    parameters,
  };
}

/**
 * | parameter | holds                                                        |
 * |-----------|--------------------------------------------------------------|
 * | ?1        | the job                                                      |
 * | ?2        | the writes, as JSON: a list of [key, value, sum, nth, place] |
 * | ?3        | the time                                                     |
 * | ?4        | the checks, as JSON: a list of [key, revision]               |
 * | ?5        | the last revision, if it is known                            |
 */
function longText(demand: string): string {
  return `INSERT OR REPLACE INTO ${TABLE} (seq, job, key, value, sum, at)
  SELECT (${LAST} + (w.value ->> 3)) * ${SEQS_PER_REVISION} + (w.value ->> 4), ?1, w.value ->> 0, w.value ->> 1, w.value ->> 2,
    CASE WHEN ${demand} NOT EXISTS (
      SELECT 1 FROM json_each(?4) AS c WHERE coalesce(${standing('c.value ->> 0')} / ${SEQS_PER_REVISION}, 0) <> c.value ->> 1) THEN ?3 END
  FROM json_each(?2) AS w`;
}

const LONG = `${longText('')} RETURNING seq`;
const LONG_AFTER = longText(`${LAST} = ?5 AND`);

function longStatement(
  job: string,
  at: number,
  checks: readonly Check[],
  writes: ReadonlyMap<string, Write>,
  after: number | undefined,
): Statement {
  const placesTaken = new Map<number, number>();
  const rows = [...writes].map(([key, { value, nth }]) => {
    const stored = escapeKey(key);
    const place = placesTaken.get(nth) ?? 0;
    placesTaken.set(nth, place + 1);
    return [stored, value, sumOf(job, stored, value), nth, place];
  });
  const demands = checks.map((check) => [escapeKey(check.key), check.revision]);
  const parameters = [job, JSON.stringify(rows), at, JSON.stringify(demands)];
  return after === undefined ? { sql: LONG, parameters } : { sql: LONG_AFTER, parameters: [...parameters, after] };
}
