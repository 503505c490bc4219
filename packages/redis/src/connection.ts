/**
 * One connection to the server that holds a job, owned by `KeyvRedis`. The driver neither queues nor repeats nor reconnects here:
 * a connection that is lost stays lost, and what comes after it is a new one.
 */
import { setMaxListeners } from 'node:events';
import KeyvRedis, { createClient, createCluster } from '@keyv/redis';
import { isError } from '@loopstate/core';
import { withDeadline } from './deadline.js';
import { plainCause } from './trouble.js';

/** Redirections are definite refusals, so following them repeats nothing; a few are enough while slots move. */
const REDIRECTIONS_MAX = 5;

/** Where a server listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** How a connection is made. */
export interface ConnectionSettings {
  readonly username?: string;
  readonly password?: string;
  readonly tls: boolean;
  /** The number of the database. */
  readonly database: number;
}

/** See the file's comment. */
export interface Connection {
  readonly isUsable: boolean;
  /** The run id of the server process behind it; empty when that may change without notice. */
  readonly server: string;
  /** Commands given in one turn are sent in one piece, in their order. Errors: those of the driver; `explain` may know more. */
  send(args: readonly string[]): Promise<unknown>;
  /** The error that says most about why a command failed. */
  explain(error: unknown): unknown;
  /** What is still unsent is never sent. The connection ends, unless it belongs to the caller. */
  drop(): void;
}

/** A client of the driver, made by the caller, or the `KeyvRedis` that holds one. */
export type GivenClient = KeyvRedis<unknown> | ConstructorParameters<typeof KeyvRedis>[0];

/** What is used of the driver's clients; their own types differ by module, script and version. */
interface DriverClient {
  readonly isOpen: boolean;
  readonly isReady?: boolean;
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  once(event: string, listener: () => void): unknown;
  destroy(): unknown;
  sendCommand(...args: unknown[]): Promise<unknown>;
}

let template: ReturnType<typeof createClient> | undefined;

/** Connects to one server. Errors: those of the driver. */
export async function connectServer(address: Address, settings: ConnectionSettings, timeoutMs: number): Promise<Connection> {
  // The driver makes a class of all its commands for each set of options that differs from the last, which takes 30 ms; a duplicate has the
  // class of its original.
  template ??= createClient();
  const client = template.duplicate({
    ...credentials(settings),
    database: settings.database,
    disableOfflineQueue: true,
    socket: { ...address, ...tlsOf(settings), connectTimeout: timeoutMs, reconnectStrategy: false },
  });
  const connection = new OwnConnection(client as unknown as DriverClient, (args, options) => client.sendCommand([...args], options));
  // A call in flight keeps the process alive by its deadline; a connection that waits for calls does not.
  client.unref();
  await connection.open(new KeyvRedis(client), timeoutMs);
  return await connection.greet(timeoutMs);
}

/** Connects to the node of a cluster that holds `firstKey`; the nodes are asked in turn which one that is. Errors: those of the driver. */
export async function connectCluster(
  nodes: readonly Address[],
  settings: ConnectionSettings,
  { firstKey, timeoutMs }: { firstKey: string; timeoutMs: number },
): Promise<Connection> {
  const endMs = performance.now() + timeoutMs;
  // One that is away must not use up the time of the others.
  const eachMs = Math.ceil(timeoutMs / nodes.length);
  let cause: unknown;
  for (const node of nodes) {
    // Whole, so that the options are those of the last connection: see `connectServer`.
    const leftMs = Math.max(1, Math.ceil(endMs - performance.now()));
    try {
      return await connectThrough(node, settings, { firstKey, timeoutMs: leftMs, answerMs: Math.min(eachMs, leftMs) });
    } catch (error) {
      cause = error;
    }
  }
  throw cause;
}

async function connectThrough(
  node: Address,
  settings: ConnectionSettings,
  { firstKey, timeoutMs, answerMs }: { firstKey: string; timeoutMs: number; answerMs: number },
): Promise<Connection> {
  const cluster = createCluster({
    // The driver waits for this answer without end, on a connection that nobody else can close.
    rootNodes: [{ socket: { ...node, ...tlsOf(settings), connectTimeout: answerMs, socketTimeout: answerMs } }],
    defaults: {
      ...credentials(settings),
      disableOfflineQueue: true,
      socket: { ...tlsOf(settings), connectTimeout: timeoutMs, reconnectStrategy: false },
    },
    minimizeConnections: true,
    maxCommandRedirections: REDIRECTIONS_MAX,
  });
  const connection = new OwnConnection(cluster as unknown as DriverClient, (args, options) =>
    cluster.sendCommand(firstKey, false, [...args], { ...options }),
  );
  await connection.open(new KeyvRedis(cluster), timeoutMs);
  await connection.greet(timeoutMs);
  // A redirection leads to another node without a new connection of ours.
  connection.server = '';
  return connection;
}

/** Uses a client that the caller made, of whichever kind, and never ends it; one that is made from options is our own. Errors: those of the driver. */
export async function adoptClient(
  given: GivenClient,
  { firstKey, timeoutMs }: { firstKey: string; timeoutMs: number },
): Promise<Connection> {
  const keyv = keyvOf(given);
  const made = isClient(given) ? undefined : (keyv.client as unknown as DriverClient);
  try {
    const client = (await withDeadline(keyv.getClient(), timeoutMs)) as unknown as DriverClient;
    const connection = new GivenConnection(senderOf(client, firstKey), made);
    await withDeadline(connection.send(['PING']), timeoutMs);
    return connection;
  } catch (error) {
    if (made !== undefined) destroyClient(made);
    throw error;
  }
}

const NO_OPTIONS = {};

/** Texts are strings and maps are lists, whatever the client's own options and version of the protocol make of them. */
const REPLY_TYPES = { ['%'.charCodeAt(0)]: Array };

interface SendOptions {
  readonly abortSignal?: AbortSignal;
  readonly typeMapping?: typeof REPLY_TYPES;
}

type Sender = (args: readonly string[], options: SendOptions) => Promise<unknown>;

/** A connection over a client that others use too, unless it was made here, and that reconnects by a strategy of its own. */
class GivenConnection implements Connection {
  readonly server = '';
  readonly #send: Sender;
  /** The client, if nobody else has it. */
  readonly #made: DriverClient | undefined;
  #abort = abortForMany();
  #isDropped = false;

  constructor(send: Sender, made: DriverClient | undefined) {
    this.#send = send;
    this.#made = made;
  }

  get isUsable(): boolean {
    return !this.#isDropped;
  }

  send(args: readonly string[]): Promise<unknown> {
    return this.#send(args, { abortSignal: this.#abort.signal, typeMapping: REPLY_TYPES });
  }

  explain(error: unknown): unknown {
    return error;
  }

  drop(): void {
    this.#abort.abort();
    this.#abort = abortForMany();
    if (this.#made === undefined) return;
    this.#isDropped = true;
    destroyClient(this.#made);
  }
}

/** Every command listens to it until it is sent; Node would warn of a leak from eleven on. */
function abortForMany(): AbortController {
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  return abort;
}

/**
 * **Invariants:**
 * - `#failure` is set by the first trouble; from then on it is not usable, and the client is destroyed.
 * - The client is destroyed at most once, and not before its socket is connected: the driver would leave that socket open.
 */
class OwnConnection implements Connection {
  server = '';
  readonly #client: DriverClient;
  readonly #send: Sender;
  #hasConnected = false;
  #failure: Error | undefined;

  constructor(client: DriverClient, send: Sender) {
    this.#client = client;
    this.#send = send;
    client.once('connect', () => {
      this.#hasConnected = true;
    });
    for (const event of ['error', 'end', 'node-error', 'node-disconnect']) client.on(event, (error) => this.#lose(error));
  }

  get isUsable(): boolean {
    return this.#failure === undefined && this.#client.isOpen && this.#client.isReady !== false;
  }

  async open(keyv: KeyvRedis<unknown>, timeoutMs: number): Promise<void> {
    keyv.on('error', () => {});
    const timer = setTimeout(() => this.#lose(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs);
    timer.unref();
    try {
      await keyv.getClient();
    } catch (error) {
      // KeyvRedis replaces what went wrong with a sentence of its own.
      throw this.#failure ?? error;
    } finally {
      clearTimeout(timer);
    }
    this.#hasConnected = true;
    if (this.#failure !== undefined) {
      destroyClient(this.#client);
      throw this.#failure;
    }
  }

  /** Learns who answers, and that it serves: a server that loads its data refuses `PING`. */
  async greet(timeoutMs: number): Promise<this> {
    try {
      const [info] = await withDeadline(Promise.all([this.send(['INFO', 'server']), this.send(['PING'])]), timeoutMs);
      this.server = /^run_id:(?<id>[0-9a-f]+)/m.exec(String(info))?.groups?.id ?? '';
      return this;
    } catch (error) {
      this.drop();
      throw this.explain(error);
    }
  }

  send(args: readonly string[]): Promise<unknown> {
    return this.#send(args, NO_OPTIONS);
  }

  /**
   * The driver rejects what was in flight with the fact that it was ended; why is what helps. As a plain error: were it a refusal of
   * another command, it would say nothing about this one.
   */
  explain(error: unknown): unknown {
    const isEnded = isError(error) && error.constructor.name === 'DisconnectsClientError';
    return isEnded ? plainCause(this.#failure ?? error) : error;
  }

  drop(): void {
    this.#lose(new Error('the connection was given up'));
  }

  #lose(error: unknown): void {
    const isFirst = this.#failure === undefined;
    this.#failure ??= isError(error) ? error : new Error('the connection was closed');
    if (isFirst && this.#hasConnected) destroyClient(this.#client);
  }
}

function destroyClient(ending: DriverClient): void {
  const { masters = [] } = ending as { masters?: readonly { client?: DriverClient }[] };
  for (const client of [...masters.map((master) => master.client), ending]) {
    try {
      if (client?.isOpen === true) Promise.resolve(client.destroy()).catch(() => undefined);
    } catch {
      // A cluster's `destroy` throws at its first node that is closed already; each node was destroyed by itself before.
    }
  }
}

function senderOf(client: DriverClient, firstKey: string): Sender {
  if ('getSentinelNode' in client) return (args, options) => sendOnce(client as unknown as SentinelClient, args, options);
  if ('nodeByAddress' in client) return (args, options) => client.sendCommand(firstKey, false, [...args], options);
  return (args, options) => client.sendCommand([...args], options);
}

/** The driver's client of Sentinels runs what it is given again, by default, when the connection was lost meanwhile. */
interface SentinelClient {
  _execute<T>(isReadonly: boolean, run: (node: DriverClient) => Promise<T>): Promise<T>;
}

async function sendOnce(client: SentinelClient, args: readonly string[], options: SendOptions): Promise<unknown> {
  let first: Promise<unknown> | undefined;
  return await client._execute(false, (node) => {
    first ??= node.sendCommand([...args], options);
    return first;
  });
}

/** Of each client that was adopted, the one that holds it: every other would add listeners of its own, after each outage. */
const ADOPTED = new WeakMap<object, KeyvRedis<unknown>>();

function keyvOf(given: GivenClient): KeyvRedis<unknown> {
  const known = typeof given === 'object' ? ADOPTED.get(given) : undefined;
  if (known !== undefined) return known;
  const keyv = given instanceof KeyvRedis || isKeyvRedis(given) ? given : new KeyvRedis<unknown>(given);
  keyv.on('error', () => {});
  // Options make a client anew each time.
  if (isClient(given)) ADOPTED.set(given, keyv);
  return keyv;
}

/** Whether it is a client, or what holds one, rather than the options of one. */
function isClient(given: GivenClient): given is GivenClient & object {
  return typeof given === 'object' && (isKeyvRedis(given) || 'sendCommand' in given);
}

function isKeyvRedis(given: GivenClient): given is KeyvRedis<unknown> {
  return typeof given === 'object' && given !== null && 'getClient' in given && typeof given.getClient === 'function';
}

function credentials({ username, password }: ConnectionSettings): { username?: string; password?: string } {
  return { ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }) };
}

/** The driver's types know `tls` as one or the other only. */
function tlsOf({ tls }: ConnectionSettings): { tls: true } | { tls: false } {
  return tls ? { tls: true } : { tls: false };
}
