/**
 * What a power cut may leave of a modelled disk. Where few changes are pending every subset of them is tried, else each prefix,
 * each one alone and all but each one; each write may be torn, and either end of it may be what got to the disk.
 */
import { crc32 } from 'node:zlib';
import { endOfContent } from '../src/lines.js';
import { applyName, type CrashedInode, type CrashPoint, overlay, type PendingWrite } from './crash-point.js';

/** Of so many pending changes of names, or writes to one file, every subset is tried. */
const SUBSETS_OF_NAMES_MAX = 8;
const SUBSETS_OF_WRITES_MAX = 4;
/** Of so many combinations of what several files may have become, every one is tried: a store that syncs never has more. */
const COMBINATIONS_MAX = 5_000;

/** The files that a power cut may leave, and how. */
export interface CrashState {
  readonly label: string;
  readonly files: ReadonlyMap<string, Buffer>;
}

/** Where writes are torn: at every byte, or at the ends and in the middle of each of their lines. */
export type Tears = 'bytes' | 'lines';

/**
 * Every state that may be left of a moment and is not in `seen`, each once. Where names are missing in part, and beside each other
 * choice of writes to another file, writes are torn at their lines only. A file that has no name but a temporary's is not there yet,
 * there, or half there: nobody may look into it.
 */
export function* crashStates(point: CrashPoint, tears: Tears, seen: Set<string> = new Set()): Generator<CrashState> {
  const becoming = new Map<string, readonly Outcome[]>();
  const outcomesOf: OutcomesOf = (id, at) => {
    const known = becoming.get(`${id} ${at}`) ?? outcomes(point.inodes.get(id)!, at);
    becoming.set(`${id} ${at}`, known);
    return known;
  };
  for (const choice of nameChoices(point)) {
    for (const { label, contents } of dataChoices(point, { ...choice, tears, outcomesOf })) {
      const files = new Map([...choice.names].map(([name, id]) => [name, contents.get(id) ?? point.inodes.get(id)!.durable]));
      const key = keyOf(files);
      if (seen.has(key)) continue;
      seen.add(key);
      yield { label: `call ${point.call}, names ${choice.label}, data ${label}`, files };
    }
  }
}

interface NameChoice {
  readonly label: string;
  readonly names: ReadonlyMap<string, number>;
  readonly isPlain: boolean;
}

/** Each outcome of the pending changes of names, once. */
function* nameChoices({ names: durable, nameChanges }: CrashPoint): Generator<NameChoice> {
  const seen = new Set<string>();
  for (const { label, chosen, isPlain } of subsets(nameChanges, SUBSETS_OF_NAMES_MAX)) {
    const names = new Map(durable);
    for (const change of chosen) applyName(names, change);
    const key = [...names].sort().join();
    if (seen.has(key)) continue;
    seen.add(key);
    yield { label, names, isPlain };
  }
}

interface DataChoice {
  readonly label: string;
  readonly contents: ReadonlyMap<number, Buffer>;
}

/** What one file may have become. */
interface Outcome {
  readonly label: string;
  readonly bytes: Buffer;
}

type OutcomesOf = (id: number, at: Tears | 'halves') => readonly Outcome[];

function* dataChoices(
  { inodes }: CrashPoint,
  { names, isPlain, tears, outcomesOf }: NameChoice & { tears: Tears; outcomesOf: OutcomesOf },
): Generator<DataChoice> {
  const unsettled = [...new Set(names.values())].filter((id) => inodes.get(id)!.pending.length > 0);
  const isTemporary = (id: number) => [...names].every(([name, other]) => other !== id || name.endsWith('.tmp'));
  const perFile = unsettled.map((id) => outcomesOf(id, isTemporary(id) ? 'halves' : 'lines'));
  for (const chosen of combinations(perFile)) {
    yield { label: chosen.map(({ label }) => label).join('; '), contents: new Map(chosen.map(({ bytes }, at) => [unsettled[at]!, bytes])) };
  }
  if (tears === 'lines' || !isPlain) return;
  for (const id of unsettled.filter((id) => !isTemporary(id))) {
    for (const others of ['none', 'all'] as const) {
      const beside = unsettled.map((other): [number, Buffer] => [other, settled(inodes.get(other)!, others)]);
      for (const { label, bytes } of outcomesOf(id, 'bytes'))
        yield { label: `${label}; others ${others}`, contents: new Map([...beside, [id, bytes]]) };
    }
  }
}

function settled({ durable, pending }: CrashedInode, which: 'none' | 'all'): Buffer {
  return which === 'none' ? durable : pending.reduce(overlay, durable);
}

function outcomes(inode: CrashedInode, tears: Tears | 'halves'): Outcome[] {
  const { durable, pending } = inode;
  if (tears === 'halves') {
    const all = settled(inode, 'all');
    const half = Buffer.from(all.subarray(0, endOfContent(all) >>> 1));
    return [durable, all, half].map((bytes, at) => ({ label: ['as before', 'whole', 'half'][at]!, bytes }));
  }
  const found = subsets(pending, SUBSETS_OF_WRITES_MAX).map(({ label, chosen }) => ({ label, bytes: chosen.reduce(overlay, durable) }));
  pending.forEach((write, at) => {
    const before = pending.slice(0, at).reduce(overlay, durable);
    const after = pending.slice(at + 1);
    for (const { label, parts } of tornWrites(write, tears)) {
      const torn = parts.reduce(overlay, before);
      found.push({ label: `write ${at} ${label}`, bytes: torn });
      if (after.length > 0) found.push({ label: `write ${at} ${label}, later ones whole`, bytes: after.reduce(overlay, torn) });
      if (at > 0) found.push({ label: `write ${at} ${label}, alone`, bytes: parts.reduce(overlay, durable) });
    }
  });
  return found;
}

/** What may be left of one write: its beginning, its end, its room with nothing or something else in it. */
function tornWrites(write: PendingWrite, tears: Tears): { label: string; parts: PendingWrite[] }[] {
  const { position, bytes } = write;
  const content = endOfContent(bytes);
  const room = { position, bytes: Buffer.alloc(bytes.length) };
  const torn: { label: string; parts: PendingWrite[] }[] = [
    { label: 'as zeros', parts: [room] },
    { label: 'as rubbish', parts: [{ position, bytes: Buffer.alloc(content, 'rubbish\n') }] },
  ];
  for (const cut of cuts(bytes.subarray(0, content), tears)) {
    const head = { position, bytes: bytes.subarray(0, cut) };
    torn.push({ label: `up to ${cut}`, parts: [head] });
    torn.push({ label: `from ${cut}`, parts: [{ position: position + cut, bytes: bytes.subarray(cut) }] });
    // A file may get its size before its bytes.
    if (tears === 'lines') torn.push({ label: `up to ${cut}, then zeros`, parts: [room, head] });
  }
  return torn;
}

function cuts(content: Buffer, tears: Tears): number[] {
  if (tears === 'bytes') return Array.from({ length: Math.max(0, content.length - 1) }, (_, at) => at + 1);
  const found: number[] = [];
  for (let start = 0; start < content.length; ) {
    const newline = content.indexOf(0x0a, start);
    const end = newline === -1 ? content.length : newline + 1;
    found.push(start, (start + end) >>> 1, end - 1, end);
    start = end;
  }
  return [...new Set(found)].filter((cut) => cut > 0 && cut < content.length);
}

interface Subset<T> {
  readonly label: string;
  readonly chosen: readonly T[];
  /** None or all. */
  readonly isPlain: boolean;
}

function subsets<T>(all: readonly T[], allUpTo: number): Subset<T>[] {
  const found: Subset<T>[] = [{ label: 'none', chosen: [], isPlain: true }];
  if (all.length === 0) return found;
  found.push({ label: 'all', chosen: all, isPlain: true });
  if (all.length <= allUpTo) {
    for (let mask = 1; mask < 2 ** all.length - 1; mask++) {
      const places = [...all.keys()].filter((at) => (mask >> at) & 1);
      found.push({ label: `only ${places.join(' ')}`, chosen: places.map((at) => all[at]!), isPlain: false });
    }
    return found;
  }
  for (let at = 0; at < all.length; at++) {
    found.push({ label: `before ${at}`, chosen: all.slice(0, at), isPlain: false });
    found.push({ label: `only ${at}`, chosen: all.slice(at, at + 1), isPlain: false });
    found.push({ label: `without ${at}`, chosen: all.filter((_, index) => index !== at), isPlain: false });
  }
  return found;
}

/** Every combination of one of each list; where they are too many, each item of a list with the first of all others. */
function* combinations<T>(lists: readonly (readonly T[])[]): Generator<T[]> {
  if (lists.reduce((count, list) => count * list.length, 1) <= COMBINATIONS_MAX) {
    yield* product(lists);
    return;
  }
  const firsts = lists.map((list) => list[0] as T);
  for (const [place, list] of lists.entries()) for (const item of list) yield firsts.with(place, item);
}

function* product<T>(lists: readonly (readonly T[])[]): Generator<T[]> {
  const [first, ...rest] = lists;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const item of first) for (const others of product(rest)) yield [item, ...others];
}

const checksums = new WeakMap<Buffer, string>();

/** The same for states that recovery cannot tell apart: temporaries have names by chance, and space after the content is only space. */
function keyOf(files: ReadonlyMap<string, Buffer>): string {
  const named = [...files].map(([name, bytes]): [string, Buffer] => [name.replace(/[0-9a-f]{16}\.tmp$/, 'tmp'), bytes]);
  named.sort(([a], [b]) => (a < b ? -1 : 1));
  // Two names of one file are not two files.
  const all = named.map(([, bytes]) => bytes);
  return named.map(([name, bytes]) => `${name} ${all.indexOf(bytes)} ${checksumOf(bytes)}`).join();
}

function checksumOf(bytes: Buffer): string {
  let known = checksums.get(bytes);
  if (known === undefined) {
    known = `${bytes.length}:${crc32(bytes.subarray(0, endOfContent(bytes)))}`;
    checksums.set(bytes, known);
  }
  return known;
}
