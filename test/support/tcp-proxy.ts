/**
 * Stands between a client and a server on this machine and does what networks do: loses, delays and cuts.
 *
 * **Invariants:**
 * - What one side sends reaches the other in order, or not at all.
 * - Requests that are held outlive the client that sent them: they can still be delivered when it is gone.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** See the file's comment. All that it does concerns every connection through it. */
export interface TcpProxy {
  readonly port: number;
  /** What clients send stays here from now on; resolves when something has come. */
  holdRequests(): Promise<void>;
  /** Delivers what was held, also for clients that are gone, and passes on again. */
  releaseRequests(): void;
  /** What the server replies is dropped from now on; resolves when something has been dropped. */
  loseReplies(): Promise<void>;
  /** The next piece that a client sends is not passed on, but answered with `reply`. */
  answerNext(reply: string): void;
  /** Closes all connections of clients. New ones are accepted, and behave as nothing had been said. */
  cut(): void;
  close(): Promise<void>;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  held: Buffer[];
}

/** Starts a proxy on a free port. */
export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  let isHolding = false;
  let isLosing = false;
  let answer: string | undefined;
  let noticed = (): void => {};
  const listener = createServer((client) => {
    const pair: Pair = { client, server: connect(targetPort, '127.0.0.1'), held: [] };
    pairs.add(pair);
    for (const socket of [client, pair.server]) socket.on('error', () => {});
    client.on('data', (bytes: Buffer) => {
      if (answer !== undefined) {
        client.write(answer);
        answer = undefined;
      } else if (isHolding) {
        pair.held.push(bytes);
        noticed();
      } else pair.server.write(bytes);
    });
    pair.server.on('data', (bytes: Buffer) => {
      if (isLosing) noticed();
      else if (!client.destroyed) client.write(bytes);
    });
    pair.server.on('close', () => {
      client.destroy();
      pairs.delete(pair);
    });
    client.on('close', () => {
      if (pair.held.length === 0) pair.server.destroy();
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const notice = (): Promise<void> =>
    new Promise((resolve) => {
      noticed = resolve;
    });
  return {
    port: (listener.address() as { port: number }).port,
    holdRequests() {
      isHolding = true;
      return notice();
    },
    releaseRequests() {
      isHolding = false;
      for (const pair of pairs) {
        for (const bytes of pair.held) pair.server.write(bytes);
        pair.held = [];
        // Half-closed: the server reads all that was sent before it closes.
        if (pair.client.destroyed) pair.server.end();
      }
    },
    loseReplies() {
      isLosing = true;
      return notice();
    },
    answerNext(reply) {
      answer = reply;
    },
    cut() {
      [isHolding, isLosing, answer] = [false, false, undefined];
      for (const { client } of pairs) client.destroy();
    },
    async close() {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
      listener.close();
    },
  };
}
