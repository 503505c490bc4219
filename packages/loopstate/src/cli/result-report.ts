/**
 * What a child says of its own result: a JSON object with `cost` (`{"usd": 0.01, …}`) and `output`, on file descriptor 3 or as the last line
 * of its standard output.
 */
import type { Cost, ItemResult, Json } from '@loopstate/core';

/** How much of a report is read. */
const REPORT_BYTES_MAX = 1_024 * 1_024;

/** A number that is -0, or begins like it. No store takes it, and no item should fail of a sign that says nothing. */
const MINUS_ZERO = /[\s:,[]-0/;

/** What was found in a report. */
export interface ChildReport {
  readonly cost?: Cost;
  readonly output?: Json;
}

/** What becomes of an item whose report is longer than that: neither what it cost nor its output is known, and nobody should believe it is. */
export const REPORT_TOO_LONG =
  'Its report has more than 1 MiB: put what is long into a file, and report the name of the file. What it cost is not counted.';

/** Gathers a report; of one that is too long nothing is kept. */
export class ReportText {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  get isTooLong(): boolean {
    return this.#bytes > REPORT_BYTES_MAX;
  }

  take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes <= REPORT_BYTES_MAX) this.#chunks.push(chunk);
    else this.#chunks.length = 0;
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}

/** Keeps the last line that says something, of whole lines. */
export class LastLine {
  #line: Buffer = Buffer.alloc(0);

  take(lines: Buffer): void {
    let end = lines.length;
    while (end > 0) {
      // A negative place would be counted from the end.
      const start = end < 2 ? 0 : lines.lastIndexOf(0x0a, end - 2) + 1;
      const line = lines.subarray(start, end);
      if (line.toString('latin1').trim() !== '') {
        this.#line = line.length <= REPORT_BYTES_MAX ? Buffer.from(line) : Buffer.alloc(0);
        return;
      }
      end = start;
    }
  }

  get text(): string {
    return this.#line.toString();
  }
}

/** The report that a text is; none, if it is no JSON object. */
export function reportOf(text: string): ChildReport {
  // Most children say nothing, and an error that is thrown for each would cost more than the rest of this.
  if (text === '') return {};
  let found: unknown;
  try {
    found = MINUS_ZERO.test(text) ? JSON.parse(text, (_, value: unknown) => (value === 0 ? 0 : value)) : JSON.parse(text);
  } catch {
    return {};
  }
  if (typeof found !== 'object' || found === null || Array.isArray(found)) return {};
  const { cost, output } = found as { cost?: unknown; output?: unknown };
  return {
    ...(typeof cost === 'object' && cost !== null && !Array.isArray(cost) ? { cost: cost as Cost } : {}),
    ...(output === undefined ? {} : { output: output as Json }),
  };
}

/** A result with what its child reported. What it cost counts however it ended. */
export function withReport(result: ItemResult, { cost, output }: ChildReport): ItemResult {
  const paid = cost === undefined ? result : { ...result, cost };
  return paid.status === 'success' && output !== undefined ? { ...paid, output } : paid;
}
