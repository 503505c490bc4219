/**
 * The parts of the command that are functions of their input: what is split, cut, escaped, quoted and counted. The command as a whole
 * is tested from the outside, in test/cli-*.test.ts.
 */
import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import { argvCommand, MissingFieldError, shellCommand } from '../src/cli/child-command.js';
import { askToConfirm } from '../src/cli/confirmation.js';
import type { InputItem } from '../src/cli/item-input.js';
import { itemLines } from '../src/cli/item-lines.js';
import { csvRows, jsonRows } from '../src/cli/item-rows.js';
import { createProgram } from '../src/cli/program.js';
import { createReporter, summaryLine } from '../src/cli/reporters.js';
import { reportOf } from '../src/cli/result-report.js';
import { fileNameOf } from '../src/cli/results-folder.js';
import { numberText } from '../src/cli/shown-values.js';
import { durationText, Tally } from '../src/cli/tally.js';
import { visible, visibleJson, visibleStart } from '../src/cli/visible-text.js';
import { WholeLines } from '../src/cli/whole-lines.js';

describe('createProgram', () => {
  it('has each subcommand also when that is all that is loaded', async () => {
    const names = async (asked?: string) => (await createProgram(() => undefined, asked)).commands.map((command) => command.name());
    const all = await names();
    expect(all).to.include.members(['run', 'retry', 'copy']);
    for (const name of all)
      expect(await names(name))
        .to.include(name)
        .and.to.have.length.below(4);
    for (const other of ['help', '--version', 'toString', '']) expect(await names(other)).to.deep.equal(all);
  });
});

describe('itemLines', () => {
  const items = async (bytes: Buffer, chunkBytes: number): Promise<string[]> => {
    const found: string[] = [];
    for await (const texts of itemLines(inChunks(bytes, chunkBytes), 'input')) found.push(...texts);
    return found;
  };

  it('finds the same items however the bytes are cut', async () => {
    const bytes = Buffer.from('\ufeffa\r\n\r\n\nä€😀\n\ufeffb\n c \nlast');
    for (let chunkBytes = 1; chunkBytes <= bytes.length; chunkBytes++) {
      expect(await items(bytes, chunkBytes)).to.deep.equal(['a', 'ä€😀', '\ufeffb', ' c ', 'last']);
    }
  });

  it('takes 1,024 bytes, whatever ends the line, and refuses more', async () => {
    const longest = 'ü'.repeat(512);
    expect(await items(Buffer.from(`\ufeff${longest}\r\n${longest}\r\n${longest}`), 100)).to.deep.equal([longest, longest, longest]);
    for (const input of [`${longest}x`, `${longest}x\n`, `ok\n${longest}xx\r\n`, 'x'.repeat(1_000_000)]) {
      const error: unknown = await items(Buffer.from(input), 64).catch((reason: unknown) => reason);
      expect(error).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    }
  });

  it('pulls no more than is wanted', async () => {
    let pulled = 0;
    const endless = async function* (): AsyncGenerator<Buffer> {
      for (;;) yield Buffer.from(`${pulled++}\n`);
    };
    for await (const texts of itemLines(endless(), 'input')) if (texts.includes('9')) break;
    expect(pulled).to.equal(10);
  });

  it('hands on what stands before a line that is refused', async () => {
    const found: string[] = [];
    const read = async (): Promise<void> => {
      const chunks = async function* (): AsyncGenerator<Buffer> {
        yield Buffer.concat([Buffer.from('one\ntwo\n'), Buffer.from([0xff, 0x0a]), Buffer.from('three\n')]);
      };
      for await (const texts of itemLines(chunks(), 'input')) found.push(...texts);
    };
    expect(await read().catch((reason: unknown) => reason)).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    expect(found).to.deep.equal(['one', 'two']);
  });
});

/** Bytes as a stream brings them, so many at a time. */
async function* inChunks(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

async function allOf(items: AsyncIterable<InputItem>): Promise<InputItem[]> {
  const found: InputItem[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe('jsonRows', () => {
  const rows = (text: string, names: readonly string[] = ['to']) =>
    allOf(jsonRows(inChunks(Buffer.from(text), 64), { source: 'input', idField: 'id', names }));

  it('takes a number that is the same one after it was read, whatever its form', async () => {
    const kept = ['0', '-0', '7', '1.50', '1.0', '-12e3', '1E-7', '0.1', '9007199254740991', '-9007199254740991', '6.02e23', '1e308'];
    const kind = [...kept, '0.30000000000000004', '123456789012.345000000', '0.000', '0e999', '0.00000000000000000001', '5e-324'];
    for (const number of kind) expect(await rows(`{"id":${number},"to":[{"x":${number}}]}`), number).to.have.length(1);
    expect((await rows('{"id":1.50,"to":0.10}'))[0]).to.deep.include({ id: '1.5', fields: { id: '1.5', to: '0.1' } });
  });

  it('refuses one that is not, in the id and in what the command names', async () => {
    const whole = ['9007199254740992', '9007199254740993', '-9007199254740993', '1234567890123456788', '1234567890123456800'];
    const others = [
      '1e400',
      '-1e400',
      '1e-400',
      '0.1000000000000000055',
      '1.00000000000000001',
      '9007199254740993.0',
      '9.007199254740993e15',
    ];
    for (const number of [...whole, ...others]) {
      for (const row of [
        `{"id":${number}}`,
        `{"id":"a","to":${number}}`,
        `{"id":"a", "\\u0074o" : [1, {"x,y\\"]}": "}", "z": ${number}}]}`,
      ]) {
        const error: unknown = await rows(`{"id":"first","to":1}\n${row}\n`).catch((reason: unknown) => reason);
        expect(error, row).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
        expect(error, row)
          .to.have.property('message')
          .that.matches(/^Line 2 of input can not be an item: the number -?[\d.e-]+ in its field /);
      }
    }
    const end: unknown = await rows(`{"id":1${'0'.repeat(1_000_000)}1}`).catch((reason: unknown) => reason);
    expect(end).to.have.property('message').with.length.below(200);
  });

  it('refuses what can be no id, before it is handed on', async () => {
    for (const id of ['', '\\ud800', 'ä'.repeat(513)]) {
      const error: unknown = await rows(`{"id":"first"}\n{"id":"${id}"}\n`).catch((reason: unknown) => reason);
      expect(error, id).to.include({ code: 'LOOPSTATE_BAD_OPTION' });
    }
    expect(await rows(`{"id":"${'ä'.repeat(512)}"}`)).to.have.length(1);
  });

  it('leaves alone what nobody looks at', async () => {
    const row = '{"id_str":"1234567890123456789","id":"a","x":1234567890123456789,"s":"1234567890123456789 1e400","o":{"to":1e400}}';
    const [item, ...others] = await rows(row, ['to', 's']);
    expect(others).to.deep.equal([]);
    expect(item).to.include({ id: 'a', text: row });
  });
});

describe('csvRows', () => {
  const rows = (
    bytes: Buffer,
    { chunkBytes = 64, fields = [] }: { readonly chunkBytes?: number; readonly fields?: readonly string[] } = {},
  ) => allOf(csvRows(inChunks(bytes, chunkBytes), { source: 'input', idField: 'id', fields }));

  it('refuses what is not UTF-8, and says in which line, however the bytes are cut', async () => {
    for (const [text, line] of [
      ['id,name\nM\xfcller,1\nM\xf6ller,2\n', 2],
      ['id,n\xe4me\nMiller,1\n', 1],
      ['id\r\na\r\n\r\nb\xe2\x82\r\n', 4],
      ['id\ra\rb\xe2\x82', 3],
      ['id\n"a\n\xe2\x82\xac\n\xf0\x9f\x98"\n', 4],
      ['id\n\x80\x80\x80\x80\x80\n', 2],
      ['\xff\xfei\0d\0\n\0', 1],
    ] as const) {
      const bytes = Buffer.from(text, 'latin1');
      for (let chunkBytes = 1; chunkBytes <= bytes.length; chunkBytes++) {
        const error: unknown = await rows(bytes, { chunkBytes }).catch((reason: unknown) => reason);
        expect(error, text).to.include({
          code: 'LOOPSTATE_BAD_OPTION',
          message: `Line ${line} of input can not be an item: it is not UTF-8, and an item must be text.`,
        });
      }
    }
  });

  it('ends a record with CR LF, LF or CR, each in its own way, and keeps what is quoted, however the bytes are cut', async () => {
    const ends = ['\r\n', '\n', '\r', '\n\n', '\r\r\n'];
    for (const first of ends) {
      for (const second of ends) {
        for (const last of ['', ...ends]) {
          const bytes = Buffer.from(`id,name${first}1,"a\r\nb\nc\rd"${second}2,""${second}"3","say ""x"""${first}4,d${last}`);
          for (let chunkBytes = 1; chunkBytes < 12; chunkBytes++) {
            const found = await rows(bytes, { chunkBytes });
            expect(found.map(({ id, fields }) => [id, fields?.name])).to.deep.equal([
              ['1', 'a\r\nb\nc\rd'],
              ['2', ''],
              ['3', 'say "x"'],
              ['4', 'd'],
            ]);
          }
        }
      }
    }
  });

  it('takes text of all kinds, a byte order mark skipped, however the bytes are cut', async () => {
    const bytes = Buffer.from('\ufeffid,name\nä€😀,"\ufeff\u{10ffff}\n€"\né,é');
    for (let chunkBytes = 1; chunkBytes <= bytes.length; chunkBytes++) {
      const found = await rows(bytes, { chunkBytes });
      expect(found.map(({ id, fields }) => [id, fields?.name])).to.deep.equal([
        ['ä€😀', '\ufeff\u{10ffff}\n€'],
        ['é', 'é'],
      ]);
    }
  });
});

describe('reportOf', () => {
  it('takes a number that is -0 for 0, which a store takes, and leaves all else as it is', () => {
    const report = reportOf('{"cost":{"usd":-0.0},"output":[-0,-0.5,"-0",{"x":-0e3}]}');
    expect(Object.is(report.cost?.usd, 0)).to.equal(true);
    expect(report.output).to.deep.equal([0, -0.5, '-0', { x: 0 }]);
  });
});

describe('WholeLines', () => {
  it('gives out whole lines only, and everything in the end', () => {
    const text = Buffer.from('one\n\ntwo\r\nthree');
    for (let size = 1; size <= text.length; size++) {
      const lines = new WholeLines();
      const parts: Buffer[] = [];
      for (let at = 0; at < text.length; at += size) parts.push(Buffer.from(lines.take(text.subarray(at, at + size))));
      for (const part of parts) expect(part.length === 0 || part.at(-1) === 0x0a).to.equal(true);
      parts.push(lines.end());
      expect(Buffer.concat(parts).toString()).to.equal('one\n\ntwo\r\nthree\n');
      expect(lines.end().length).to.equal(0);
    }
  });

  it('keeps at most a megabyte of a line that does not end', () => {
    const lines = new WholeLines();
    let bytes = 0;
    for (let n = 0; n < 40; n++) bytes += lines.take(Buffer.alloc(65_536, 'x')).length;
    expect(40 * 65_536 - bytes).to.be.at.most(1_024 * 1_024);
  });
});

describe('fileNameOf', () => {
  it('gives an id that is the cut name of another one a name of its own', () => {
    const cut = fileNameOf('x'.repeat(200));
    expect(fileNameOf(cut)).to.not.equal(cut);
    expect(fileNameOf('x'.repeat(100))).to.equal('x'.repeat(100));
  });
});

describe('visible', () => {
  it('leaves text as it is, and makes the rest visible', () => {
    expect(visible('plain äöü 日本 😀 \\n')).to.equal('plain äöü 日本 😀 \\n');
    expect(visible('\u001b[31m\r\n\t\0\u007f\u0085\u202e\u2066\ud800')).to.equal(
      '\\e[31m\\r\\n\\t\\u{0}\\u{7f}\\u{85}\\u{202e}\\u{2066}\\u{d800}',
    );
  });

  it('shows what shows nothing, by which two texts would look the same', () => {
    for (const hidden of ['\u00ad', '\u034f', '\u115f', '\u3164', '\u{e0041}']) {
      expect(visible(`a${hidden}b`)).to.match(/^a\\u\{[0-9a-f]+\}b$/);
      expect(visibleJson(`a${hidden}b`)).to.match(/^"a(\\u[0-9a-f]{4})+b"$/);
      expect(JSON.parse(visibleJson(`a${hidden}b`))).to.equal(`a${hidden}b`);
    }
  });

  it('lets nothing through that a terminal obeys', () => {
    for (let code = 0; code < 0x10000; code++) {
      expect(visible(String.fromCharCode(code))).to.match(/^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]+$/u);
    }
  });

  it('in JSON too, which stays the same to programs', () => {
    const hostile = { '\u009b31m': ['\u001b', '\u007f\u202e\ufeff', '😀\n\\', '\ud800'] };
    for (const indent of [undefined, 2]) {
      const shown = visibleJson(hostile, indent);
      expect(shown.replaceAll('\n', '')).to.match(/^[^\p{Cc}\u202e\ufeff\p{Cs}]+$/u);
      expect(JSON.parse(shown)).to.deep.equal(hostile);
    }
  });

  it('cuts to a length', () => {
    expect(visibleStart('abcdef', 6)).to.equal('abcdef');
    expect(visibleStart('abcdefg', 6)).to.equal('abcde…');
    expect(visibleStart('\u0001'.repeat(9), 6)).to.have.lengthOf.at.most(6);
  });
});

describe('commands', () => {
  const item = (text: string, fields?: Record<string, string>) => ({
    id: 'the id',
    text,
    n: 7,
    ...(fields === undefined ? {} : { fields }),
  });
  const argv = (words: string[], text: string) => argvCommand(words, { hasFields: false }).argvFor({ item: item(text), attempt: 2 });

  it('put the item where {} is, or at the end', () => {
    expect(argv(['a', 'b'], 'x y')).to.deep.equal({ file: 'a', args: ['b', 'x y'] });
    expect(argv(['a', '{}', '-{}-{}'], '$&')).to.deep.equal({ file: 'a', args: ['$&', '-$&-$&'] });
    expect(argv(['{}'], 'ls')).to.deep.equal({ file: 'ls', args: [] });
    expect(argv(['a', '{id}', '{n}.{attempt}', '{print}', '{ }', '{}'], '{n}').args).to.deep.equal([
      'the id',
      '7.2',
      '{print}',
      '{ }',
      '{n}',
    ]);
  });

  it('put fields where they are named, before what is always there, and miss those that are not', () => {
    const command = argvCommand(['mail', '{to}', '{n}', '{größe}', '{__proto__}'], { hasFields: true });
    expect(command.fields).to.deep.equal(['to', 'größe', '__proto__']);
    expect(command.names).to.deep.equal(['to', 'n', 'größe', '__proto__']);
    const fields = Object.fromEntries([
      ['to', 'a@b'],
      ['n', 'nine'],
      ['größe', 'XL'],
      ['__proto__', 'p'],
    ]);
    expect(command.argvFor({ item: item('row', fields), attempt: 1 }).args).to.deep.equal(['a@b', 'nine', 'XL', 'p']);
    expect(() => command.argvFor({ item: item('row', { to: 'x' }), attempt: 1 })).to.throw(MissingFieldError);
  });

  it('for a shell hold the item as a variable, quoted once', () => {
    const script = (text: string) => shellCommand([text], { hasFields: false }).argvFor({ item: item('item'), attempt: 1 }).args[1];
    const variable = `\${LOOPSTATE_ITEM}`;
    expect(script('echo {} "{}" a{}')).to.equal(`echo "${variable}" "${variable}" a"${variable}"`);
    expect(script('echo "\\"{}" \\{} \\\' {}')).to.equal(`echo "\\"${variable}" \\{} \\' "${variable}"`);
    expect(script("awk '{print}' {}")).to.equal(`awk '{print}' "${variable}"`);
    expect(() => shellCommand(["echo '{}'"], { hasFields: false })).to.throw();
    expect(() => shellCommand(['a', 'b'], { hasFields: false })).to.throw();
    const named = shellCommand(['echo {to} "{n}"'], { hasFields: true });
    const attempt = { item: item('row', { to: '$(rm)' }), attempt: 1 };
    expect(named.argvFor(attempt).args).to.deep.equal(['-c', `echo "\${LOOPSTATE_FIELD_1}" "\${LOOPSTATE_FIELD_2}"`, 'loopstate', 'row']);
    expect(named.environmentFor(attempt)).to.deep.equal({ LOOPSTATE_FIELD_1: '$(rm)', LOOPSTATE_FIELD_2: '7' });
  });
});

describe('a command for a shell', () => {
  const of = { item: { id: 'the id', text: 'item', n: 7, fields: { to: 'x' } }, attempt: 1 };
  const script = (text: string) => shellCommand([text], { hasFields: true }).argvFor(of).args[1];

  it('holds a placeholder within quotes, once, whatever it stands within', () => {
    const bare = `"\${LOOPSTATE_ITEM}"`;
    const quoted = `\${LOOPSTATE_ITEM}`;
    for (const [text, expected] of [
      [`echo "$(echo {} "{}")" {}`, `echo "$(echo ${bare} "${quoted}")" ${bare}`],
      [`"$( (a {}) {})" {} "{}"`, `"$( (a ${bare}) ${bare})" ${bare} "${quoted}"`],
      [`"$(a "$(b {})" {})"{}`, `"$(a "$(b ${bare})" ${bare})"${bare}`],
      [`"$(a ')' \\) ")" {})"`, `"$(a ')' \\) ")" ${bare})"`],
      ['x=`a {} "{}"` {}', `x=\`a ${bare} "${quoted}"\` ${bare}`],
      ['"`a {}`{}"', `"\`a ${bare}\`${quoted}"`],
      ["# it's {}\n{} a#' {", `# it's {}\n${bare} a#' {`],
      [`a \\\n# it's\n{}`, `a \\\n# it's\n${bare}`],
      [`a\\\n#' {`, `a\\\n#' {`],
      [`"$(a # it's )\n{})" {}`, `"$(a # it's )\n${bare})" ${bare}`],
      [`case "$1" in a) b {};; esac`, `case "$1" in a) b ${bare};; esac`],
      ['$((1 + (2))) {} "$((1)){}"', `$((1 + (2))) ${bare} "$((1))${quoted}"`],
      [`\${x:-'}'} {} "\${1%"\${1##*.}"}{}"`, `\${x:-'}'} ${bare} "\${1%"\${1##*.}"}${quoted}"`],
      [`\${n} "\${to}" '\${to}' $\${to} \\\${x`, `\${n} "\${to}" '\${to}' $$"\${LOOPSTATE_FIELD_1}" \\\${x`],
      [`"it's" $'it' {}`, `"it's" $'it' ${bare}`],
      ['{} <<E\n$x\nE\n', `${bare} <<E\n$x\nE\n`],
    ] as const) {
      expect(script(text), text).to.equal(expected);
    }
  });

  it('is refused where that can not be known, in one sentence', () => {
    for (const text of [
      ...[`'{}'`, `"$(a '{}')"`, `$'{}'`, `\${}`, `"\${}"`],
      ...[`\${x:-{}}`, `"\${x:-{}}"`, `"\${x#"{}"}"`, `\${x:-"{}"}`, '$(({}))', '"$((1 + {to}))"', '(( {} ))', '$[{}]', '"$[{}]"'],
      ...['<<E\n{}\nE\n', 'cat <<-E {}', '`a \\` {}`', '"`a \\"{}`"', 'a ` {}', '"$(case x in x) echo {};; esac)"'],
      ...[`"$(ca\\\nse x in x) echo {};; esac)"`, `"\${x:-'}'}" {}`, `"\${x:-"}"}" {}`, `$'\\'' {}`, '"$((a) | b) {}"', `$((1 '2')) {}`],
      ...['$\\\n(a {})', '"$(\\\n(1) {})"', '<\\\n<E {}', `\${ a {}; }`, `\${|a {}; }`],
    ]) {
      expect(() => script(text), text)
        .to.throw(/^With --shell, \{(?:to)?\} can not stand [^\n]+\.$/)
        .with.property('code', 'LOOPSTATE_BAD_OPTION');
    }
  });

  it('leaves alone what holds no placeholder', () => {
    for (const text of ['cat <<E\n"\nE\n', `"\${x:-'}'}" '`, `$((a) | b) \${ a; }`, '`a \\` b`', 'a `', '$[1] ((', 'awk "{ print }"']) {
      expect(script(text)).to.equal(text);
    }
  });
});

describe('numberText', () => {
  it('parts the thousands of whole numbers, negative ones too', () => {
    const numbers = [0, 7, 999, 1_000, 12_345, 123_456, 1_234_567, -1_000, -999];
    expect(numbers.map(numberText)).to.deep.equal(numbers.map((number) => number.toLocaleString('en')));
  });
});

describe('askToConfirm', () => {
  const answerTo = async (typed: string, { isTTY, isEnded = false }: { isTTY: boolean; isEnded?: boolean }) => {
    const input = new PassThrough();
    const asked = askToConfirm('? ', { input, output: Object.assign(new PassThrough(), { isTTY }) });
    input.write(typed);
    if (isEnded) input.end();
    return await asked;
  };

  it('takes nothing but yes for a yes', async () => {
    for (const isTTY of [true, false]) {
      for (const typed of ['y\n', ' YES \n']) expect(await answerTo(typed, { isTTY })).to.equal('yes');
      for (const typed of ['n\n', '\n', 'yy\n']) expect(await answerTo(typed, { isTTY })).to.equal('no');
    }
  });

  it('is answered too by Ctrl-C, by Ctrl-D and by the end of the input', async () => {
    expect(await answerTo('\u0003', { isTTY: true })).to.equal('interrupted');
    expect(await answerTo('y\u0003', { isTTY: true })).to.equal('interrupted');
    expect(await answerTo('\u0004', { isTTY: true })).to.equal('no');
    for (const isTTY of [true, false]) expect(await answerTo('', { isTTY, isEnded: true })).to.equal('no');
  });
});

describe('createReporter', () => {
  it('tells as JSON all that a command says on its standard error', async () => {
    const lines: string[] = [];
    const reporter = await createReporter('json', (line) => lines.push(line));
    for (const text of ['a\n\nb\n', 'part of a line', ' and its end\n']) reporter.childErrors?.('x', Buffer.from(text));
    const told = lines.map((line): { type: string; line: string } => JSON.parse(line));
    expect(told.map(({ line }) => line)).to.deep.equal(['a', '', 'b', 'part of a line', ' and its end']);
  });
});

describe('a reporter', () => {
  it('fenced: a run that lost a claim says so, also where it says little', async () => {
    for (const style of ['plain', 'json', 'quiet'] as const) {
      const lines: string[] = [];
      const reporter = await createReporter(style, (line) => lines.push(line));
      reporter.event({ type: 'lost', id: 'item 7' });
      expect(lines.join(), style).to.include('item 7');
    }
  });
});

describe('a bar', () => {
  it('leaves the terminal as it is: what commands write is wrapped, and a SIGKILL leaves nothing to put right', async () => {
    const { isTTY, write } = process.stderr;
    let shown = '';
    const terminal = {
      isTTY: true,
      write: (text: string) => {
        shown += text;
        return true;
      },
    };
    Object.assign(process.stderr, terminal);
    try {
      const reporter = await createReporter('bar', () => undefined);
      const progress = { completed: 0, failed: 0, quarantined: 0, glitched: 0, inProgress: 0, outstanding: 0, costUsd: 0 };
      reporter.begin({ state: 'x', total: 3, progress, recovery: [] });
      reporter.stop();
    } finally {
      Object.assign(process.stderr, { isTTY, write });
    }
    expect(shown).to.include('\u001b[2K'); // It was there.
    expect(shown).to.not.include('\u001b[?');
  });
});

describe('summaryLine', () => {
  it('says how many items were left out, so that rows that share an id are missed', () => {
    const counts = { started: 1, completed: 1, failed: 0, glitches: 0, retries: 0, skipped: 0, duplicates: 0, lost: 0, unrecorded: 0 };
    const progress = { completed: 1, failed: 0, quarantined: 0, glitched: 0, inProgress: 0, outstanding: 0, costUsd: 0 };
    const line = (duplicates: number) =>
      summaryLine({ status: 'completed', reason: 'all-done', counts: { ...counts, duplicates }, progress }, 1);
    expect(line(0)).to.not.include('left out');
    expect(line(12)).to.include('12 left out');
  });
});

describe('Tally', () => {
  it('counts each item once, and tells rate and rest of the last seconds', () => {
    let nowMs = 0;
    const tally = new Tally(100, () => nowMs);
    for (let n = 0; n < 10; n++) tally.take({ type: 'skipped', id: `${n}` });
    for (let n = 10; n < 60; n++) {
      nowMs += 500;
      tally.take({ type: 'started', id: `${n}`, attempt: 1 });
      tally.take({ type: 'glitch', id: `${n}`, reason: '', waitMs: 0 });
      tally.take({ type: 'started', id: `${n}`, attempt: 1 });
      tally.take(n % 10 === 0 ? { type: 'failed', id: `${n}`, reason: 'r' } : { type: 'completed', id: `${n}` });
    }
    expect(tally).to.include({ settled: 60, completed: 45, failed: 5, glitches: 50, running: 0 });
    expect(tally.perSecond).to.be.closeTo(2, 0.1);
    expect(tally.restMs).to.be.closeTo(20_000, 1_000);
  });

  it('counts as running what was begun, and not what was given back before that', () => {
    const tally = new Tally(undefined, () => 1_000);
    for (const id of ['a', 'b']) tally.take({ type: 'started', id, attempt: 1 });
    tally.take({ type: 'failed', id: 'a', reason: 'r' });
    tally.take({ type: 'stopping', reason: 'halted' });
    tally.take({ type: 'given-back', id: 'c' });
    expect(tally.running).to.equal(1);
    tally.take({ type: 'given-back', id: 'b' });
    expect(tally.running).to.equal(0);
  });

  it('knows no rest without a total', () => {
    const tally = new Tally(undefined, () => 1_000);
    tally.take({ type: 'completed', id: 'a' });
    expect(tally.restMs).to.equal(undefined);
  });

  it('writes times for people', () => {
    expect([0, 9_940, 59_000, 200_000, 7_500_000].map(durationText)).to.deep.equal(['0.0 s', '9.9 s', '59 s', '3 min 20 s', '2 h 5 min']);
  });
});
