import { inspect } from 'node:util';

/** A short picture of anything, safe for a terminal. */
export function show(anything: unknown): string {
  const text = inspect(anything, { depth: 4, maxStringLength: 200, maxArrayLength: 12, breakLength: Number.POSITIVE_INFINITY });
  return text.length > 600 ? `${text.slice(0, 600)}…` : text;
}
