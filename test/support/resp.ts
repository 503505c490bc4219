/** A word with a Redis server, over a connection of its own: enough to set servers up and to look at them from outside. */
import { once } from 'node:events';
import { connect } from 'node:net';

/** What a server can reply. An error reply rejects. */
export type Reply = string | number | null | Reply[];

/** Sends one command and resolves with its reply. Rejects also when the server can't be reached, or is silent for 5 s. */
export async function askRedis(port: number, ...args: readonly (string | number)[]): Promise<Reply> {
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(5_000, () => socket.destroy(new Error(`The server on port ${port} is silent.`)));
  try {
    await once(socket, 'connect');
    socket.write(`*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(`${arg}`)}\r\n${arg}\r\n`).join('')}`);
    let bytes = Buffer.alloc(0);
    for await (const chunk of socket) {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      const parsed = parse(bytes, 0);
      if (parsed === undefined) continue;
      if (parsed.reply instanceof Error) throw parsed.reply;
      return parsed.reply;
    }
    throw new Error(`The server on port ${port} closed the connection.`);
  } finally {
    socket.destroy();
  }
}

/** One line of `INFO`. */
export async function infoOf(port: number, name: string): Promise<string | undefined> {
  const info = String(await askRedis(port, 'INFO'));
  return new RegExp(`^${name}:(?<value>[^\\r\\n]*)`, 'm').exec(info)?.groups?.value;
}

/** The reply that begins at `at`, and where it ends; nothing while it is incomplete. */
function parse(bytes: Buffer, at: number): { reply: Reply | Error; end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', at);
  if (lineEnd === -1) return undefined;
  const line = bytes.toString('utf8', at + 1, lineEnd);
  const start = lineEnd + 2;
  const length = Number(line);
  switch (String.fromCharCode(bytes[at] ?? 0)) {
    case '+':
      return { reply: line, end: start };
    case '-':
      return { reply: new Error(line), end: start };
    case ':':
      return { reply: length, end: start };
    case '$':
      if (length === -1) return { reply: null, end: start };
      return bytes.length < start + length + 2
        ? undefined
        : { reply: bytes.toString('utf8', start, start + length), end: start + length + 2 };
    default:
      return parseList(bytes, start, length);
  }
}

function parseList(bytes: Buffer, start: number, length: number): { reply: Reply[]; end: number } | undefined {
  const items: Reply[] = [];
  let end = start;
  for (let count = 0; count < length; count++) {
    const item = parse(bytes, end);
    if (item === undefined) return undefined;
    items.push(item.reply instanceof Error ? item.reply.message : item.reply);
    end = item.end;
  }
  return { reply: items, end };
}
