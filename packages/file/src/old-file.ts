/**
 * State files of the formats before loopstate's own, whole or torn: one JSON object, written in one go by a program that may
 * have been killed on the way. Of a torn one, what is complete is kept; nothing is guessed, so an id is never half an id.
 */
import { isOldFormat, type Json } from '@loopstate/core';
import { endOfContent } from './lines.js';

/** An old state file as far as it could be read. */
export interface OldFile {
  readonly document: { readonly [name: string]: Json };
  /** It ends too early: what came after is lost. */
  readonly isTorn: boolean;
}

/** The names that the top level of an old file may have, with what each held. */
const MEMBERS: Readonly<Record<string, (value: Json) => boolean>> = {
  completed: Array.isArray,
  failed: Array.isArray,
  inProgress: () => true,
  version: (value) => value === 2,
  results: isObject,
  claims: (value) => isObject(value) || Array.isArray(value),
  totalUsd: (value) => typeof value === 'number',
};

const DEPTH_MAX = 64;

/** Reads an old state file; `undefined` for anything else, a blank file included. */
export function parseOldFile(bytes: Buffer): OldFile | undefined {
  const text = bytes
    .subarray(0, endOfContent(bytes))
    .toString()
    .replace(/^\uFEFF/, '');
  const parser = new PrefixParser(text);
  const value = parser.parse();
  if (value === undefined || !isObject(value) || parser.isWrong) return undefined;
  const names = Object.keys(value);
  if (!names.every((name) => Object.hasOwn(MEMBERS, name) && MEMBERS[name]?.(value[name] ?? null))) return undefined;
  if (!parser.isTorn) return isOldFormat(value) ? { document: value, isTorn: false } : undefined;
  const isPossible = parser.tornName === undefined || Object.keys(MEMBERS).some((name) => name.startsWith(parser.tornName ?? ''));
  return isPossible ? { document: withoutHalves(value), isTorn: true } : undefined;
}

/** Drops the elements that were torn before they said what they are. */
function withoutHalves(document: { readonly [name: string]: Json }): { readonly [name: string]: Json } {
  const kept = Object.entries(document).map(([name, value]): [string, Json] => {
    if (name === 'failed' && Array.isArray(value))
      return [name, value.filter((item: Json) => isObject(item) && typeof item.id === 'string')];
    if (name === 'results' && isObject(value))
      return [name, Object.fromEntries(Object.entries(value).flatMap(([id, result]) => wholeResult(id, result)))];
    return [name, value];
  });
  return Object.fromEntries(kept);
}

function wholeResult(id: string, result: Json): [string, Json][] {
  if (!isObject(result) || (result.status !== 'success' && result.status !== 'error')) return [];
  const { cost, ...rest } = result;
  return [[id, isObject(cost ?? null) && typeof (cost as { usd?: Json }).usd === 'number' ? result : rest]];
}

function isObject(value: Json): value is { readonly [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Parses JSON up to where it ends, early or not. Sets `isWrong` for text that is no beginning of a JSON document. */
class PrefixParser {
  isTorn = false;
  isWrong = false;
  /** What stands of a top-level name that was torn. */
  tornName: string | undefined;
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Json | undefined {
    const value = this.#value();
    this.#skipSpace();
    if (this.#at < this.#text.length) this.isWrong = true;
    return value;
  }

  /** A value, or as much of an array or object as is complete; `undefined` when nothing is, or the text is wrong. */
  #value(): Json | undefined {
    this.#skipSpace();
    const first = this.#text[this.#at];
    if (first === undefined) return this.#torn();
    if (first === '{') return this.#object();
    if (first === '[') return this.#array();
    if (first === '"') return this.#string();
    return this.#word();
  }

  #object(): Json | undefined {
    if (++this.#depth > DEPTH_MAX) return this.#wrong();
    const members: [string, Json][] = [];
    this.#at++;
    for (let isFirst = true; !this.#isClosedBy('}'); isFirst = false) {
      if (!this.#takeSeparator(isFirst)) break;
      const name = this.#name();
      if (name === undefined || !this.#take(':')) break;
      const value = this.#value();
      if (value === undefined) break;
      members.push([name, value]);
      if (this.isTorn || this.isWrong) break;
    }
    this.#depth--;
    // Not by assignment: a name may be `__proto__`.
    return Object.fromEntries(members);
  }

  #array(): Json | undefined {
    if (++this.#depth > DEPTH_MAX) return this.#wrong();
    const elements: Json[] = [];
    this.#at++;
    for (let isFirst = true; !this.#isClosedBy(']'); isFirst = false) {
      if (!this.#takeSeparator(isFirst)) break;
      const value = this.#value();
      if (value === undefined) break;
      elements.push(value);
      if (this.isTorn || this.isWrong) break;
    }
    this.#depth--;
    return elements;
  }

  #name(): string | undefined {
    this.#skipSpace();
    const start = this.#at;
    if (this.#text[start] !== undefined && this.#text[start] !== '"') return this.#wrong();
    const name = this.#string();
    if (name === undefined && this.#depth === 1 && this.isTorn) this.tornName = this.#text.slice(start + 1);
    return name;
  }

  #string(): string | undefined {
    const start = this.#at++;
    if (this.#text[start] === undefined) return this.#torn();
    while (this.#at < this.#text.length) {
      const unit = this.#text[this.#at++];
      if (unit === '\\') this.#at++;
      else if (unit === '"') return this.#parsed(this.#text.slice(start, this.#at)) as string | undefined;
    }
    return this.#torn();
  }

  /** A number, `true`, `false` or `null`; one that reaches the end of the text may have been longer. */
  #word(): Json | undefined {
    const start = this.#at;
    while (this.#at < this.#text.length && /[-+.\w]/.test(this.#text[this.#at] ?? '')) this.#at++;
    const word = this.#text.slice(start, this.#at);
    if (word === '') return this.#wrong();
    if (this.#at < this.#text.length) return this.#parsed(word);
    const isPossible = /^-?\d*\.?\d*([eE][-+]?\d*)?$/.test(word) || ['true', 'false', 'null'].some((whole) => whole.startsWith(word));
    return isPossible ? this.#torn() : this.#wrong();
  }

  #isClosedBy(bracket: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== bracket) return false;
    this.#at++;
    return true;
  }

  #takeSeparator(isFirst: boolean): boolean {
    return isFirst ? this.#at < this.#text.length || this.#torn() !== undefined : this.#take(',');
  }

  #take(sign: string): boolean {
    this.#skipSpace();
    const found = this.#text[this.#at++];
    if (found === sign) return true;
    if (found === undefined) this.isTorn = true;
    else this.isWrong = true;
    return false;
  }

  #skipSpace(): void {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? '')) this.#at++;
  }

  #parsed(text: string): Json | undefined {
    try {
      return JSON.parse(text) as Json;
    } catch {
      return this.#wrong();
    }
  }

  #torn(): undefined {
    this.isTorn = true;
    return undefined;
  }

  #wrong(): undefined {
    this.isWrong = true;
    return undefined;
  }
}
