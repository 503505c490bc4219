/** Sums of money are kept in billionths of a dollar, so that adding and taking away stays exact, in whichever order. */

/** An amount in US dollars as a whole number of billionths, the nearest one. */
export function nanoUsdOf(usd: number): number {
  return Math.round(usd * 1e9);
}

/** A whole number of billionths in US dollars. */
export function usdOf(nanoUsd: number): number {
  return nanoUsd / 1e9;
}
