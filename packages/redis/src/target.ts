/**
 * From what a user wrote to what is opened: a URL or an object becomes a {@link Target}, or is refused.
 *
 * | URL | means |
 * |-----|-------|
 * | `redis://[user[:password]@]host[:port][/db]?job=<name>` | one server, by TCP |
 * | `rediss://…` | the same, by TLS |
 * | `redis+sentinel://[user[:password]@]host[:port],…/<master name>[/db]?job=<name>` | the master that Sentinels name; the user is the server's, not the Sentinels' |
 * | `redis+cluster://[user[:password]@]host[:port],…?job=<name>` | a cluster, of which a few nodes suffice |
 *
 * Further parameters: those of {@link RedisOptions} of the same name, and `tls=yes` for Sentinels and clusters.
 */
import { LoopStateError, refuseUnknownOptions } from '@loopstate/core';
import type { Address, ConnectionSettings, GivenClient } from './connection.js';

const DEFAULTS = { port: 6_379, sentinelPort: 26_379, connectTimeoutMs: 5_000, commandTimeoutMs: 5_000 } as const;
const JOB_BYTES = 200;
const TIMEOUT_MS_MAX = 600_000;
const URL_FORM =
  /^(?<scheme>rediss?|redis\+sentinel|redis\+cluster):\/\/(?:(?<user>[^@/?#]*)@)?(?<hosts>[^/?#]+)(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/i;
const HOST_FORM = /^(?:\[(?<v6>[0-9a-f:.]+)\]|(?<name>[^\s:[\]@]+))(?::(?<port>\d{1,5}))?$/i;

/** What a store in Redis is and what is demanded of it. */
export interface RedisOptions {
  /** One of `url`, `client` and `keyv`: where it is. */
  readonly url?: string;
  /** A client of `redis` or `@redis/client` 5 (plain, Sentinel or cluster), which is left open by `close`; or their options. */
  readonly client?: GivenClient;
  /** A `KeyvRedis`, of which the client is used. It is left open by `close`. */
  readonly keyv?: GivenClient;
  /** The name of the loop: stores of different jobs on one server have nothing in common. */
  readonly job?: string;
  /** How many replicas must have a synced commit before it is acknowledged. Default: 0. */
  readonly wait?: number;
  /** Refuse a server that keeps no append-only file. */
  readonly durable?: 'required';
  /** Go on with a server that may evict records. */
  readonly unsafe?: 'eviction';
  /** How long opening, or making a connection, may take. Default: 5,000. */
  readonly connectTimeoutMs?: number;
  /** How long a call may take. Default: 5,000. */
  readonly commandTimeoutMs?: number;
  /** How to log in to Sentinels that have a password. */
  readonly sentinel?: { readonly username?: string; readonly password?: string };
}

/** What is connected to. */
export type Endpoint =
  | { readonly kind: 'server'; readonly address: Address; readonly settings: ConnectionSettings }
  | {
      readonly kind: 'sentinel';
      readonly nodes: readonly Address[];
      readonly masterName: string;
      readonly settings: ConnectionSettings;
      readonly sentinelSettings: ConnectionSettings;
    }
  | { readonly kind: 'cluster'; readonly nodes: readonly Address[]; readonly settings: ConnectionSettings }
  | { readonly kind: 'client'; readonly client: GivenClient };

/** What {@link readTarget} makes of URLs and options. */
export interface Target {
  readonly endpoint: Endpoint;
  /** Names the store in messages: it holds no secret. */
  readonly where: string;
  readonly job: string;
  readonly wait: number;
  readonly isDurabilityRequired: boolean;
  readonly isEvictionAllowed: boolean;
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
}

/** Errors: `LOOPSTATE_BAD_OPTION`; no message holds a password, or a URL as it was given. */
export function readTarget(given: string | RedisOptions): Target {
  if (typeof given !== 'string') refuseUnknownOptions(given, OPTION_NAMES);
  const options: RedisOptions = typeof given === 'string' ? { url: given } : withoutUndefined(given);
  const places = (['url', 'client', 'keyv'] as const).filter((name) => options[name] !== undefined);
  if (places.length !== 1) throw badOption('A store in Redis needs exactly one of url, client and keyv.');
  if (options.url === undefined) {
    const client = options.client ?? options.keyv;
    return settle({ kind: 'client', client }, 'Redis (the given client)', options);
  }
  if (typeof options.url !== 'string') throw badOption('The url of a store in Redis must be a string.');
  const { endpoint, place, parameters } = readUrl(options.url, options);
  return settle(endpoint, place, { ...parameters, ...options });
}

const OPTION_NAMES = [
  ...(['url', 'client', 'keyv', 'job', 'wait', 'durable', 'unsafe'] as const),
  ...(['connectTimeoutMs', 'commandTimeoutMs', 'sentinel'] as const),
] satisfies (keyof RedisOptions)[];

/** What is undefined is not given: it must not take the place of a parameter of the URL. */
function withoutUndefined(options: RedisOptions): RedisOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function settle(endpoint: Endpoint, place: string, options: RedisOptions): Target {
  const { durable, unsafe } = options;
  if (durable !== undefined && durable !== 'required') throw badOption('durable can only be "required".');
  if (unsafe !== undefined && unsafe !== 'eviction') throw badOption('unsafe can only be "eviction".');
  const job = checkJob(options.job);
  return {
    endpoint,
    where: `${place}?job=${encodeURIComponent(job)}`,
    job,
    wait: checkNumber('wait', options.wait ?? 0, { least: 0, most: 100 }),
    isDurabilityRequired: durable === 'required',
    isEvictionAllowed: unsafe === 'eviction',
    connectTimeoutMs: checkNumber('connectTimeoutMs', options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs, {
      least: 1,
      most: TIMEOUT_MS_MAX,
    }),
    commandTimeoutMs: checkNumber('commandTimeoutMs', options.commandTimeoutMs ?? DEFAULTS.commandTimeoutMs, {
      least: 1,
      most: TIMEOUT_MS_MAX,
    }),
  };
}

function readUrl(url: string, options: RedisOptions): { endpoint: Endpoint; place: string; parameters: RedisOptions } {
  const { scheme = '', user, hosts = '', path = '', query = '' } = URL_FORM.exec(url)?.groups ?? {};
  const kind = scheme.toLowerCase();
  if (kind === '')
    throw badOption('A store in Redis is named like redis://host:6379/0?job=<name>, rediss:, redis+sentinel: or redis+cluster:.');
  // The rest of a user name or password with a / or ? in it would be taken for a path or parameters, and told of in messages.
  if (path.includes('@') || query.includes('@'))
    throw badOption('An @ stands after the hosts of the URL. In a user name or password write / as %2F and ? as %3F, elsewhere @ as %40.');
  const isMany = kind.includes('+');
  const { tls, parameters } = readParameters(query, { isMany });
  const nodes = hosts.split(',').map((host) => readHost(host, kind === 'redis+sentinel' ? DEFAULTS.sentinelPort : DEFAULTS.port));
  const [address] = nodes;
  if (address === undefined || (!isMany && nodes.length > 1)) throw badOption(`A ${kind}: URL names one server.`);
  const segments = path.split('/').slice(1).map(decode);
  const masterName = kind === 'redis+sentinel' ? segments.shift() : undefined;
  const database = checkDatabase(segments, { kind });
  const settings: ConnectionSettings = { ...readUser(user), tls: kind === 'rediss' || tls, database };
  const place = `${kind}://${nodes.map(showAddress).join(',')}${masterName === undefined ? '' : `/${encodeURIComponent(masterName)}`}${database === 0 ? '' : `/${database}`}`;
  if (kind === 'redis+cluster') return { endpoint: { kind: 'cluster', nodes, settings }, place, parameters };
  if (kind !== 'redis+sentinel') return { endpoint: { kind: 'server', address, settings }, place, parameters };
  if (masterName === undefined || masterName === '')
    throw badOption('A redis+sentinel: URL names the master after the hosts: …/mymaster?job=<name>.');
  const sentinelSettings: ConnectionSettings = { ...options.sentinel, tls, database: 0 };
  return { endpoint: { kind: 'sentinel', nodes, masterName, settings, sentinelSettings }, place, parameters };
}

function readParameters(query: string, { isMany }: { isMany: boolean }): { tls: boolean; parameters: RedisOptions } {
  const parameters: Record<string, string | number> = {};
  let tls = false;
  for (const [name, value] of new URLSearchParams(query)) {
    if (Object.hasOwn(parameters, name)) throw badOption(`The parameter ${JSON.stringify(name)} is given twice.`);
    if (name === 'tls' && isMany) {
      if (value !== 'yes' && value !== 'no') throw badOption('tls must be yes or no.');
      tls = value === 'yes';
    } else if (name === 'job' || name === 'durable' || name === 'unsafe') parameters[name] = value;
    else if (name === 'wait' || name === 'connectTimeoutMs' || name === 'commandTimeoutMs') parameters[name] = readNumber(name, value);
    // Only its name: a password that was misplaced could stand in the value.
    else throw badOption(`There is no parameter ${JSON.stringify(name)} of a redis: URL.`);
  }
  return { tls, parameters: parameters as RedisOptions };
}

function readHost(text: string, defaultPort: number): Address {
  const { v6, name, port } = HOST_FORM.exec(text)?.groups ?? {};
  const host = v6 ?? name;
  const number = port === undefined ? defaultPort : Number(port);
  if (host === undefined || number < 1 || number > 65_535) throw badOption('A host of the URL is not written as host:port.');
  return { host: decode(host), port: number };
}

function readUser(user: string | undefined): { username?: string; password?: string } {
  if (user === undefined || user === '') return {};
  const colon = user.indexOf(':');
  const username = decode(colon === -1 ? user : user.slice(0, colon));
  const password = colon === -1 ? undefined : decode(user.slice(colon + 1));
  return { ...(username === '' ? {} : { username }), ...(password === undefined ? {} : { password }) };
}

function checkDatabase(segments: readonly string[], { kind }: { kind: string }): number {
  const [text = '', ...others] = segments;
  if (others.length > 0 || !/^\d{0,5}$/.test(text))
    throw badOption(`The path of a ${kind}: URL ends with the number of the database, such as /0.`);
  const database = Number(text);
  if (kind === 'redis+cluster' && database !== 0) throw badOption('A cluster has one database only, 0.');
  return database;
}

function checkJob(job: unknown): string {
  if (typeof job !== 'string' || job === '') throw badOption('A store in Redis needs the name of its loop: …?job=<name>.');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[{}\u0000-\u001f\u007f]/.test(job) || !job.isWellFormed() || Buffer.byteLength(job) > JOB_BYTES) {
    throw badOption(`A job is named by up to ${JOB_BYTES} bytes, without braces and control characters.`);
  }
  return job;
}

function readNumber(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw badOption(`${name} must be a whole number.`);
  return Number(text);
}

function checkNumber(name: string, value: unknown, { least, most }: { least: number; most: number }): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw badOption(`${name} must be a whole number from ${least} to ${most}.`);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Without its cause: that would repeat the text, which may be a password.
    throw badOption('The URL holds a per cent sign that begins no escape: write it as %25.');
  }
}

/** `host:port`. */
export function showAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function badOption(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${message} Nothing was written.`);
}
