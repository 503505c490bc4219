/** Tables and verdicts, as text and as a document. */
import { statfs } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { table } from '../documents/markdown.js';
import { type Standing, timesAsFast } from './contest.js';
import { type Budget, isMet, type SectionResult, type Table } from './section.js';

const COLUMNS = ['per second', 'p50 µs', 'p99 µs', 'worst µs', '× floor', '× best peer'] as const;

/** The machine that all this was measured on. */
export async function machineText(): Promise<string> {
  const { type } = await statfs(process.cwd());
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'an unknown processor'}, ${memory}, file system type 0x${type.toString(16)}`;
}

/** A table of contestants, one line each. */
export function tableLines(table: Table): string[] {
  const rows = rowsOf(table);
  const width = Math.max(...rows.map(([name]) => name.length));
  const line = ([name, ...cells]: readonly [string, ...string[]]): string =>
    name.padEnd(width) + cells.map((cell) => cell.padStart(12)).join('');
  return ['', `${table.title}. ${table.note}`, line(['', ...COLUMNS]), ...rows.map(line)];
}

/** Each budget with its figure and the verdict. */
export function budgetLines(budgets: readonly Budget[]): string[] {
  const width = Math.max(0, ...budgets.map(({ name }) => name.length));
  return ['', ...budgets.map((budget) => [budget.name.padEnd(width), ...verdictOf(budget).map((cell) => cell.padStart(10))].join('  '))];
}

/** All of it as Markdown, with a chart for each table. */
export function documentOf(
  results: readonly SectionResult[],
  { machine, rounds, chartName }: { readonly machine: string; readonly rounds: number; readonly chartName: (title: string) => string },
): string {
  const sections = results.map(({ title, tables, notes = [] }) =>
    [
      `## ${title}`,
      ...tables.flatMap((each) => [
        ...(each.title === title ? [] : [`### ${each.title}`]),
        each.note,
        table(['', ...COLUMNS], rowsOf(each), { areNumbers: true }),
        `![${each.title}: operations per second](${chartName(each.title)})`,
      ]),
      ...notes,
    ].join('\n\n'),
  );
  const budgets = results.flatMap((result) => result.budgets);
  return `${[
    '# Benchmarks',
    INTRODUCTION,
    `Measured on: ${machine}. Medians of ${rounds} rounds, in which all contestants took turns.`,
    '## Budgets',
    table(
      ['what', 'figure', 'budget', 'verdict'],
      budgets.map((budget) => [budget.name, ...verdictOf(budget)]),
      { areNumbers: true },
    ),
    ...sections,
  ].join('\n\n')}\n`;
}

const INTRODUCTION = `This document is written by the benchmark itself:

\`\`\`sh
npx -y pnpm@10.34.9 bench --write          # all of it: about a quarter of an hour
npx -y pnpm@10.34.9 bench sqlite redis     # some sections, printed only
\`\`\`

It starts its own Redis servers and installs what it compares with when it is first run. Figures of single runs move; quote the ratios.
\`× floor\` is how many times as fast a contestant was as the floor of its table, within the same rounds; \`× best peer\` likewise.`;

function rowsOf({ standings, floor, peers = [] }: Table): [string, ...string[]][] {
  const base = standings.find(({ name }) => name === floor);
  const best = standings.filter(({ name }) => peers.includes(name)).sort((a, b) => b.perSecond - a.perSecond)[0];
  const times = (standing: Standing, other: Standing | undefined): string =>
    other === undefined ? '' : timesAsFast(standing, other).toFixed(2);
  return standings.map((standing) => {
    const { name, perSecond, p50Us, p99Us, worstUs } = standing;
    const figures = [perSecond, p50Us, p99Us, worstUs].map((figure) => figure.toFixed(figure < 10 ? 2 : 0));
    return [name, ...figures, times(standing, base), times(standing, best)];
  });
}

function verdictOf(budget: Budget): [figure: string, bound: string, verdict: string] {
  const { figure, bound, side, unit = '' } = budget;
  return [`${figure.toFixed(2)}${unit}`, `${side === 'at most' ? '≤' : '≥'} ${bound}${unit}`, isMet(budget) ? 'met' : 'MISSED'];
}
