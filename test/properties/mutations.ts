/** What can happen to the bytes of files, as data, so that what breaks a claim can be shrunk and shown. */
import fc from 'fast-check';

/** The files of a directory, by name. */
export type Files = ReadonlyMap<string, Buffer>;

/** One thing that happens to one file. Places are parts of its length from 0 up to 1. */
export type Mutation =
  | { readonly do: 'flip'; readonly file: number; readonly at: number; readonly mask: number }
  | { readonly do: 'cut' | 'delete' | 'empty' | 'double'; readonly file: number; readonly at: number }
  | { readonly do: 'zero' | 'remove' | 'repeat'; readonly file: number; readonly at: number; readonly bytes: number }
  | { readonly do: 'insert' | 'append' | 'replace'; readonly file: number; readonly at: number; readonly given: Uint8Array }
  | { readonly do: 'swap' | 'copy'; readonly file: number; readonly other: number };

const file = fc.nat(7);
const part = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
// The beginning is where the headers are.
const at = fc.oneof(
  part,
  part.map((value) => value / 50),
);
const given = fc.oneof(
  fc.uint8Array({ maxLength: 300, size: 'max' }),
  fc.json().map((text) => new Uint8Array(Buffer.from(text))),
  fc
    .constantFrom('{"loopstate":"', '["00000000",', 'SQLite format 3\0', '\n', '\ufeff{}', '[]')
    .map((text) => new Uint8Array(Buffer.from(text))),
);

/** One to five mutations. */
export const mutations: fc.Arbitrary<readonly Mutation[]> = fc.array(
  fc.oneof<fc.MaybeWeightedArbitrary<Mutation>[]>(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('flip' as const), file, at, mask: fc.integer({ min: 1, max: 255 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'delete' as const, 'empty' as const, 'double' as const), file, at }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constantFrom('zero' as const, 'remove' as const, 'repeat' as const),
        file,
        at,
        bytes: fc.integer({ min: 1, max: 5_000 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('insert' as const, 'append' as const, 'replace' as const), file, at, given }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('swap' as const, 'copy' as const), file, other: file }) },
  ),
  { minLength: 1, maxLength: 5 },
);

/** The files after all that has happened to them. */
export function mutated(files: Files, happened: readonly Mutation[]): Files {
  const left = new Map(files);
  const names = [...files.keys()].sort();
  for (const mutation of happened) {
    const name = names[mutation.file % names.length] ?? '';
    const bytes = left.get(name) ?? Buffer.alloc(0);
    if ('other' in mutation) {
      const other = names[mutation.other % names.length] ?? '';
      if (mutation.do === 'swap') set(left, name, left.get(other));
      set(left, other, bytes);
    } else set(left, name, changed(bytes, mutation));
  }
  return left;
}

function changed(bytes: Buffer, mutation: Exclude<Mutation, { readonly other: number }>): Buffer | undefined {
  const at = Math.floor(bytes.length * mutation.at);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (mutation.do) {
    case 'flip':
      return Buffer.concat([before, Buffer.from([(bytes[at] ?? 0) ^ mutation.mask]), after.subarray(1)]);
    case 'cut':
      return before;
    case 'delete':
      return undefined;
    case 'empty':
      return Buffer.alloc(0);
    case 'double':
      return Buffer.concat([bytes, bytes]);
    case 'zero':
      return Buffer.concat([before, Buffer.alloc(Math.min(mutation.bytes, after.length)), after.subarray(mutation.bytes)]);
    case 'remove':
      return Buffer.concat([before, after.subarray(mutation.bytes)]);
    case 'repeat':
      return Buffer.concat([before, after.subarray(0, mutation.bytes), after]);
    case 'insert':
      return Buffer.concat([before, mutation.given, after]);
    case 'append':
      return Buffer.concat([bytes, mutation.given]);
    case 'replace':
      return Buffer.from(mutation.given);
  }
}

function set(files: Map<string, Buffer>, name: string, bytes: Buffer | undefined): void {
  if (bytes === undefined) files.delete(name);
  else files.set(name, bytes);
}
