/**
 * From the command that a user wrote, with placeholders where the item goes, to the argument vector for one item.
 *
 * | placeholder | becomes                                                                          |
 * |-------------|----------------------------------------------------------------------------------|
 * | `{}`        | the item: the line, the path, the JSON text of a row, the id of a CSV row         |
 * | `{id}`      | its id                                                                           |
 * | `{n}`       | its place in the input, from 1                                                   |
 * | `{attempt}` | which attempt this is, from 1                                                    |
 * | `{name}`    | a field of the row, with --jsonl and --csv                                       |
 *
 * Anything else in braces is left as it is.
 */
import { LoopStateError } from '@loopstate/core';
import type { InputItem } from './item-input.js';
import { type Hole, shellScript } from './shell-text.js';

/** What is started for one item. */
export interface Argv {
  readonly file: string;
  readonly args: readonly string[];
}

/** What is known of one attempt. */
export interface Attempt {
  readonly item: InputItem;
  readonly attempt: number;
}

/** A command with holes. */
export interface ChildCommand {
  /** The text that tells one command from another. */
  readonly text: string;
  /** The fields that it names. */
  readonly fields: readonly string[];
  /** Whether it starts another program for another item. */
  readonly variesProgram: boolean;
  /** All names in its placeholders. */
  readonly names: readonly string[];
  /** Errors: {@link MissingFieldError}. */
  argvFor(attempt: Attempt): Argv;
  /** What the command reads by its environment, besides what every command gets. */
  environmentFor(attempt: Attempt): Readonly<Record<string, string>>;
}

/** A row lacks a field that the command names. */
export class MissingFieldError extends Error {}

const PLACEHOLDER = /\{([\p{L}_][\p{L}\p{N}_.-]*)?\}/gu;
const BUILT_IN = ['id', 'n', 'attempt'];

/** A command that is started without a shell: placeholders are replaced in every word; without any, the item becomes the last argument. */
export function argvCommand(words: readonly string[], { hasFields }: { readonly hasFields: boolean }): ChildCommand {
  const names = words.flatMap((word) => namesIn(word, { hasFields }));
  const template = names.length > 0 ? words : [...words, '{}'];
  return {
    text: JSON.stringify(template),
    fields: fieldsAmong(names),
    // One word with blanks is a command line for a shell, and no program for any item.
    variesProgram: namesIn(template[0] ?? '', { hasFields }).length > 0 && !isCommandLine(words),
    names: names.filter((name) => name !== undefined),
    argvFor(attempt) {
      const [file = '', ...args] = template.map((word) =>
        word.replaceAll(PLACEHOLDER, (hole, name: string | undefined) => (isName(name, { hasFields }) ? valueFor(name, attempt) : hole)),
      );
      return { file, args };
    },
    environmentFor: () => ({}),
  };
}

/**
 * A command that `/bin/sh` reads. The item is `$1` and `$LOOPSTATE_ITEM`; each placeholder stands for its value, as one word. No value ever
 * becomes part of the command's text. `${name}` is a variable of the shell, not a placeholder.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` for several words, and for a placeholder where that can't be, as {@link shellScript} says.
 */
export function shellCommand(words: readonly string[], { hasFields }: { readonly hasFields: boolean }): ChildCommand {
  const [text = '', ...others] = words;
  if (others.length > 0) {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', "With --shell the command is one string: --shell -- 'grep -c x {} | sort'.");
  }
  const names: (string | undefined)[] = [];
  const script = shellScript(text, {
    at: (within, at) => holeAt(within, at, { hasFields }),
    variableFor(name) {
      if (!names.includes(name)) names.push(name);
      return variableOf(name, names);
    },
  });
  return {
    text: JSON.stringify(['/bin/sh', text]),
    fields: fieldsAmong(names),
    variesProgram: false,
    names: names.filter((name) => name !== undefined),
    argvFor: ({ item }) => ({ file: '/bin/sh', args: ['-c', script, 'loopstate', item.text] }),
    environmentFor: (attempt) => Object.fromEntries(names.map((name) => [variableOf(name, names), valueFor(name, attempt)])),
  };
}

function isCommandLine([first = '', ...others]: readonly string[]): boolean {
  return others.length === 0 && /\s/.test(first);
}

function namesIn(text: string, of: { readonly hasFields: boolean }): (string | undefined)[] {
  return [...text.matchAll(PLACEHOLDER)].map(([, name]) => name).filter((name) => isName(name, of));
}

function holeAt(text: string, at: number, of: { readonly hasFields: boolean }): Hole | undefined {
  if (text[at] !== '{') return undefined;
  const hole = new RegExp(PLACEHOLDER.source, 'uy');
  hole.lastIndex = at;
  const found = hole.exec(text);
  return found !== null && isName(found[1], of) ? { written: found[0], name: found[1] } : undefined;
}

/** No name: the item itself. Without fields, only the names that are always there are placeholders. */
function isName(name: string | undefined, { hasFields }: { readonly hasFields: boolean }): boolean {
  return name === undefined || hasFields || BUILT_IN.includes(name);
}

function fieldsAmong(names: readonly (string | undefined)[]): string[] {
  return [...new Set(names.filter((name) => name !== undefined && !BUILT_IN.includes(name)))] as string[];
}

function valueFor(name: string | undefined, { item, attempt }: Attempt): string {
  if (name === undefined) return item.text;
  const field = item.fields !== undefined && Object.hasOwn(item.fields, name) ? item.fields[name] : undefined;
  if (field !== undefined) return field;
  if (name === 'id') return item.id;
  if (name === 'n') return `${item.n}`;
  if (name === 'attempt') return `${attempt}`;
  throw new MissingFieldError(`The row has no field ${JSON.stringify(name)}, which the command names.`);
}

/** The variable that stands for a placeholder in a shell command: an expansion of a variable is never read as shell, whatever it holds. */
function variableOf(name: string | undefined, names: readonly (string | undefined)[]): string {
  return name === undefined ? 'LOOPSTATE_ITEM' : `LOOPSTATE_FIELD_${names.indexOf(name) + 1}`;
}
