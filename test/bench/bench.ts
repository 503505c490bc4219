/**
 * The benchmark: `pnpm bench [section …]`. It judges nothing but prints each budget beside its figure; a machine that does much else
 * gives other figures than a quiet one, hence all budgets are ratios within one run.
 */
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fileSection } from './file-section.js';
import { redisSection } from './redis-section.js';
import { budgetLines, tableLines } from './report.js';
import type { Section, SectionResult } from './section.js';
import { sqliteSection } from './sqlite-section.js';

const SECTIONS: Readonly<Record<string, Section>> = { file: fileSection, sqlite: sqliteSection, redis: redisSection };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' }, scale: { type: 'string', default: '1' } },
});
const wanted = positionals.length > 0 ? positionals : Object.keys(SECTIONS);
const results: SectionResult[] = [];
for (const name of wanted) {
  const section = SECTIONS[name];
  if (section === undefined) throw new Error(`There is no section ${name}; there are ${Object.keys(SECTIONS).join(', ')}.`);
  const folder = await mkdtemp(join(process.cwd(), 'node_modules', '.loopstate-bench-'));
  try {
    console.log(`${await machine(folder)}; medians of ${values.rounds} rounds in turns`);
    const result = await section({ folder, rounds: Number(values.rounds), scale: Number(values.scale) });
    results.push(result);
    for (const table of result.tables) for (const line of tableLines(table)) console.log(line);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
for (const line of budgetLines(results.flatMap(({ budgets }) => budgets))) console.log(line);

async function machine(folder: string): Promise<string> {
  const { type } = await statfs(folder);
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? 'an unknown processor'}, ${memory}, file system type 0x${type.toString(16)}`;
}
