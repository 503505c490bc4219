/**
 * The one call into native code: an exclusive lock on a whole file, of the kernel.
 *
 * `fs-native-extensions` looks for its build with 20 modules, which takes 28 ms of CPU of each process that takes a lock, a sixth of
 * what `loopstate run` without items takes. So of the version that is known here the build itself is loaded, in 3 ms, and asked as the package would ask.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { hasCode } from './disk.js';

const KNOWN_VERSION = '1.5.1';

/** Takes the lock on the file that `descriptor` has open; false if another descriptor holds it. Errors: those of the file system. */
export type TryLock = (descriptor: number) => boolean;

/** What the build exports of it. Throws `EAGAIN` where another has the lock. */
interface Build {
  tryLock(descriptor: number, offset: number, length: number, isExclusive: boolean): void;
}

/** Loads the call; `known` is another version for tests only. Errors: when there is no build for this machine. */
export async function loadTryLock(known = KNOWN_VERSION): Promise<TryLock> {
  const build = loadBuild(known);
  if (build === undefined) return (await import('fs-native-extensions')).tryLock;
  return (descriptor) => {
    try {
      build.tryLock(descriptor, 0, 0, true);
      return true;
    } catch (error) {
      if (hasCode(error, 'EAGAIN')) return false;
      throw error;
    }
  };
}

function loadBuild(known: string): Build | undefined {
  // The build for glibc might load there, and not work.
  if (existsSync('/etc/alpine-release')) return undefined;
  try {
    // A bundle of CommonJS has no URL.
    const require = createRequire(import.meta.url);
    if (require('fs-native-extensions/package.json').version !== known) return undefined;
    return require(`fs-native-extensions/prebuilds/${process.platform}-${process.arch}/fs-native-extensions.node`);
  } catch {
    // Its own loader knows more ways, and says what is missing.
    return undefined;
  }
}
