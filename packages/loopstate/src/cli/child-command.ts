/**
 * From the command that a user wrote, with `{}` where the item goes, to the argument vector for one item.
 */
import { LoopStateError } from '@loopstate/core';

/** What is started for one item. */
export interface Argv {
  readonly file: string;
  readonly args: readonly string[];
}

/** Makes the argument vector for an item. */
export type ChildCommand = (item: string) => Argv;

const HOLE = '{}';

/** The item in the text of a shell command: an expansion of a variable is never read as shell, whatever it holds. */
const ITEM_VARIABLE = `\${LOOPSTATE_ITEM}`;

/** A command that is started without a shell: `{}` is replaced in every word; without any, the item becomes the last argument. */
export function argvCommand(words: readonly string[]): ChildCommand {
  const template = words.some((word) => word.includes(HOLE)) ? words : [...words, HOLE];
  return (item) => {
    const [file = '', ...args] = template.map((word) => word.replaceAll(HOLE, () => item));
    return { file, args };
  };
}

/**
 * A command that `/bin/sh` reads. The item is `$1` and `$LOOPSTATE_ITEM`; `{}` stands for it, as one word. Its text never becomes part
 * of the command's text.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` for several words, and for `{}` within single quotes, where the shell expands nothing.
 */
export function shellCommand(words: readonly string[]): ChildCommand {
  const [text = '', ...others] = words;
  if (others.length > 0) {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', "With --shell the command is one string: --shell -- 'grep -c x {} | sort'.");
  }
  const script = withVariables(text);
  return (item) => ({ file: '/bin/sh', args: ['-c', script, 'loopstate', item] });
}

/** Replaces each `{}` by an expansion that is quoted once, whether the user quoted it or not. */
function withVariables(text: string): string {
  let script = '';
  let quote: '' | '"' | "'" = '';
  for (let at = 0; at < text.length; at++) {
    const sign = text.charAt(at);
    if (text.startsWith(HOLE, at)) {
      if (quote === "'") throw inSingleQuotes();
      script += quote === '"' ? ITEM_VARIABLE : `"${ITEM_VARIABLE}"`;
      at += HOLE.length - 1;
      continue;
    }
    if (sign === '\\' && quote !== "'") script += sign + text.charAt(++at);
    else script += sign;
    if (sign === '"' || sign === "'") {
      if (quote === '') quote = sign;
      else if (quote === sign) quote = '';
    }
  }
  return script;
}

function inSingleQuotes(): LoopStateError {
  return new LoopStateError(
    'LOOPSTATE_BAD_OPTION',
    `With --shell, {} can not stand within single quotes, where the shell replaces nothing: write "{}" or "$1" in double quotes.`,
  );
}
