/** What `child_process` itself takes: runs the command "true" so many times, two at a time, and does nothing else. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

let left = Number(process.argv[2]);

async function worker() {
  while (left-- > 0) await once(spawn('true', [], { stdio: ['ignore', 'pipe', 'pipe'] }), 'close');
}

await Promise.all([worker(), worker()]);
