import { LoopStateError } from './errors.js';

/** The most characters of a digest. */
export const DIGEST_LENGTH_MAX = 1_024;

/** A number an option may be. */
interface Range {
  readonly min: number;
  readonly max: number;
  readonly isWhole?: boolean;
}

/** Returns the option `name` if it is a number in `range`, or `fallback` if it is undefined. Errors: `LOOPSTATE_BAD_OPTION`. */
export function numberOption(name: string, value: unknown, fallback: number, { min, max, isWhole = false }: Range): number {
  if (value === undefined) return fallback;
  if (
    typeof value === 'number' &&
    value >= min &&
    value <= max &&
    (!isWhole || Number.isInteger(value) || value === Number.POSITIVE_INFINITY)
  )
    return value;
  const kind = isWhole ? 'a whole number' : 'a number';
  throw badOption(`${name} must be ${kind} from ${min} to ${max}, not ${typeof value === 'number' ? value : typeof value}.`);
}

/** Refuses options whose names are not known: a misspelt option would silently do nothing. Errors: `LOOPSTATE_BAD_OPTION`. */
export function refuseUnknownOptions(options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw badOption(`There is no option ${JSON.stringify(name)}; there are ${known.join(', ')}.`);
  }
}

/** An error for an option that can't be used. */
export function badOption(reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${reason} Nothing was written.`);
}

/** Returns a digest that can be stored with an item. Errors: `LOOPSTATE_BAD_OPTION`. */
export function checkDigest(digest: unknown): string {
  if (typeof digest === 'string' && digest.length > 0 && digest.length <= DIGEST_LENGTH_MAX && digest.isWellFormed()) return digest;
  throw badOption(`A digest must be a well-formed string of 1 to ${DIGEST_LENGTH_MAX} characters.`);
}

/** The options of a `LoopState`, judged before anything is opened. Errors: `LOOPSTATE_BAD_OPTION`. */
export function checkLoopStateOptions(options: { readonly leaseMs?: number | undefined }): { readonly leaseMs: number } {
  refuseUnknownOptions(options, ['leaseMs', 'onEvent', 'closeBackend', 'environment']);
  return { leaseMs: numberOption('leaseMs', options.leaseMs, 30_000, { min: 1_000, max: 86_400_000 }) };
}
