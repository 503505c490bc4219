/**
 * The numbers in JSON text that a reader changes: `JSON.parse` keeps some sixteen digits, so that two numbers can become one.
 */

/** The words of JSON that matter here: whole strings, numbers, and what opens, closes and parts. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|[{}[\],]/gs;

/** Fifteen digits without an exponent are always kept, so most rows need no closer look. */
const PERHAPS_CHANGED = /[\d.]{16}|\d[eE]/;

/** A number that a reader changes, as it was written. */
export interface ChangedNumber {
  readonly field: string;
  readonly written: string;
}

/**
 * The first number that is changed by reading it, in one of these fields of an object, at whatever depth. `text` is the object, known to be
 * JSON. A number counts as kept if it is the same one afterwards, whatever its form: `1.50` is 1.5.
 */
export function changedNumber(text: string, fields: ReadonlySet<string>): ChangedNumber | undefined {
  if (!PERHAPS_CHANGED.test(text)) return undefined;
  let depth = 0;
  let field: string | undefined;
  for (const [token] of text.matchAll(TOKEN)) {
    const first = token.charAt(0);
    if (first === '{' || first === '[') depth += 1;
    else if (first === '}' || first === ']') depth -= 1;
    else if (first === ',') field = depth === 1 ? undefined : field;
    else if (first === '"') field ??= JSON.parse(token) as string;
    else if (field !== undefined && fields.has(field) && !isKept(token)) return { field, written: token };
  }
  return undefined;
}

function isKept(written: string): boolean {
  // Beyond 2^53 only some whole numbers are kept. Those are refused too: the first row says so then, not one of the later.
  if (/^-?\d+$/.test(written)) return Number.isSafeInteger(Number(written));
  return decimalOf(written) === decimalOf(String(Number(written)));
}

/** The digits of a number without the zeros around them, and its exponent; `undefined` for what is none. */
function decimalOf(text: string): string | undefined {
  const [, whole, fraction = '', exponent = '0'] = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  let end = digits.length;
  while (digits[end - 1] === '0') end -= 1;
  return end === 0 ? '0' : `${digits.slice(0, end)}e${Number(exponent) - fraction.length + digits.length - end}`;
}
