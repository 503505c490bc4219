import type { RecoveryFinding, StateBackend } from './backend.js';
import { LoopStateError } from './errors.js';
import type { LoopStateEvent, LoopStateOptions } from './loop-state.js';

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

/** Returns the option `name` if it is a function, or a boolean, as `fallback` is, or `fallback` if it is undefined. Errors: `LOOPSTATE_BAD_OPTION`. */
export function optionLike<T extends boolean | ((...args: never[]) => unknown)>(name: string, value: T | undefined, fallback: T): T {
  if (value === undefined) return fallback;
  if (typeof value === typeof fallback) return value;
  throw badOption(`${name} must be a ${typeof fallback}, not ${value === null ? 'null' : typeof value}.`);
}

/** Returns the option `name` if it is a signal or undefined. Errors: `LOOPSTATE_BAD_OPTION`. */
export function signalOption(name: string, value: AbortSignal | undefined): AbortSignal | undefined {
  // By its shape: programs bring signals of other realms.
  if (value === undefined || (typeof value?.addEventListener === 'function' && typeof value.aborted === 'boolean')) return value;
  throw badOption(`${name} must be an AbortSignal.`);
}

/** Refuses options whose names are not known: a misspelt option would silently do nothing. Errors: `LOOPSTATE_BAD_OPTION`. */
export function refuseUnknownOptions(options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw badOption(`Options are an object, with one or more of ${known.join(', ')}.`);
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw badOption(`There is no option ${JSON.stringify(name)}; there are ${known.join(', ')}.`);
  }
}

/** What any backend is opened with. */
export interface OpenOptions {
  /** `write` (the default) makes and repairs the store; `read` does neither, and its commits are refused. */
  readonly access?: 'write' | 'read';
  /** Called with each finding: those of opening, and those made while the store is open. */
  readonly onFinding?: (finding: RecoveryFinding) => void;
}

/** Judges the options of a backend, which are these and others of the names in `known`. Errors: `LOOPSTATE_BAD_OPTION`. */
export function checkOpenOptions(options: OpenOptions, known: readonly string[] = []): Required<OpenOptions> {
  refuseUnknownOptions(options, ['access', 'onFinding', ...known]);
  const { access = 'write', onFinding } = options;
  if (access !== 'write' && access !== 'read') throw badOption(`access must be "write" or "read", not ${JSON.stringify(access)}.`);
  return { access, onFinding: optionLike('onFinding', onFinding, () => undefined) };
}

/** Refuses what is no open backend, such as a URL. Errors: `LOOPSTATE_BAD_OPTION`. */
export function assertBackend(backend: unknown): asserts backend is StateBackend {
  if (typeof backend === 'object' && backend !== null && 'commit' in backend && typeof backend.commit === 'function') return;
  throw badOption('The store must be a backend that is open, such as await openFileBackend(…).');
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

/** What the options of a `LoopState` come to. */
export interface LoopStateSettings {
  readonly leaseMs: number;
  readonly onEvent: (event: LoopStateEvent) => void;
  readonly closeBackend: boolean;
}

/** The options of a `LoopState`, judged before anything is opened. Errors: `LOOPSTATE_BAD_OPTION`. */
export function checkLoopStateOptions(options: LoopStateOptions): LoopStateSettings {
  refuseUnknownOptions(options, ['leaseMs', 'onEvent', 'closeBackend', 'environment']);
  return {
    leaseMs: numberOption('leaseMs', options.leaseMs, 30_000, { min: 1_000, max: 86_400_000 }),
    onEvent: optionLike('onEvent', options.onEvent, () => undefined),
    closeBackend: optionLike('closeBackend', options.closeBackend, false),
  };
}
