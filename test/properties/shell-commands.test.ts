/**
 * A placeholder in a command for a shell is its value as one word, whatever the value holds and whatever the placeholder stands within; where
 * that can't be known, it is refused. Random commands, made together with what they must print, are run by the real `/bin/sh`.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prove } from '@loopstate/conformance';
import { isLoopStateError } from '@loopstate/core';
import { expect } from 'chai';
import fc from 'fast-check';
import { type ChildCommand, shellCommand } from '../../packages/loopstate/src/cli/child-command.js';
import { HOSTILE_IDS } from '../support/hostile-ids.js';
import { holdsFor, PROPERTY_TIMEOUT_MS } from '../support/property.js';

/** What the placeholders of a command stand for. */
interface Values {
  readonly item: string;
  readonly to: string;
}

/** A piece of a command, with what it comes to. */
interface Piece {
  readonly text: string;
  value(values: Values): string;
}

const piece = (text: string, value: string): Piece => ({ text, value: () => value });
const joined = (pieces: readonly Piece[], before = '', after = ''): Piece => ({
  text: `${before}${pieces.map(({ text }) => text).join('')}${after}`,
  value: (values) => pieces.map((each) => each.value(values)).join(''),
});

const hole = fc.constantFrom<Piece>(
  { text: '{}', value: ({ item }) => item },
  { text: '{to}', value: ({ to }) => to },
  { text: '{n}', value: () => '7' },
);

/** They come to the same within quotes and without. */
const expansion = fc.constantFrom<Piece>(
  piece(`\${unset:-y}`, 'y'),
  piece(`\${n}`, ''),
  piece('$((1+(2)*3))', '7'),
  piece('$(( $((1)) + $(echo 2) ))', '3'),
  piece("$(printf '%s' \"(\" ')' \\) )", '())'),
  piece('`echo "y z)" | tr -d " )"`', 'yz'),
);
const escaped = fc.constantFrom(...['"', '$', '`', '\\'].map((sign) => piece(`\\${sign}`, sign)));
const quotedText = fc
  .constantFrom("it's ", ' # ', '( ', ') ', 'case x in a) ', '<<E ', '}', '{ x}', "'", '; ', '* ', '\n', '$ ')
  .map((text) => piece(text, text));
const bareText = fc.oneof(
  fc.constantFrom('a', 'b#c', 'x=', 'case', '-').map((text) => piece(text, text)),
  fc.constantFrom("'", '(', ')', '#', ' ', '<', ';', '{').map((sign) => piece(`\\${sign}`, sign)),
  fc.constantFrom('"', '$(', '`', ')', '# ', '\\', `\${`, '}', ' ', '\n').map((text) => piece(`'${text}'`, text)),
  fc.constant(piece('\\\n', '')),
  fc.constant(piece(`\${unset:-'}"'}`, '}"')),
  fc.constant(piece(`\${unset:-"}'"}`, "}'")),
);

/** What may stand before and after a command without changing what it prints. */
const wrapping = fc.constantFrom<readonly [before: string, after: string]>(
  ['', ''],
  ['', ''],
  ['# it\'s "a` $(\n', ''],
  [": x#' ' #'\n", ' # "'],
  ['( ', ' )'],
  ['if :; then ', '; fi'],
  [": \"$(: ')' # it's )\n)\"; { ", '; }'],
  [`: \${unset:-')'} \\\n\t; `, `; : "\${unset:-$(:)}"`],
);

/** How deep substitutions stand within each other. */
const DEPTH = { maxDepth: 3, depthIdentifier: 'shell' };

const { line } = fc.letrec<{ word: Piece; quoted: Piece; printing: Piece; line: Piece; substitution: Piece }>((tie) => ({
  // Substitutions drop newlines at the end, so there is none.
  printing: fc.tuple(wrapping, tie('word')).map(([[before, after], printed]) => {
    const end = after.includes('#') ? '\n' : '';
    return { text: `${before}printf '%s.' ${printed.text}${after}${end}`, value: (values) => `${printed.value(values)}.` };
  }),
  substitution: fc.tuple(fc.boolean(), tie('printing')).map(([isOld, printing]) => {
    const hasOld = isOld && !/[`\\]/.test(printing.text);
    // Not $((, which is arithmetic.
    return hasOld ? joined([printing], '`', '`') : joined([printing], '$( ', ')');
  }),
  quoted: fc
    .array(fc.oneof(DEPTH, hole, quotedText, escaped, expansion, tie('substitution')), { maxLength: 4 })
    .map((pieces) => joined(pieces, '"', '"')),
  word: fc
    .array(fc.oneof(DEPTH, hole, bareText, expansion, tie('quoted'), tie('quoted')), { minLength: 1, maxLength: 4 })
    .map((pieces) => joined(pieces, "''")),
  line: fc.tuple(wrapping, fc.array(tie('word'), { minLength: 1, maxLength: 3 }), fc.boolean()).map(([[before, after], words, isCase]) => ({
    text: `${isCase ? 'case a in (b) ;; a) ' : ''}${before}printf '<%s>' ${words.map(({ text }) => text).join(' ')}${after}${isCase ? '\n;; esac' : ''}`,
    value: (values) => words.map((each) => `<${each.value(values)}>`).join(''),
  })),
}));

const value = fc.oneof(
  fc.constantFrom(...HOSTILE_IDS.filter((id) => id.length < 100)),
  fc.constantFrom(
    '$(touch pwned)',
    '`touch pwned`',
    '; touch pwned;',
    "'; touch pwned; '",
    '"; touch pwned; "',
    'x[$(touch pwned)]',
    ')"',
    '\\',
    '',
  ),
  fc.string({ unit: 'binary', maxLength: 8 }).map((text) => text.replaceAll('\0', '').toWellFormed()),
);
const values: fc.Arbitrary<Values> = fc.record({ item: value, to: value });

/** Pieces of commands that are put together in any way; none prints an end of its own or waits for anything. */
const soup = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom('{}', '"{}"', '{to}') },
      { weight: 2, arbitrary: fc.constantFrom('"', "'", '`', '$(', ')', '}', '\n', ' ') },
      {
        weight: 3,
        arbitrary: fc.constantFrom(
          ...['\\', '$((', '))', '(', '((', `\${x:-`, `\${x#`, '${', '$[', ']', '$', "$'", '$"', '#', ';', '<<E\n', '\nE\n', '<<', '\\\n'],
          ...['case x in x', 'case ', ' esac', ';;', 'printf %s ', 'x', '=', '+1', '{ ', ' }'],
        ),
      },
    ),
    { minLength: 1, maxLength: 14 },
  )
  .map((pieces) => pieces.join(''));

describe('random commands for a shell', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'loopstate-shell-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const run = (command: ChildCommand, { item, to }: Values) => {
    const attempt = { item: { id: 'id', text: item, n: 7, fields: { to } }, attempt: 1 };
    const { file, args } = command.argvFor(attempt);
    const env = { PATH: process.env.PATH, ...command.environmentFor(attempt) };
    const { stdout, stderr } = spawnSync(file, args, { cwd: directory, env, timeout: 10_000, input: '' });
    return { stdout: stdout.toString(), stderr: stderr.toString(), files: readdirSync(directory) };
  };

  it('each placeholder is one word, as it is', async () => {
    const cases = await holdsFor(fc.tuple(line, values), 250, async ([{ text, value: expected }, given]) => {
      const command = shellCommand([text], { hasFields: true });
      expect(run(command, given)).to.deep.equal({ stdout: expected(given), stderr: '', files: [] });
    });
    prove({ test: 'P6 random shell commands', backend: 'every', counts: { cases }, least: { cases: 250 } });
  }).timeout(PROPERTY_TIMEOUT_MS);

  it('no value is ever run, whatever the command', async () => {
    let ran = 0;
    await holdsFor(fc.tuple(soup, values), 250, async ([text, given]) => {
      let command: ChildCommand;
      try {
        command = shellCommand([text], { hasFields: true });
      } catch (error) {
        if (isLoopStateError(error, 'LOOPSTATE_BAD_OPTION')) return;
        throw error;
      }
      ran += 1;
      expect(run(command, given).files).to.deep.equal([]);
    });
    expect(ran).to.be.at.least(100);
  }).timeout(PROPERTY_TIMEOUT_MS);
});
