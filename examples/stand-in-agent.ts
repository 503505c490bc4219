/**
 * Stands in for an agent that costs money: it answers one prompt, says what that cost, and refuses every fourth call. agent-loop.ts
 * starts it; the file, one byte for each call, is how its processes know of each other.
 *
 *     stand-in-agent.ts <calls file> <prompt>
 */
import { appendFileSync, statSync } from 'node:fs';

const [callsPath = '', prompt = ''] = process.argv.slice(2);

appendFileSync(callsPath, '.');
const isRefused = statSync(callsPath).size % 4 === 0;
// Like some real ones it counts a refused call too, if only a little.
const reply = isRefused
  ? { error: 'rate limited, retry after 100 ms', cost: { usd: 0.001 } }
  : { answer: `${prompt.length} letters, ${prompt.split(' ').length} words`, cost: { usd: 0.01 } };
console.log(JSON.stringify(reply));
