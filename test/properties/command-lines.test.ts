/**
 * Whatever is typed and piped in, the command ends by itself with one of its documented exit codes, which is never that of a defect; it
 * shows no stack trace and no control character, and does nothing that the text of an item says. Random command lines are run one
 * after another in a directory of their own, as real processes.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prove } from '@loopstate/conformance';
import { AssertionError, expect } from 'chai';
import fc from 'fast-check';
import { EXIT_CODES } from '../../packages/loopstate/src/cli/exit-codes.js';
import { type CliEnd, startCli } from '../support/cli.js';
import { compiledPackages } from '../support/compiled.js';
import { holdsFor, PROPERTY_TIMEOUT_MS } from '../support/property.js';

/** The longest of these runs takes a second or two. */
const WITHIN_MS = 30_000;
const DEFECT = 70;

/** What a terminal would act on, a line feed aside. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: to find them is what it is for.
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

const hostile = fc.oneof(
  fc.constantFrom('\u001b[31m', '\u001b]0;owned\u0007', '\u009b2J', '\u202e', '\u0085', '\r', '\t', '\u007f', '\ufeff'),
  fc.constantFrom(
    '$(touch owned)',
    '`touch owned`',
    '; touch owned',
    "'; touch owned; '",
    '"; touch owned; "',
    '{}',
    '-rf',
    '--help',
    '-',
    '--',
    '*',
    '~',
  ),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 6 }).map((text) => text.replaceAll('\0', '')),
);
const word = fc.oneof(hostile, fc.constantFrom('', 'a', 'x'.repeat(300), '__proto__', 'state.json'));

const state = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom('./state.json', 'file:state.json', 'sqlite:state.db', 'sqlite:state.db?job=b') },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...[
        'old.json',
        'torn.json',
        'foreign.json',
        'foreign.json/x',
        'directory',
        'directory/',
        'deep/er/state.json',
        '/dev/null',
        '/dev/null/x',
      ],
      ...[
        'memory:',
        'memory:x',
        'gopher:x',
        'file:%zz',
        'file:',
        'sqlite:',
        'sqlite:foreign.json',
        'sqlite:directory',
        'sqlite:a.db?jop=x',
        'sqlite:x.db?job=',
      ],
      ...[
        'redis://127.0.0.1:1?job=a&connectTimeoutMs=50',
        'redis://127.0.0.1:1',
        'redis:',
        'rediss://user:p@127.0.0.1:1?job=a&connectTimeoutMs=50',
      ],
      ...['redis+sentinel://127.0.0.1:1/m?job=a&connectTimeoutMs=50', 'redis+cluster://127.0.0.1:1?job=a&connectTimeoutMs=50'],
    ),
  },
  { weight: 1, arbitrary: word },
);
const number = fc.oneof(
  fc.constantFrom('0', '1', '2', '3'),
  fc.constantFrom('-1', '1.5', '1e3', 'NaN', '', ' 2', '0x2', '99999999999999999999', '２'),
  hostile,
);
const seconds = fc.oneof(number, fc.constantFrom('.5', '0.001', '5.', '2147484', '1e-3', 'Infinity'));
const flag = (name: string) => fc.constant([name]);
const withValue = (name: string, value: fc.Arbitrary<string>) =>
  fc.tuple(value, fc.boolean()).map(([given, isOneWord]) => (isOneWord && name.startsWith('--') ? [`${name}=${given}`] : [name, given]));
const option = fc.oneof(
  withValue('-j', number),
  withValue('--jobs', number),
  withValue('--retries', number),
  withValue('--max-items', number),
  withValue('--timeout', seconds),
  withValue('--items', fc.oneof(fc.constantFrom('items.txt', '-', 'missing', 'directory', 'noise.bin', '/dev/null', '/dev/zero'), word)),
  withValue('--glob', fc.oneof(fc.constantFrom('*', '**', '*.txt', '', '[', '{a,b', '!*', '\\', '***', '?(', 'directory/**'), word)),
  ...['--shell', '--bar', '--plain', '--json', '--quiet', '--help', '--yes', '-y', '--'].map(flag),
  { weight: 1, arbitrary: withValue('--state', state) },
  hostile.map((text) => [`--${text}`]),
  word.map((text) => [text]),
);
const command = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(['true'], ['false'], ['sh', '-c', 'exit 3', '{}'], ['sh', '-c', 'test -n "$LOOPSTATE_ITEM"']) },
  { weight: 2, arbitrary: fc.constantFrom([], [''], ['no-such-command'], ['./foreign.json'], ['directory'], ['true', '{}', '{}{}']) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      ['--shell', '--', 'test -e {}'],
      ['--shell', '--', "test '{}'"],
      // Unquoted it would be a pattern, and `test` tell of the files that it names.
      ['--shell', '--', 'test "{}" = "$1"'],
      ['--shell', '--', '('],
    ),
  },
);
const bytes = fc.oneof(
  fc.array(fc.oneof(hostile, word), { maxLength: 8 }).map((lines) => Buffer.from(lines.join('\n'))),
  fc.uint8Array({ maxLength: 100 }).map((noise) => Buffer.from(noise)),
  fc.constantFrom(
    Buffer.from(''),
    Buffer.from('a\nb\na\n'),
    Buffer.from('x'.repeat(2_000)),
    Buffer.from('a\0b\n'),
    Buffer.from([0xff, 0x0a]),
  ),
);

/** One command line, with what is piped in. */
interface Line {
  readonly args: readonly string[];
  readonly input: Buffer;
  readonly env: NodeJS.ProcessEnv;
}

const stateOption = fc.oneof({ weight: 6, arbitrary: withValue('--state', state) }, { weight: 1, arbitrary: fc.constant([]) });
const run = fc
  .tuple(stateOption, fc.array(option, { maxLength: 4 }), fc.boolean(), command)
  .map(([of, options, isMarked, words]) => [
    'run',
    ...of,
    ...options.flat(),
    ...(isMarked && words[0] !== '--shell' ? ['--'] : []),
    ...words,
  ]);
const other = fc
  .tuple(fc.constantFrom('status', 'status', 'reset', 'help', 'walk', ''), stateOption, fc.array(option, { maxLength: 2 }), fc.boolean())
  .map(([name, of, options, isSure]) => [name, ...of, ...(isSure ? ['--yes'] : []), ...options.flat()]);
const line: fc.Arbitrary<Line> = fc.record({
  args: fc
    .oneof({ weight: 3, arbitrary: run }, { weight: 2, arbitrary: other })
    .map((args) => args.map((text) => text.replaceAll('\0', ''))),
  input: bytes,
  env: fc.oneof(
    { weight: 5, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: state.map((url) => ({ LOOPSTATE_URL: url.replaceAll('\0', '') })) },
  ),
});

describe('random command lines', () => {
  before(async function () {
    this.timeout(60_000);
    await compiledPackages();
  });

  it('no defect, no stack trace, no control character, no end without a code', async () => {
    let cases = 0;
    await holdsFor(fc.array(line, { minLength: 2, maxLength: 4, size: 'max' }), 32, async (lines) => {
      const directory = mkdtempSync(join(tmpdir(), 'loopstate-lines-'));
      try {
        furnish(directory);
        for (const each of lines) {
          cases += 1;
          judge(await ended(each, directory), each);
          expect(existsSync(join(directory, 'owned')), `what the text of an item says was done by ${show(each)}`).to.equal(false);
        }
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    });
    prove({ test: 'P4 random command lines', backend: 'every', counts: { cases }, least: { cases: 50 } });
  }).timeout(PROPERTY_TIMEOUT_MS);
});

function furnish(directory: string): void {
  mkdirSync(join(directory, 'directory'));
  const files: Record<string, string | Buffer> = {
    'items.txt': 'a\n\u001b[31mred\nb\n$(touch owned)\n',
    'noise.bin': Buffer.from([0, 255, 10, 254, 27, 91]),
    'foreign.json': 'Dear diary,\n',
    'old.json': JSON.stringify({
      completed: ['a', '\u009b31m'],
      failed: [{ id: '\u001b[2J', reason: 'said \u001b[31m' }],
      inProgress: 'c',
    }),
    'torn.json': '{"version":2,"results":{"a":{"status":"success"},"b":{"sta',
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
}

async function ended({ args, input, env }: Line, directory: string): Promise<CliEnd> {
  const running = await startCli(args, { cwd: directory, input, env });
  const timer = setTimeout(() => running.child.kill('SIGKILL'), WITHIN_MS);
  try {
    return await running.end;
  } finally {
    clearTimeout(timer);
  }
}

function judge({ code, signal, stdout, stderr }: CliEnd, given: Line): void {
  const told = `${show(given)} ended with ${code ?? signal}: ${JSON.stringify(stderr.slice(-1_500))}`;
  if (code === null || code === DEFECT || !Object.hasOwn(EXIT_CODES, code)) throw new AssertionError(told);
  if (/^ +at /m.test(stderr)) throw new AssertionError(`A stack trace: ${told}`);
  // A bar that was asked for erases its line.
  const errors = given.args.includes('--bar') ? stderr.replaceAll('\r\u001b[2K', '') : stderr;
  for (const [name, shown] of Object.entries({ stdout, stderr: errors })) {
    const found = CONTROL.exec(shown);
    if (found !== null)
      throw new AssertionError(
        `A control character on ${name}: ${JSON.stringify(shown.slice(Math.max(0, found.index - 200), found.index + 20))}: ${told}`,
      );
  }
}

function show({ args, input, env }: Line): string {
  return JSON.stringify({ args, input: input.toString('latin1'), env });
}
