/**
 * A process that commits until it is killed, and prints what was acknowledged to it: `node commit.ts <path> <commits> <workers>`.
 * It compacts often. After the last commit it ends, with the store still open.
 */
import { openFileBackend } from '@loopstate/file';

const [path = '', commits = '', workers = ''] = process.argv.slice(2);
const backend = await openFileBackend(path, { compactAtBytes: 4_000 });
process.stdout.write(`open ${process.pid} ${JSON.stringify(backend.recovery.map(({ code }) => code))}\n`);
let next = 0;
await Promise.all(
  Array.from({ length: Number(workers) }, async () => {
    while (next < Number(commits)) {
      const key = `${process.pid}/${next++}`;
      const result = await backend.commit({ puts: [{ key, value: 'x'.repeat(50) }] });
      if (result.ok) process.stdout.write(`acked ${key} ${result.revision}\n`);
    }
  }),
);
