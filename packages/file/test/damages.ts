/**
 * Damage to the files of a store, and what must be kept of it: what intact lines hold is judged by searching the damaged files for
 * the very bytes of the undamaged ones, without any code of recovery.
 */

/** Files by name. */
export type Files = ReadonlyMap<string, Buffer>;

/** Files of which one or two were damaged. */
export interface Damage {
  readonly label: string;
  readonly files: Files;
  readonly touched: readonly string[];
}

/** One bit that keeps a letter a letter, one that changes its case, one that makes it no ASCII. */
const MASKS = [0x01, 0x20, 0x80];

/** Which bits of a byte are flipped: one after another, or, of each byte, one, in turn. */
export type Flips = 'all' | 'in turn';

/** Every kind of damage to each file, at every byte and length, and to each two of them. */
export function* damages(files: Files, flips: Flips): Generator<Damage> {
  for (const name of files.keys()) yield* damagesOfOne(files, name, flips);
  yield* cuts(files);
  for (const [a, bytesOfA] of files) {
    for (const [b, bytesOfB] of files) {
      if (a >= b) continue;
      const damaged = (label: string, ...changes: [string, Buffer][]): Damage => {
        return { label, files: new Map([...files, ...changes]), touched: changes.map(([name]) => name) };
      };
      yield damaged(`${a} and ${b} swapped`, [a, bytesOfB], [b, bytesOfA]);
      yield damaged(`${a} and ${b} emptied`, [a, Buffer.alloc(0)], [b, Buffer.alloc(0)]);
      yield damaged(`${a} under the name of ${b} too`, [b, Buffer.from(bytesOfA)]);
    }
  }
}

/** Each file cut to each length. */
export function* cuts(files: Files): Generator<Damage> {
  for (const [name, bytes] of files) {
    const end = contentBytes(bytes);
    for (let cut = 1; cut <= end; cut++)
      yield { label: `${name} cut at ${cut}`, files: new Map([...files, [name, bytes.subarray(0, cut)]]), touched: [name] };
  }
}

function* damagesOfOne(files: Files, name: string, flips: Flips): Generator<Damage> {
  const bytes = files.get(name)!;
  const end = contentBytes(bytes);
  const damaged = (label: string, changed: Buffer): Damage => {
    return { label: `${name} ${label}`, files: new Map([...files, [name, changed]]), touched: [name] };
  };
  yield { label: `${name} deleted`, files: new Map([...files].filter(([other]) => other !== name)), touched: [name] };
  yield damaged('emptied', Buffer.alloc(0));
  yield damaged('zeroed', Buffer.alloc(bytes.length));
  yield damaged('doubled', Buffer.concat([bytes, bytes]));
  for (const text of FOREIGN) yield damaged(`foreign: ${text}`, Buffer.from(text));
  for (let at = 0; at < end; at++) {
    for (const mask of flips === 'all' ? MASKS : [MASKS[at % MASKS.length]!]) {
      const flipped = Buffer.from(bytes);
      flipped[at] = flipped[at]! ^ mask;
      yield damaged(`byte ${at} ^ ${mask}`, flipped);
    }
  }
  for (const at of startsOfHoles(bytes.subarray(0, end))) {
    yield damaged(`zeros at ${at}`, Buffer.concat([bytes.subarray(0, at), Buffer.alloc(64), bytes.subarray(at + 64)]));
    yield damaged(`removed at ${at}`, Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 9)]));
  }
}

/** Each eighth byte, and those at the end of each line and around it, where one line may be destroyed and leave another whole. */
function startsOfHoles(content: Buffer): number[] {
  const isNearNewline = (at: number) => content.subarray(Math.max(0, at - 1), at + 2).includes(0x0a);
  return [...content.keys()].filter((at) => at % 8 === 0 || isNearNewline(at));
}

/** What other programs write. */
export const FOREIGN: readonly string[] = ['{"name":"something else"}', '[]', '# Notes\n', '{"nam'];

interface Line {
  readonly file: string;
  readonly bytes: Buffer;
  readonly puts: readonly (readonly [key: string, revision: number])[];
  readonly deletes: readonly (readonly [key: string, revision: number])[];
}

interface Snapshot {
  readonly file: string;
  readonly bytes: Buffer;
  readonly revision: number;
  readonly keys: ReadonlySet<string>;
}

/** The lines of undamaged files. */
export class Original {
  readonly #lines: readonly Line[];
  readonly #snapshots: readonly Snapshot[];

  constructor(files: Files) {
    this.#lines = [...files].flatMap(([name, bytes]) => linesOf(name, bytes));
    this.#snapshots = ['state.json', 'state.json.previous'].flatMap((name) => snapshotOf(name, files.get(name)));
  }

  /** The puts that intact lines hold, by key, unless such a line deletes them later, or a whole snapshot later shows that they are gone. */
  intact({ files, touched }: Damage): Map<string, number> {
    const left = touched.flatMap((name) => files.get(name) ?? []);
    const isThere = ({ file, bytes }: { file: string; bytes: Buffer }) =>
      !touched.includes(file) || left.some((changed) => changed.includes(bytes));
    const held = new Map<string, number>();
    const gone = new Map<string, number>();
    for (const { puts, deletes } of this.#lines.filter(isThere)) {
      for (const [key, revision] of puts) note(held, key, revision);
      for (const [key, revision] of deletes) note(gone, key, revision);
    }
    for (const { revision, keys } of this.#snapshots.filter((snapshot) => isWhole(snapshot, files)))
      for (const key of held.keys()) if (!keys.has(key)) note(gone, key, revision + 0.5);
    for (const [key, revision] of gone) if ((held.get(key) ?? 0) < revision) held.delete(key);
    return held;
  }
}

function isWhole({ bytes }: Snapshot, files: Files): boolean {
  return [...files.values()].some((other) => other.equals(bytes));
}

function note(revisions: Map<string, number>, key: string, revision: number): void {
  revisions.set(key, Math.max(revisions.get(key) ?? 0, revision));
}

/** Lines of chunks, `[checksum, number, records]`, and of commits, `[checksum, revision, at, puts, deletes]`. */
function linesOf(file: string, bytes: Buffer): Line[] {
  const texts = bytes.subarray(0, contentBytes(bytes)).toString().split('\n');
  return texts.flatMap((text) => {
    const line = text.endsWith(',') ? text.slice(0, -1) : text;
    if (!line.startsWith('["')) return [];
    const [, first, second, puts, deletes] = JSON.parse(line) as [string, number, unknown, [string][]?, string[]?];
    const records = Array.isArray(second) ? (second as [string, number][]) : [];
    return {
      file,
      bytes: Buffer.from(line),
      puts: [...records.map(([key, revision]) => [key, revision] as const), ...(puts ?? []).map(([key]) => [key, first] as const)],
      deletes: (deletes ?? []).map((key) => [key, first] as const),
    };
  });
}

function snapshotOf(file: string, bytes: Buffer | undefined): Snapshot[] {
  if (bytes === undefined) return [];
  const { revision, chunks } = JSON.parse(bytes.toString()) as { revision: number; chunks: [string, number, [string][]][] };
  return [{ file, bytes, revision, keys: new Set(chunks.flatMap(([, , records]) => records.map(([key]) => key))) }];
}

function contentBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}
