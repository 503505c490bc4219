/**
 * The text of a shell command with placeholders, read as `/bin/sh` reads it, as far as it takes to know what each placeholder stands within.
 *
 * | within                          | a placeholder becomes |
 * |---------------------------------|-----------------------|
 * | words, `$(…)`, `` `…` ``        | `"${VARIABLE}"`       |
 * | `"…"`                           | `${VARIABLE}`         |
 * | a comment                       | what it is            |
 * | `'…'`, `${…}`, `$((…))`         | an error              |
 *
 * It is an error too after what shells read in different ways, or what only a whole parser could follow: no placeholder is ever guessed.
 */
import { LoopStateError } from '@loopstate/core';

/** A placeholder in a text. */
export interface Hole {
  /** As it was written. */
  readonly written: string;
  /** What it names; `undefined`: the item. */
  readonly name: string | undefined;
}

/** What is known of placeholders. */
export interface Holes {
  /** The placeholder at a place, if there is one. */
  at(text: string, at: number): Hole | undefined;
  /** The variable that holds what it stands for. */
  variableFor(name: string | undefined): string;
}

/** What the text at some place stands within. */
type Within = 'command' | 'substitution' | 'double' | 'single' | 'parameter' | 'arithmetic';

interface Frame {
  readonly within: Within;
  /** Parentheses that are open in it. */
  depth: number;
}

/** What ends a word outside of quotes. */
const WORD_END = /[ \t\n;&|()<>]/;

/** What may be the first part of something longer, unless it is escaped. */
const BEGUN = /(?<!\\)(?:\\\\)*(?:\$\{?|[(<])$/;

/**
 * The script that a text with placeholders stands for. Each variable is expanded within double quotes, so its value is one word, and is
 * never read as shell.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` for a placeholder where it can't be expanded so.
 */
export function shellScript(text: string, holes: Holes): string {
  return new ShellText(text, holes).script();
}

/** **Invariants:** what was read is in the script, and the last frame is what the next sign stands within. */
class ShellText {
  readonly #text: string;
  readonly #holes: Holes;
  readonly #frames: Frame[] = [];
  #frame: Frame = { within: 'command', depth: 0 };
  #at = 0;
  #script = '';
  /** What was read of a word that has not ended: it matters whether it is empty, or a keyword. */
  #word = '';

  constructor(text: string, holes: Holes) {
    this.#text = text;
    this.#holes = holes;
  }

  script(): string {
    while (this.#at < this.#text.length) {
      const hole = this.#holes.at(this.#text, this.#at);
      if (hole !== undefined) this.#fill(hole);
      else this.#step(this.#text.charAt(this.#at));
    }
    return this.#script;
  }

  #fill({ written, name }: Hole): void {
    const { within } = this.#frame;
    if (within === 'single') throw inSingleQuotes(written);
    const around = within === 'double' ? this.#frames.findLast((frame) => frame.within !== 'double')?.within : within;
    if (around === 'parameter') throw notThere(written, `within \${…}`);
    // What an expression holds is read once more, and some shells run what is in it.
    if (around === 'arithmetic') throw notThere(written, 'within $((…))');
    const variable = `\${${this.#holes.variableFor(name)}}`;
    this.#script += within === 'double' ? variable : `"${variable}"`;
    this.#word += written;
    this.#at += written.length;
  }

  #step(sign: string): void {
    const { within } = this.#frame;
    if (within === 'single') {
      // It is a variable to whoever reads it.
      this.#take(this.#isNext(`\${`) && !this.#isNext(`\${}`) ? `\${` : sign);
      if (sign === "'") this.#leave();
    } else if (sign === '\\') this.#escape();
    else if (sign === '$') this.#dollar();
    else if (sign === '`') this.#backquotes();
    else if (sign === '"' || sign === "'") this.#quote(sign);
    else if (within === 'double') this.#inDouble(sign);
    else if (within === 'arithmetic') this.#inArithmetic(sign);
    else if (within === 'parameter') {
      this.#take(sign);
      if (sign === '}') this.#leave();
    } else this.#inCommand(sign);
  }

  #inCommand(sign: string): void {
    const frame = this.#frame;
    if (sign === '#' && this.#word === '') {
      const end = this.#text.indexOf('\n', this.#at);
      this.#take(this.#text.slice(this.#at, end < 0 ? undefined : end));
      this.#word = '';
    } else if (this.#isNext('((') || this.#isNext('<<')) this.#giveUp(sign + sign);
    else if (!WORD_END.test(sign)) this.#take(sign);
    // The parentheses of its patterns open nowhere.
    else if (frame.within === 'substitution' && this.#word === 'case') this.#giveUp('case within $(…)');
    else {
      this.#take(sign);
      this.#word = '';
      if (frame.within !== 'substitution') return;
      if (sign === '(') frame.depth += 1;
      if (sign === ')' && frame.depth-- === 0) this.#leave();
    }
  }

  #inDouble(sign: string): void {
    // Whether such quotes hide a brace differs between shells.
    if (sign === '}' && this.#isQuotedParameter(this.#frames.length - 1)) this.#giveUp(`a } within quotes within "\${…}"`);
    else this.#take(sign);
  }

  #inArithmetic(sign: string): void {
    const frame = this.#frame;
    if (sign === ')' && frame.depth === 0) {
      if (this.#isNext('))')) {
        this.#take('))');
        this.#leave();
      } else this.#giveUp('$((…)'); // Some shells take it for a command then.
      return;
    }
    if (sign === '(') frame.depth += 1;
    if (sign === ')') frame.depth -= 1;
    this.#take(sign);
  }

  #escape(): void {
    const isLineGoingOn = this.#isNext('\\\n');
    if (this.#frame.within === 'arithmetic') this.#giveUp('a \\ within $((…))');
    // It may part two signs that are one.
    else if (isLineGoingOn && BEGUN.test(this.#script)) this.#giveUp(`a line that goes on after ${this.#script.slice(-1)}`);
    else {
      const word = this.#word;
      this.#take(this.#text.slice(this.#at, this.#at + 2));
      if (isLineGoingOn) this.#word = word; // Nor does it end a word.
    }
  }

  #dollar(): void {
    const after = this.#text.charAt(this.#at + 2);
    if (this.#isNext('$((')) this.#enter('arithmetic', '$((');
    else if (this.#isNext('$(')) this.#enter('substitution', '$(');
    else if (this.#isNext(`\${}`)) throw notThere('{}', 'after $');
    // Some shells run what stands there.
    else if (this.#isNext(`\${`) && /[\s|]/.test(after)) this.#giveUp(`\${ with a space or |`);
    else if (this.#isNext(`\${`)) this.#enter('parameter', `\${`);
    else if (this.#isNext('$[')) this.#giveUp('$[');
    else if (this.#isNext("$'") && this.#frame.within !== 'double' && this.#hasBackslashBefore("'", this.#at + 2)) {
      this.#giveUp("a \\ within $'…'"); // To some shells it hides a quote.
    } else this.#take(this.#isNext('$$') ? '$$' : '$');
  }

  #hasBackslashBefore(sign: string, start: number): boolean {
    const end = this.#text.indexOf(sign, start);
    return this.#text.slice(start, end < 0 ? undefined : end).includes('\\');
  }

  /** Their end is found first, whatever the quotes within; then what stands between is read like a script of its own. */
  #backquotes(): void {
    const quoted = /`((?:[^`\\]|\\.)*)`/sy;
    quoted.lastIndex = this.#at;
    const [whole, inner = ''] = quoted.exec(this.#text) ?? [];
    if (whole === undefined) this.#giveUp('a ` without an end');
    else if (inner.includes('\\')) {
      this.#refuseIn(inner, 'within `…` with a \\');
      this.#take(whole);
    } else {
      this.#script += `\`${new ShellText(inner, this.#holes).script()}\``;
      this.#word += whole;
      this.#at += whole.length;
    }
  }

  #quote(sign: '"' | "'"): void {
    const { within } = this.#frame;
    if (within === 'arithmetic') this.#giveUp(`a ${sign} within $((…))`);
    else if (within === 'double') {
      this.#take(sign);
      if (sign === '"') this.#leave();
    }
    // It quotes there or stands for itself, by the operator and the shell.
    else if (sign === "'" && this.#isQuotedParameter(this.#frames.length)) this.#giveUp(`a ' within "\${…}"`);
    else this.#enter(sign === '"' ? 'double' : 'single', sign);
  }

  #isNext(signs: string): boolean {
    return this.#text.startsWith(signs, this.#at);
  }

  #take(signs: string): void {
    this.#script += signs;
    this.#word += signs;
    this.#at += signs.length;
  }

  #enter(within: Within, signs: string): void {
    this.#take(signs);
    this.#frames.push(this.#frame);
    this.#frame = { within, depth: 0 };
    if (within === 'substitution') this.#word = '';
  }

  #leave(): void {
    this.#frame = this.#frames.pop() ?? this.#frame;
    this.#word += ')'; // It is in the midst of a word, which is no keyword.
  }

  /** Whether a frame, by its place from the outermost, is a `${…}` that stands within double quotes. */
  #isQuotedParameter(place: number): boolean {
    const frames = [...this.#frames, this.#frame];
    if (frames[place]?.within !== 'parameter') return false;
    const around = frames.slice(0, place).findLast(({ within }) => within !== 'parameter')?.within;
    return around === 'double' || around === 'arithmetic';
  }

  /** From here on it is not known what stands within what. */
  #giveUp(after: string): void {
    const rest = this.#text.slice(this.#at);
    this.#refuseIn(rest, `after ${after}`);
    this.#script += rest;
    this.#at = this.#text.length;
  }

  #refuseIn(text: string, where: string): void {
    for (let at = 0; at < text.length; at++) {
      const hole = text[at - 1] === '$' ? undefined : this.#holes.at(text, at);
      if (hole !== undefined) throw notThere(hole.written, where);
    }
  }
}

function notThere(hole: string, where: string): LoopStateError {
  return new LoopStateError(
    'LOOPSTATE_BAD_OPTION',
    `With --shell, ${hole} can not stand ${where}: give it to a variable before that, as in x=${hole}, and write "$x" there.`,
  );
}

function inSingleQuotes(hole: string): LoopStateError {
  return new LoopStateError(
    'LOOPSTATE_BAD_OPTION',
    `With --shell, ${hole} can not stand within single quotes, where the shell replaces nothing: write "${hole}", or "$1" for the item.`,
  );
}
