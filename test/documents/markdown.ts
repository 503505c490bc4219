/** What the generated documents are made of. */

/** Stands in a document that nobody edits by hand. */
export const GENERATED = '<!-- Written by `pnpm run docs` from the program itself; edits are overwritten. -->';

/** A table with columns of even width. `areNumbers`: all but the first column stand to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], { areNumbers = false } = {}): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => (row[column] ?? '').length)));
  const isRight = (column: number): boolean => areNumbers && column > 0;
  const pad = (cell: string, column: number): string => cell[isRight(column) ? 'padStart' : 'padEnd'](widths[column] ?? 0);
  const line = (row: readonly string[]): string => `| ${widths.map((_, column) => pad(row[column] ?? '', column)).join(' | ')} |`;
  const rule = widths.map((width, column) => (isRight(column) ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(cells[0] ?? []), line(rule), ...cells.slice(1).map(line)].join('\n');
}

/** A document with the text between its markers `<!-- recorded: name -->` and `<!-- end -->` replaced. Throws if they are missing. */
export function withRecorded(document: string, name: string, text: string): string {
  const begin = `<!-- recorded: ${name} -->`;
  const end = '<!-- end -->';
  const from = document.indexOf(begin);
  const to = document.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`The document has no place for ${name}.`);
  return `${document.slice(0, from + begin.length)}\n\n${text}\n\n${document.slice(to)}`;
}

/** Names the places of headings as they are named where Markdown is shown. */
export function anchors(): (heading: string) => string {
  const counts = new Map<string, number>();
  return (heading) => {
    const plain = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .trim()
      .replaceAll(' ', '-');
    const count = counts.get(plain) ?? 0;
    counts.set(plain, count + 1);
    return count === 0 ? plain : `${plain}-${count}`;
  };
}
