/** Numbers, times and counts as people read them. */

/** A whole number: `1,234`. By hand, since the first number that `toLocaleString` writes costs a start of 30 ms. */
export function numberText(value: number): string {
  return String(value).replaceAll(/\B(?=(?:\d{3})+$)/g, ',');
}

/** A time in ms since the epoch, to the second, in UTC. */
export function timeText(ms: number): string {
  return isTime(ms) ? new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z') : 'an unknown time';
}

/** A time in ms since the epoch for programs: ISO 8601, or null for one that is none. */
export function timeJson(ms: number): string | null {
  return isTime(ms) ? new Date(ms).toISOString() : null;
}

/** `1 item`, `1,234 items`. */
export function countText(count: number, noun: string): string {
  return `${numberText(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** An amount in US dollars. */
export function dollarsText(usd: number): string {
  return `$${usd.toFixed(2)}`;
}

function isTime(ms: number): boolean {
  return Number.isFinite(ms) && Math.abs(ms) <= 8.64e15;
}
