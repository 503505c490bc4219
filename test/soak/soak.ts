/**
 * `pnpm soak`: a loop is run for as long as you like while everything happens to it that can, and each of its promises is verified after every
 * round. See `README.md` of the tests for what it does; `--help` for its options.
 */
import { randomInt } from 'node:crypto';
import { argv } from 'node:process';
import { parseArgs } from 'node:util';
import { BACKENDS, type Backend } from './plan.js';
import { countsLine, runSoak } from './run-soak.js';

const HELP = `Usage: pnpm soak --minutes <n> --backend <${BACKENDS.join('|')}> [--seed <n>] [--keep <directory>]

Exits with 1 when a promise was broken, and leaves a directory with the store, the ledgers and logs of all workers, the schedule of faults and
a replay.txt. The same seed makes the same choices again.`;

process.exitCode = await main(argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '3' },
      backend: { type: 'string', default: 'file' },
      seed: { type: 'string' },
      keep: { type: 'string' },
      plant: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const minutes = Number(values.minutes);
  const seed = values.seed === undefined ? randomInt(1, 2 ** 31) : Number(values.seed);
  const backend = BACKENDS.find((name) => name === values.backend);
  if (values.help || backend === undefined || !(minutes > 0) || !Number.isSafeInteger(seed)) {
    console.log(HELP);
    return values.help ? 0 : 2;
  }
  return await soak({ backend, minutes, seed, keep: values.keep, isPlanted: values.plant });
}

async function soak(options: {
  backend: Backend;
  minutes: number;
  seed: number;
  keep: string | undefined;
  isPlanted: boolean;
}): Promise<number> {
  console.log(`Soaking ${options.backend} for ${options.minutes} min, seed ${options.seed}`);
  const { counts, violations, directory } = await runSoak({ ...options, print: (line) => console.log(line) });
  console.log(countsLine(counts));
  for (const violation of violations.slice(0, 20)) console.log(violation);
  if (directory !== undefined) console.log(`All of it is kept in ${directory}`);
  console.log(`${violations.length} violations; seed ${options.seed}`);
  return violations.length === 0 ? 0 : 1;
}
