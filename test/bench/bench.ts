/**
 * The benchmark: `pnpm bench [--rounds N] [--scale S] [--write] [section …]`. It judges nothing but prints each budget beside its figure; a
 * machine that does much else gives other figures than a quiet one, hence all budgets but a few are ratios within one run.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { barChart } from './chart.js';
import { budgetLines, documentOf, machineText, tableLines } from './report.js';
import type { SectionResult } from './section.js';
import { runSection, SECTION_NAMES } from './sections.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    scale: { type: 'string', default: '1' },
    write: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
const names: readonly string[] = SECTION_NAMES;
const strange = positionals.find((name) => !names.includes(name));
if (strange !== undefined) throw new Error(`There is no section ${strange}; there are ${names.join(', ')}.`);
const results: SectionResult[] = [];
for (const name of positionals.length > 0 ? positionals : names) {
  const result = await runSection(name, { rounds, scale: Number(values.scale) });
  results.push(result);
  for (const table of result.tables) for (const line of tableLines(table)) console.log(line);
  for (const note of result.notes ?? []) console.log(`\n${note}`);
}
console.log(`\n${await machineText()}; medians of ${rounds} rounds in turns`);
for (const line of budgetLines(results.flatMap(({ budgets }) => budgets))) console.log(line);
if (values.write) {
  mkdirSync('docs/benchmarks', { recursive: true });
  for (const { tables } of results) for (const table of tables) writeFileSync(join('docs', chartName(table.title)), barChart(table));
  writeFileSync('docs/benchmarks.md', documentOf(results, { machine: await machineText(), rounds, chartName }));
}

function chartName(title: string): string {
  return `benchmarks/${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}.svg`;
}
