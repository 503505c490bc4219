import type { Json } from '@loopstate/core';

/** Controls, what changes the order or breaks the line of what is shown, and what shows nothing: hostile in an id, useless in a reason. */
const INVISIBLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: to find them is what it is for.
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|\u034f|[\u{e0000}-\u{e0fff}]|\p{Cs}/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\u001b': '\\e' };

/** Text of unknown origin as one harmless line for a terminal: whatever can't be seen stands there as an escape. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (character) => SHORT[character] ?? `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** As `visible`, and cut to `maxLength` characters. */
export function visibleStart(text: string, maxLength: number): string {
  // Cut before the escapes too: a reason may have thousands of characters, and only the first ones are shown.
  const shown = visible(text.slice(0, maxLength + 1));
  return shown.length <= maxLength ? shown : `${shown.slice(0, maxLength - 1).replace(/\p{Cs}$/u, '')}…`;
}

/** A value as JSON that is harmless on a terminal too: what can't be seen stands there as an escape, and means the same. */
export function visibleJson(value: object | Json, indent?: number): string {
  const text = JSON.stringify(value, undefined, indent);
  return text.replace(INVISIBLE, (character) => (character === '\n' ? character : character.replace(/./gs, escapedUnit)));
}

function escapedUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
