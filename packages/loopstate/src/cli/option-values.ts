import { InvalidArgumentError } from 'commander';

/** A whole number from 1, as an option's value. */
export function atLeastOne(text: string): number {
  return wholeNumber(text, 1);
}

/** A whole number from 0, as an option's value. */
export function fromZero(text: string): number {
  return wholeNumber(text, 0);
}

/** Seconds, with a fraction if need be, as ms. */
export function secondsAsMs(text: string): number {
  const ms = Number(text) * 1_000;
  // The longest that a timer of Node can wait.
  if (!/^\d*\.?\d+$/.test(text) || ms < 1 || ms > 0x7fffffff)
    throw new InvalidArgumentError('It must be a number of seconds from 0.001 to 2147483.');
  return ms;
}

function wholeNumber(text: string, min: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || !Number.isSafeInteger(value))
    throw new InvalidArgumentError(`It must be a whole number from ${min}.`);
  return value;
}
