/**
 * A crawl of one site: pages lead to pages, so the loop's input grows as the loop goes. A page that is missing (404) has failed; a server
 * that is busy (503) or away is a glitch, and the page is asked for again later. Killed and started again, it goes on where it was: the
 * links of a page are recorded with it, so no page that was read is read again.
 *
 *     crawl.ts [url] [state.json]        (default: a small site of its own)
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Glitch, LoopState, runLoop } from 'loopstate';

const [site = await ownSite(), statePath = 'crawl.state.json'] = process.argv.slice(2);

const state = await LoopState.create(statePath);
const found = new Set<string>();
const queue: string[] = [];
let unsettled = 0;
let wake = (): void => undefined;

// What earlier runs found: the pages behind the pages that they read.
add(new URL(site).pathname);
for await (const [, { status, output }] of state.items()) if (status === 'completed') (output as string[]).forEach(add);

const { status, progress } = await runLoop({
  state,
  items: pages(),
  concurrency: 4,
  glitches: { minDelayMs: 100 },
  work: async (path, { signal }) => {
    const links = await linksOf(path, signal);
    links.forEach(add);
    return links;
  },
  onProgress: (event) => {
    if (event.type !== 'completed' && event.type !== 'failed' && event.type !== 'skipped') return;
    unsettled -= 1;
    wake();
  },
});
console.log(`${status}: ${progress.completed} pages read, ${progress.failed} failed`);
await state.close();
process.exit(status !== 'completed' ? 3 : progress.failed > 0 ? 1 : 0);

/** Pages as they are found; over when each of them has an outcome, because only then no more can be found. */
async function* pages(): AsyncGenerator<string> {
  while (unsettled > 0) {
    const path = queue.shift();
    if (path !== undefined) yield path;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}

function add(path: string): void {
  if (found.has(path) || !state.isOutstanding(path)) return;
  found.add(path);
  queue.push(path);
  unsettled += 1;
  wake();
}

/** The pages of this site that a page leads to. */
async function linksOf(path: string, signal: AbortSignal): Promise<string[]> {
  const response = await fetch(new URL(path, site), { signal }).catch((cause: Error) => {
    throw new Glitch('The server is away.', { cause });
  });
  const waitSeconds = Number(response.headers.get('retry-after') ?? 0);
  if (response.status === 503) throw new Glitch('The server is busy.', { retryAfterMs: waitSeconds * 1_000 });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  const links = [...(await response.text()).matchAll(/ href="([^"#]+)/g)].map(([, href = '']) => new URL(href, response.url));
  return links.filter(({ origin }) => origin === new URL(site).origin).map(({ pathname }) => pathname);
}

/** Forty pages, one of which is missing; every seventh request comes while it is busy. */
async function ownSite(): Promise<string> {
  let requests = 0;
  const server = createServer(({ url = '/' }, response) => {
    const page = Number(url.slice(1));
    requests += 1;
    response.statusCode = requests % 7 === 0 ? 503 : page === 13 ? 404 : 200;
    response.end([2 * page + 1, 2 * page + 2].map((next) => (next < 40 ? `<a href="/${next}">${next}</a>` : '')).join());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
