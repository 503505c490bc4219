/**
 * Which files belong to a state that is kept in files: nobody who writes a file, or runs a command for each of many, should come upon them.
 */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { placeOf, type StatePlace } from '../backend-url.js';

/** How their names go on behind that of the state, as `names.ts` of the two packages, and `state-copy.ts`, have it; what was put aside included. */
const TAILS =
  /^(|\.previous|\.lock|\.holder|-wal|-shm|-journal|\.backup|\.restored|\.door|(\.previous)?(\.\d+\.journal)?(\.(damaged|original)-.*)?|\.reset-.*|\.[0-9a-f]{16}\.tmp.*)$/;

/** What a path is to a state. */
export type Ownership = 'state' | 'beside' | 'none';

/** Tells what paths are to the state at `target`. Errors: `LOOPSTATE_BAD_OPTION` (see `placeOf`). */
export async function ownershipIn(target: string): Promise<(path: string) => Promise<Ownership>> {
  const file = fileOf(placeOf(target));
  if (file === undefined) return async () => 'none';
  const state = await realPathOf(file);
  return async (path) => {
    const real = await realPathOf(path);
    if (real === state) return 'state';
    return real.startsWith(state) && TAILS.test(real.slice(state.length)) ? 'beside' : 'none';
  };
}

/** Those of `paths` that are no files of the state at `target`. A symlink of another name that leads to one is not followed: of 200,000 that takes long. */
export async function withoutOwnFiles(paths: readonly string[], target: string): Promise<string[]> {
  const file = fileOf(placeOf(target));
  if (file === undefined) return [...paths];
  const ownershipOf = await ownershipIn(target);
  const name = basename(await realPathOf(file));
  const others: string[] = [];
  for (const path of paths) if (!basename(path).startsWith(name) || (await ownershipOf(path)) === 'none') others.push(path);
  return others;
}

/** The file that holds a state; one whose URL is wrong is refused elsewhere. */
function fileOf(place: StatePlace): string | undefined {
  if (place.kind === 'file') return place.path;
  if (place.kind === 'memory' || place.scheme !== 'sqlite') return undefined;
  const [path = ''] = place.url.replace(/^sqlite:(\/\/)?/i, '').split('?');
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

/** Where a path leads to, be there a file yet or not: one that is not there now is there while the state is open. */
async function realPathOf(path: string): Promise<string> {
  try {
    return await realpath(path).catch(async () => join(await realpath(dirname(path)), basename(path)));
  } catch {
    return path;
  }
}
