import { type Check, type Commit, type Durability, type Json, LIMITS } from './backend.js';
import { LoopStateError } from './errors.js';

/** A UTF-16 unit is at most so many bytes of UTF-8. */
const UTF8_BYTES_PER_UNIT = 3;

/** What of a value is small beside a bound of 1 MiB, whatever escapes its encoding takes. */
const SMALL_UNITS = 4_096;

/** How deep values are looked into quickly. */
const PLAIN_DEPTH = 8;

/** A put whose value was found exact, with the JSON text that stores it. */
export interface EncodedPut {
  readonly key: string;
  /** The value as JSON, without any line break. */
  readonly text: string;
}

/** A commit that obeys *commit/shape* and *value/exact*; nothing in it is shared with the caller's objects. */
export interface CheckedCommit {
  readonly checks: readonly Check[];
  readonly puts: readonly EncodedPut[];
  readonly deletes: readonly string[];
  readonly durability: Durability;
}

/**
 * Judges a commit before anything happens and encodes its values, the same way for every backend.
 *
 * Errors: `LOOPSTATE_BAD_COMMIT`, `LOOPSTATE_BAD_KEY`, `LOOPSTATE_VALUE_REFUSED`.
 */
export function checkCommit(commit: Commit): CheckedCommit {
  const checks = (commit.checks ?? []).map(({ key, revision }) => ({ key: checkKey(key), revision: checkRevision(key, revision) }));
  const puts = (commit.puts ?? []).map(({ key, value }) => ({ key: checkKey(key), text: encodeValue(value, key) }));
  const deletes = (commit.deletes ?? []).map(checkKey);
  const durability = commit.durability ?? 'synced';
  if (durability !== 'synced' && durability !== 'written') {
    throw refusedCommit(`durability must be "synced" or "written", not ${String(durability)}`);
  }
  const checked: CheckedCommit = { checks, puts, deletes, durability };
  if (puts.length + deletes.length === 0) throw refusedCommit('it writes nothing');
  // The usual commit, of one write and well below the bounds, needs no counting.
  if (puts.length + deletes.length > 1 || checks.length >= LIMITS.commitKeys || !isSmall(checked)) assertShape(checked);
  return checked;
}

function isSmall({ checks, puts, deletes }: CheckedCommit): boolean {
  let units = 0;
  for (const { key, text } of puts) units += key.length + text.length;
  for (const { key } of checks) units += key.length;
  for (const key of deletes) units += key.length;
  return units * UTF8_BYTES_PER_UNIT <= LIMITS.commitBytes;
}

function assertShape({ checks, puts, deletes }: CheckedCommit): void {
  const written = new Set<string>();
  for (const key of [...puts.map((put) => put.key), ...deletes]) {
    if (written.has(key)) throw refusedCommit(`it writes the key ${JSON.stringify(key)} twice`);
    written.add(key);
  }
  const named = new Set([...written, ...checks.map((check) => check.key)]);
  if (named.size > LIMITS.commitKeys || checks.length > LIMITS.commitKeys) {
    throw refusedCommit(`it names ${Math.max(named.size, checks.length)} keys, and ${LIMITS.commitKeys} are allowed`);
  }
  let bytes = 0;
  for (const put of puts) bytes += Buffer.byteLength(put.text);
  for (const key of named) bytes += Buffer.byteLength(key);
  if (bytes > LIMITS.commitBytes) throw refusedCommit(`it holds ${bytes} bytes, and ${LIMITS.commitBytes} are allowed`);
}

/** Returns `key` if it may name a record. Errors: `LOOPSTATE_BAD_KEY`. */
export function checkKey(key: unknown): string {
  if (typeof key !== 'string') throw refusedKey(`A key must be a string, not ${typeof key}.`);
  if (key === '') throw refusedKey('A key must not be empty.');
  if (!key.isWellFormed()) throw refusedKey(`The key ${JSON.stringify(key)} holds half of a surrogate pair.`);
  // Short keys need no counting.
  if (key.length * UTF8_BYTES_PER_UNIT > LIMITS.keyBytes && Buffer.byteLength(key) > LIMITS.keyBytes) {
    throw refusedKey(`A key may have ${LIMITS.keyBytes} bytes of UTF-8, and this one has ${Buffer.byteLength(key)}.`);
  }
  return key;
}

/** Returns the JSON text of a value that will come back deep-equal. Errors: `LOOPSTATE_VALUE_REFUSED`. */
export function encodeValue(value: unknown, key: string): string {
  let text: string;
  try {
    const reason = isPlainlyExact(value, 0, roomForOne()) ? undefined : whyInexact(value, '', [], roomForOne());
    if (reason !== undefined) throw refusedValue(key, reason);
    text = JSON.stringify(value);
  } catch (error) {
    if (error instanceof LoopStateError) throw error;
    // Deep nesting overflows the stack, here or in JSON.stringify.
    if (error instanceof RangeError) throw refusedValue(key, 'it is nested too deeply');
    throw refusedValue(key, 'it cannot be read: a getter or a proxy in it threw an error', error);
  }
  if (text.length * UTF8_BYTES_PER_UNIT > LIMITS.valueBytes && Buffer.byteLength(text) > LIMITS.valueBytes) {
    throw refusedValue(key, `as JSON it has ${Buffer.byteLength(text)} bytes, and ${LIMITS.valueBytes} are allowed`);
  }
  return text;
}

/** Whether a value is certainly exact, and so small that it need not be encoded to know that it has room; false says nothing. */
export function isPlainAndSmall(value: unknown): boolean {
  return isPlainlyExact(value, 0, { units: SMALL_UNITS });
}

/** The value that `encodeValue` wrote, as a fresh copy. */
export function decodeValue(text: string): Json {
  return JSON.parse(text) as Json;
}

/**
 * What a value may still hold until it is certainly too large: one for each member, and the length of each text. Objects that share what
 * they hold can be small and have more members than could ever be counted.
 */
interface Room {
  units: number;
}

function roomForOne(): Room {
  return { units: LIMITS.valueBytes };
}

/** A quick yes for what almost every value is; a no says nothing yet. */
function isPlainlyExact(value: unknown, depth: number, room: Room): boolean {
  room.units -= typeof value === 'string' ? value.length : 1;
  if (room.units < 0) return false;
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== 'object') return typeof value === 'boolean';
  if (value === null) return true;
  // What contains itself ends here.
  if (depth === PLAIN_DEPTH || Object.getPrototypeOf(value) !== Object.prototype || 'toJSON' in value) return false;
  if (Object.getOwnPropertySymbols(value).length > 0) return false;
  for (const name in value) {
    if (!name.isWellFormed() || !isPlainlyExact((value as Record<string, unknown>)[name], depth + 1, room)) return false;
  }
  return true;
}

/** Says why a value would not survive a round trip, or `undefined` if it would. `path` names the place within it. */
function whyInexact(value: unknown, path: string, ancestors: object[], room: Room): string | undefined {
  room.units -= typeof value === 'string' ? value.length : 1;
  if (room.units < 0) return `as JSON it has more than ${LIMITS.valueBytes} bytes`;
  const at = path === '' ? 'it' : path;
  switch (typeof value) {
    case 'boolean':
      return undefined;
    case 'string':
      return value.isWellFormed() ? undefined : `${at} holds half of a surrogate pair`;
    case 'number':
      if (!Number.isFinite(value)) return `${at} is ${value}`;
      return Object.is(value, -0) ? `${at} is -0` : undefined;
    case 'object':
      if (value === null) return undefined;
      if (ancestors.includes(value)) return `${at} contains itself`;
      return Array.isArray(value) ? whyArrayInexact(value, path, ancestors, room) : whyObjectInexact(value, path, ancestors, room);
    default:
      return `${at} is ${value === undefined ? 'undefined' : `a ${typeof value}`}`;
  }
}

function whyArrayInexact(array: readonly unknown[], path: string, ancestors: object[], room: Room): string | undefined {
  // Those of every realm are arrays themselves, and that of a class is none.
  if (!Array.isArray(Object.getPrototypeOf(array))) return `${path || 'it'} is an array of a class of its own`;
  if ('toJSON' in array) return `${path || 'it'} has a toJSON`;
  ancestors.push(array);
  // Index by index: holes of a sparse array must be seen as undefined.
  for (let index = 0; index < array.length; index++) {
    const reason = whyInexact(array[index], `${path}[${index}]`, ancestors, room);
    if (reason !== undefined) return reason;
  }
  ancestors.pop();
  const hasNames = Object.keys(array).length !== array.length || Object.getOwnPropertySymbols(array).length > 0;
  return hasNames ? `${path || 'it'} is an array with named properties` : undefined;
}

function whyObjectInexact(object: object, path: string, ancestors: object[], room: Room): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype !== Object.prototype && prototype !== null) {
    // Objects of another realm (vm, worker) have another Object.prototype, whose own prototype is null all the same.
    const isPlain = typeof prototype === 'object' && Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf');
    if (!isPlain) return `${path || 'it'} is a ${object.constructor?.name ?? 'class instance'}, not a plain object`;
  }
  if (typeof (object as { toJSON?: unknown }).toJSON === 'function') return `${path || 'it'} has a toJSON`;
  if (Object.getOwnPropertySymbols(object).length > 0) return `${path || 'it'} has a symbol as a key`;
  ancestors.push(object);
  for (const [name, member] of Object.entries(object)) {
    if (!name.isWellFormed()) return `a key of ${path || 'it'} holds half of a surrogate pair`;
    const reason = whyInexact(member, path === '' ? name : `${path}.${name}`, ancestors, room);
    if (reason !== undefined) return reason;
  }
  ancestors.pop();
  return undefined;
}

function checkRevision(key: unknown, revision: unknown): number {
  if (typeof revision === 'number' && Number.isSafeInteger(revision) && revision >= 0) return revision;
  throw refusedCommit(`the check of ${JSON.stringify(key)} demands revision ${String(revision)}, which is no whole number from 0`);
}

function refusedCommit(reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_COMMIT', `The commit was refused: ${reason}. Nothing was written.`);
}

function refusedKey(reason: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_KEY', `${reason} Nothing was written.`);
}

function refusedValue(key: string, reason: string, cause?: unknown): LoopStateError {
  const message = `The value of ${JSON.stringify(key)} was refused: ${reason}. Nothing was written.`;
  return new LoopStateError('LOOPSTATE_VALUE_REFUSED', message, { cause });
}
