/**
 * A backend of its own: everything in memory, and an append-only log of JSON lines, each synced before its commit is acknowledged. What
 * it lacks to be of use is a lock and compaction. See docs/writing-a-backend.md; custom-backend.test.ts holds it against every law.
 */
import { appendFileSync, closeSync, fdatasyncSync, fsyncSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import type { RunStep } from '@loopstate/conformance';
import {
  applyCommit,
  type CheckedCommit,
  checkCommit,
  createMemoryStore,
  LoopStateError,
  type MemoryStore,
  OutcomeUnknownError,
  openMemoryBackend,
  type StateBackend,
  UnavailableError,
} from '@loopstate/core';

/** A log that is open; the handles of this process share it. */
interface Log {
  readonly file: number;
  readonly store: MemoryStore;
  handles: number;
  isBroken: boolean;
}

const logs = new Map<string, Log>();

/** What the suite's child processes import: `openPlace(url)` and `openWithFailpoints(url, step)`. */
export { openLogBackend as openPlace, openLogBackend as openWithFailpoints };

/** Opens a handle on the log at `path`, or makes it. Tests pass a `step`, by which each durable step is run. */
export async function openLogBackend(path: string, step: RunStep = (_, whole) => whole()): Promise<StateBackend> {
  const log = logs.get(path) ?? openLog(path);
  logs.set(path, log);
  log.handles++;
  const memory = openMemoryBackend({ store: log.store });
  let isClosed = false;
  const assertUsable = () => {
    if (isClosed) throw new LoopStateError('LOOPSTATE_CLOSED', `${path} was closed: open it again.`);
    // What is in memory may not be in the file, and what is in the file may be half a line.
    if (log.isBroken) throw new UnavailableError(`${path} could not be written: close it, and open it again.`);
  };
  return {
    ...{ traits: { name: 'log', survives: 'power-loss', reach: 'process' }, recovery: [] },
    async read(keys) {
      assertUsable();
      return await memory.read(keys);
    },
    async commit(commit) {
      assertUsable();
      const [checked, at] = [checkCommit(commit), Date.now()]; // What breaks a law is refused before anything happens.
      const { state, result } = applyCommit(log.store.state, checked, at);
      log.store.state = state;
      if (!result.ok) return result;
      const line = Buffer.from(toLine(JSON.stringify({ ...checked, checks: [], at })));
      const half = () => appendFileSync(log.file, line.subarray(0, line.length / 2));
      const append = async () => {
        appendFileSync(log.file, line);
        fdatasyncSync(log.file);
      };
      // All in one turn, so that nobody sees in between what is not durable yet.
      await step('append', append, half).catch((cause: unknown) => {
        log.isBroken = true;
        throw new OutcomeUnknownError(`${path} could not be written.`, { cause });
      });
      return result;
    },
    async *changes(since) {
      assertUsable();
      yield* memory.changes(since);
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      if (--log.handles > 0) return;
      logs.delete(path);
      closeSync(log.file);
    },
  };
}

/** Commits again what the log holds. A last line that is not whole was never acknowledged: it is cut off before anything is appended. */
function openLog(path: string): Log {
  const file = openSync(path, 'a+', 0o600);
  const store = createMemoryStore();
  const lines = readFileSync(file, 'utf8').split(/(?<=\n)/);
  const sound = lines.findIndex((line) => toLine(jsonIn(line)) !== line);
  const whole = sound === -1 ? lines : lines.slice(0, sound);
  if (lines.length > whole.length + 1) throw new UnavailableError(`${path} is damaged in the middle, and is left as it is.`);
  for (const line of whole) {
    const { at, ...commit } = JSON.parse(jsonIn(line)) as CheckedCommit & { readonly at: number };
    store.state = applyCommit(store.state, commit, at).state;
  }
  ftruncateSync(file, Buffer.byteLength(whole.join('')));
  const directory = openSync(dirname(path), 'r');
  for (const descriptor of [file, directory]) fsyncSync(descriptor); // The name of a new file is durable once its directory is.
  closeSync(directory);
  return { file, store, handles: 0, isBroken: false };
}

function toLine(json: string): string {
  return `${crc32(json)} ${json}\n`;
}

function jsonIn(line: string): string {
  return line.slice(line.indexOf(' ') + 1, -1);
}
