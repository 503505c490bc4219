/**
 * `docs/seeded-defects.md`: what was tried and what caught it. Written by the test of the defects when it is told to, and held against
 * the lists of defects at every run.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WORKSPACE } from '../support/compiled.js';
import type { Defect } from './defect.js';

const PATH = join(WORKSPACE, 'docs/seeded-defects.md');

/** Set to anything, it has the document written. */
export const WRITE_VARIABLE = 'LOOPSTATE_WRITE_DOCS';

const INTRODUCTION = `# Seeded defects

A test that has never been seen red proves nothing. So each of the mistakes below was made on purpose: one piece of one source file of the
product is replaced, the tests run on what comes of it, and one of them must turn red by an assertion that does not hold. A crash of the
tests, a test that runs out of time, or a file that no longer loads does not count. The same tests are green on the product as it is.

All are tried in every run of the tests, by \`test/defects.test.ts\`; the defects are listed in \`test/defects/\`. Where a defect was not caught
at first, the test that catches it now was written for it. This document is written anew by

    ${WRITE_VARIABLE}=1 npx mocha test/defects.test.ts
`;

/** The defects of one part of the product, with the title of the test that caught each. */
export interface DocumentedGroup {
  readonly title: string;
  readonly defects: readonly Defect[];
  readonly caughtBy: (defect: Defect) => string;
}

const HEAD = ['one that …', 'breaks', 'in', 'is caught by'] as const;

/** Writes the document. */
export function writeDocument(groups: readonly DocumentedGroup[]): void {
  const sections = groups.map(({ title, defects, caughtBy }) => {
    const rows = defects.map((defect) => [...rowOf(defect), cell(caughtBy(defect))]);
    return `\n## ${title}\n\n${table([HEAD, ...rows])}`;
  });
  mkdirSync(dirname(PATH), { recursive: true });
  writeFileSync(PATH, INTRODUCTION + sections.join(''));
}

/** What the document says of each defect, but for the test that caught it: that may have got another title. */
export function documentedRows(): string[][] {
  const rows = readFileSync(PATH, 'utf8').split('\n').map(cellsOf);
  return rows
    .filter((cells) => cells.length === HEAD.length && cells[0] !== HEAD[0] && !/^-+$/.test(cells[0] ?? ''))
    .map((cells) => cells.slice(0, -1));
}

/** What the document must say of a defect. */
export function rowOf({ name, breaks, file }: Defect): string[] {
  return [cell(name), `_${breaks}_`, `\`${file}\``];
}

/** In columns, as the formatter wants it. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const [head = '', ...rest] = rows.map((row) => `| ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join(' | ')} |\n`);
  return `${head}| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |\n${rest.join('')}`;
}

function cellsOf(line: string): string[] {
  return line
    .split(/(?<!\\)\|/)
    .slice(1, -1)
    .map((text) => text.trim());
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
