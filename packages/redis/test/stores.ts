/** What the tests of this package share: handles that are closed after each test, and answers as codes. */
import { isLoopStateError, type RecoveryFinding, type StateBackend, type StateChange } from '@loopstate/core';
import { openRedisBackend, type RedisBackendOptions, type RedisOptions } from '@loopstate/redis';
import { AssertionError } from 'chai';

let jobs = 0;
let handles: StateBackend[] = [];

/** A name that no other test has. */
export function newJob(): string {
  return `job-${process.pid}-${++jobs}`;
}

/** Opens a handle that is closed after the test. */
export async function openHere(target: string | RedisOptions, options: RedisBackendOptions = {}): Promise<StateBackend> {
  const handle = await openRedisBackend(target, options);
  handles.push(handle);
  return handle;
}

/** To be called in each `describe`. */
export function closeAfterEach(): void {
  afterEach(async () => {
    const open = handles;
    handles = [];
    await Promise.all(open.map((handle) => handle.close()));
  });
}

/** The code with which a call rejects. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  return (await errorOf(call)).code;
}

/** The error with which a call rejects; it must be one of loopstate. */
export async function errorOf(call: Promise<unknown>): Promise<Error & { code: string; retryable: boolean }> {
  let answer: unknown;
  try {
    answer = await call;
  } catch (error) {
    if (isLoopStateError(error)) return error;
    throw error;
  }
  throw new AssertionError(`the call must reject, and resolved with ${JSON.stringify(answer)}`);
}

/** Puts one record, which must succeed; resolves with the revision. */
export async function put(store: StateBackend, key: string, value: number | string = key): Promise<number> {
  const result = await store.commit({ puts: [{ key, value }] });
  if (!result.ok) throw new AssertionError('a commit without checks was refused');
  return result.revision;
}

/** All that `changes` yields. */
export async function changesOf(store: StateBackend, since = 0): Promise<StateChange[]> {
  const changes: StateChange[] = [];
  for await (const change of store.changes(since)) changes.push(change);
  return changes;
}

/** The codes of findings. */
export function codesOf(findings: readonly RecoveryFinding[]): string[] {
  return findings.map(({ code }) => code);
}
