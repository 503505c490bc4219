/** Sums of money are kept in billionths of a dollar, so that adding and taking away stays exact, in whichever order. */

/** More than there is: what all attempts of a loop may cost together stays finite, in billionths too. */
export const USD_MAX = 1e15;

/** Whether a value is an amount in US dollars that can be kept. */
export function isUsd(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= USD_MAX;
}

/** An amount in US dollars as a whole number of billionths, the nearest one. */
export function nanoUsdOf(usd: number): number {
  return Math.round(usd * 1e9);
}

/** A whole number of billionths in US dollars. */
export function usdOf(nanoUsd: number): number {
  return nanoUsd / 1e9;
}
