/**
 * A process that commits new records with so many workers for so long, and tells how many it made and how long the slowest took.
 *
 * Arguments: the URL, the number of workers, the time in ms. It begins when it is told to by a line on its standard input.
 */
import { once } from 'node:events';
import { openBackend } from 'loopstate';
import { inFlight } from '../contest.js';
import { newRecord } from '../workload.js';

const [url = '', workers = '1', durationMs = '1000'] = process.argv.slice(2);
const backend = await openBackend(url, { access: 'write' });
const commit = async (n: number): Promise<void> => {
  const result = await backend.commit(newRecord(`item/${process.pid}/${n}`));
  if (!result.ok) throw new Error('A commit of a new record was refused.');
};
await commit(-1);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
const endMs = performance.now() + Number(durationMs);
const turn = await inFlight(Number(workers), Number.POSITIVE_INFINITY, commit, () => performance.now() >= endMs);
process.stdout.write(
  `${JSON.stringify({ operations: turn.operations, elapsedMs: turn.elapsedMs, worstUs: turn.latenciesUs.reduce((worst, us) => Math.max(worst, us), 0) })}\n`,
);
process.stdin.destroy();
await backend.close();
