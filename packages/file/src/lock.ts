/** One process writes: a kernel lock on a file of its own, which the kernel gives back when the process dies, however it dies. */
import fs from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockedError, type LockHolder, LoopStateError } from '@loopstate/core';
import { hasCode } from './disk.js';
import type { StoreNames } from './names.js';
import { loadTryLock, type TryLock } from './native-lock.js';

/** A lock that is held. */
export interface HeldLock {
  /**
   * Takes the lock again if its file was removed, by a sweeper of old files or by somebody who thought it stale.
   *
   * Errors: `LOOPSTATE_LOCKED` where another was faster, and may have written since; any system error.
   */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
}

/** Keeps all but one out of a store. For tests; programs use {@link kernelLock}. */
export interface Lock {
  /** Takes the lock at once or not at all. Errors: `LOOPSTATE_LOCKED`, `LOOPSTATE_LOCK_UNAVAILABLE`. */
  acquire(names: StoreNames): Promise<HeldLock>;
}

/** One who only looks, as {@link lookAtLock} does, has the lock for an instant: it is asked for more than once. */
const TRIES = { count: 3, pauseMs: 10 } as const;

/** The lock of the operating system. It keeps out other processes and other worker threads of this one. */
export const kernelLock: Lock = {
  async acquire(names) {
    const tryLock = await loadLock();
    // The descriptor is raw, and is not inherited by child processes: nothing but this process holds the lock.
    let descriptor = openLock(names.lock);
    try {
      for (let tries = 1; !(tryLock(descriptor) && isNamed(descriptor, names.lock)); tries++) {
        if (tries === TRIES.count) throw lockedError(names, readHolder(names.holder));
        await sleep(TRIES.pauseMs);
        // A file that was removed meanwhile keeps nobody out.
        const another = openLock(names.lock);
        fs.closeSync(descriptor);
        descriptor = another;
      }
      shareLock(descriptor, names);
      writeHolder(names.holder);
    } catch (error) {
      fs.closeSync(descriptor);
      throw error;
    }
    let isLost = false;
    return {
      async assertHeld() {
        if (isNamed(descriptor, names.lock)) return;
        const another = makeAnew(names.lock);
        if (another === 'impossible') return;
        if (another === undefined || !tryLock(another)) {
          if (another !== undefined) fs.closeSync(another);
          isLost = true;
          throw lockedError(names, readHolder(names.holder));
        }
        fs.closeSync(descriptor);
        descriptor = another;
        shareLock(descriptor, names);
      },
      async release() {
        // In this order: afterwards the holder may be another's.
        if (!isLost) removeHolder(names.holder);
        fs.closeSync(descriptor);
      },
    };
  },
};

function openLock(path: string): number {
  return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
}

/** True if the name leads to the file that is open. */
function isNamed(descriptor: number, path: string): boolean {
  const standing = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
  return standing?.ino === fs.fstatSync(descriptor, { bigint: true }).ino;
}

/** `undefined`: there is one now. `impossible`: nobody can make one there, where the directory was moved or the disk is full. */
function makeAnew(path: string): number | 'impossible' | undefined {
  try {
    return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600);
  } catch (error) {
    return hasCode(error, 'EEXIST') ? undefined : 'impossible';
  }
}

/** What a lock and the file that names its holder say. */
export interface LockFacts {
  /** `unknown`: this user may not open the lock. */
  readonly lock: 'free' | 'held' | 'unknown';
  /** What stands in the file that names the holder, whoever holds the lock; none: there is no such file. */
  readonly holder?: LockHolder;
}

/**
 * Looks who holds the lock; nothing is made or written. The lock can only be asked by taking it for an instant, which whoever starts just
 * then waits out. Errors: `LOOPSTATE_LOCK_UNAVAILABLE`.
 */
export async function lookAtLock(names: StoreNames): Promise<LockFacts> {
  const tryLock = await loadLock();
  const holder = fs.existsSync(names.holder) ? { holder: readHolder(names.holder) } : {};
  let descriptor: number;
  try {
    descriptor = fs.openSync(names.lock, fs.constants.O_RDWR);
  } catch (error) {
    return { lock: hasCode(error, 'ENOENT') ? 'free' : 'unknown', ...holder };
  }
  try {
    return { lock: tryLock(descriptor) ? 'free' : 'held', ...holder };
  } finally {
    fs.closeSync(descriptor);
  }
}

async function loadLock(): Promise<TryLock> {
  try {
    const tryLock = await loadTryLock();
    return (descriptor) => {
      try {
        return tryLock(descriptor);
      } catch (cause) {
        throw new LoopStateError('LOOPSTATE_LOCK_UNAVAILABLE', 'This file system takes no locks: put the state file on a local disk.', {
          cause,
        });
      }
    };
  } catch (cause) {
    const message =
      `The package fs-native-extensions has no build for ${process.platform} ${process.arch}, so nothing keeps a second process out: ` +
      'use sqlite: or redis: here, or a glibc-based image instead of a musl one.';
    throw new LoopStateError('LOOPSTATE_LOCK_UNAVAILABLE', message, { cause });
  }
}

function lockedError(names: StoreNames, holder: LockHolder): LockedError {
  const who =
    holder.pid === undefined ? 'another process' : `process ${holder.pid}${holder.host === undefined ? '' : ` on ${holder.host}`}`;
  const message = `${names.state} is in use by ${who}: wait until it ends, or share the work through a sqlite: or redis: store.`;
  return new LockedError(message, holder);
}

/** Who may write the state may take its lock; who may not could keep all others out by it. Another user's lock stays as it is. */
function shareLock(descriptor: number, { lock, state, previous }: StoreNames): void {
  try {
    const like = fs.statSync(state, { throwIfNoEntry: false }) ?? fs.statSync(previous, { throwIfNoEntry: false });
    if (like === undefined) return;
    const own = fs.fstatSync(descriptor);
    // What a link leads to may be anything, and root would give it away.
    if (own.nlink !== 1 || fs.lstatSync(lock).ino !== own.ino) return;
    let writers = like.mode & 0o022;
    try {
      // Only root may give it away; its owner may give it to a group of his.
      fs.fchownSync(descriptor, own.uid === 0 ? like.uid : own.uid, like.gid);
    } catch {
      writers = (like.mode & 0o002) * 0o11; // It is of another group than the state, which is one of the others there.
    }
    fs.fchmodSync(descriptor, 0o600 | (writers * 3));
  } catch {
    // It is taken, and that is what counts.
  }
}

/** Only for the message to whoever is kept out; the lock is what holds. What another user left is removed, not written to. */
function writeHolder(path: string): void {
  removeHolder(path);
  try {
    fs.writeFileSync(path, `${JSON.stringify({ pid: process.pid, host: hostname(), since: Date.now() })}\n`, { mode: 0o600, flag: 'wx' });
  } catch {
    // A message that cannot be left is no reason not to start.
  }
}

function removeHolder(path: string): void {
  try {
    fs.rmSync(path, { force: true });
  } catch {
    // The directory may be closed by now, or read-only: what is left names nobody who holds the lock.
  }
}

function readHolder(path: string): LockHolder {
  try {
    const found = JSON.parse(fs.readFileSync(path, 'utf8')) as { readonly [name: string]: unknown };
    return {
      ...(typeof found.pid === 'number' ? { pid: found.pid } : {}),
      ...(typeof found.host === 'string' ? { host: found.host } : {}),
      ...(isTime(found.since) ? { since: found.since } : {}),
    };
  } catch {
    return {}; // It is being written just now, or another user's, or no such file.
  }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && !Number.isNaN(new Date(value).getTime());
}
