/**
 * Asks Sentinels who the master is, as their client guidelines say: in turn, until one answers. The driver's own Sentinel client is
 * not used: it sends again what was lost, and waits for a master longer than a call may take.
 */
import { type Address, type Connection, type ConnectionSettings, connectServer } from './connection.js';
import { withDeadline } from './deadline.js';
import { unavailable } from './trouble.js';

/** The Sentinels of one master. */
export interface Sentinels {
  readonly nodes: readonly Address[];
  readonly masterName: string;
  /** How to connect to them: they have passwords of their own. */
  readonly settings: ConnectionSettings;
}

/** Where the master is, as far as the first Sentinel that answers knows. Errors: `LOOPSTATE_UNAVAILABLE`. */
export async function findMaster(sentinels: Sentinels, timeoutMs: number): Promise<Address> {
  // One that is away must not use up the time of the others.
  const eachMs = Math.ceil(timeoutMs / sentinels.nodes.length);
  let cause: unknown;
  for (const node of sentinels.nodes) {
    try {
      const found = await askSentinel(node, sentinels, eachMs);
      if (found !== undefined) return found;
      cause = new Error(`a Sentinel knows no master ${JSON.stringify(sentinels.masterName)}`);
    } catch (error) {
      cause = error;
    }
  }
  throw unavailable(`None of the Sentinels names the master ${JSON.stringify(sentinels.masterName)}.`, cause);
}

/** Connects to a server that must be a master: during a failover Sentinels may still name the old one. */
export async function connectMaster(sentinels: Sentinels, settings: ConnectionSettings, timeoutMs: number): Promise<Connection> {
  const endMs = performance.now() + timeoutMs;
  const address = await findMaster(sentinels, timeoutMs);
  const connection = await connectServer(address, settings, Math.max(1, endMs - performance.now()));
  try {
    const role = await withDeadline(connection.send(['ROLE']), timeoutMs);
    if (Array.isArray(role) && role[0] === 'master') return connection;
    throw unavailable('The server that the Sentinels name is no master, or not yet: try again in a moment.');
  } catch (error) {
    connection.drop();
    throw error;
  }
}

/** What one Sentinel answers; `undefined`: it knows no such master. Errors: those of the driver. */
export async function askSentinel(node: Address, { masterName, settings }: Sentinels, timeoutMs: number): Promise<Address | undefined> {
  const connection = await connectServer(node, settings, timeoutMs);
  try {
    const reply = await withDeadline(connection.send(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName]), timeoutMs);
    if (!Array.isArray(reply)) return undefined;
    const [host, port] = reply.map(String);
    return host === undefined || port === undefined ? undefined : { host, port: Number(port) };
  } finally {
    connection.drop();
  }
}
