import { InvalidArgumentError } from 'commander';

/** A whole number from 1, as an option's value. */
export function atLeastOne(text: string): number {
  return wholeNumber(text, 1);
}

/** A whole number from 1 to `max`, as an option's value. */
export function oneTo(max: number): (text: string) => number {
  return (text) => wholeNumber(text, 1, max);
}

/** A whole number from 0, as an option's value. */
export function fromZero(text: string): number {
  return wholeNumber(text, 0);
}

/** Seconds, with a fraction if need be, as ms; no longer than a timer of Node can wait. */
export const secondsAsMs = secondsWithin({ min: 0.001, max: 2_147_483 });

/** Seconds within these bounds, as ms. */
export function secondsWithin({ min, max }: { readonly min: number; readonly max: number }): (text: string) => number {
  return (text) => {
    const seconds = Number(text);
    if (!/^\d*\.?\d+$/.test(text) || seconds < min || seconds > max)
      throw new InvalidArgumentError(`It must be a number of seconds from ${min} to ${max}.`);
    return seconds * 1_000;
  };
}

/** An amount from 0, in US dollars. */
export function dollars(text: string): number {
  const value = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || !Number.isFinite(value))
    throw new InvalidArgumentError('It must be an amount in US dollars, such as 2.50.');
  return value;
}

/** Exit codes from 1 to 255, separated by commas. */
export function exitCodes(text: string): number[] {
  const codes = text.split(',').map(Number);
  if (!/^\d+(,\d+)*$/.test(text) || codes.some((code) => code < 1 || code > 255))
    throw new InvalidArgumentError('It must be exit codes from 1 to 255, separated by commas.');
  return codes;
}

/** One of a few words, as an option's value. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found === undefined) throw new InvalidArgumentError(`It must be one of ${words.join(', ')}.`);
    return found;
  };
}

function wholeNumber(text: string, min: number, max = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new InvalidArgumentError(`It must be a whole number from ${min}${max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`}.`);
  return value;
}
