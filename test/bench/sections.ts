/** The sections of the benchmark, in their order, each run in a process of its own. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { SectionResult } from './section.js';

/** What the sections are called. */
export const SECTION_NAMES = ['file', 'million', 'sqlite', 'redis', 'command'] as const;

/** Runs a section. Errors: its process ended without a result, having said why. */
export async function runSection(name: string, { rounds, scale }: { rounds: number; scale: number }): Promise<SectionResult> {
  const program = fileURLToPath(new URL('./section-process.ts', import.meta.url));
  // Not as JSON: a figure may be no number.
  const child = fork(program, [name, `${rounds}`, `${scale}`], { serialization: 'advanced' });
  const results: SectionResult[] = [];
  child.on('message', (result) => results.push(result as SectionResult));
  // What was sent may arrive after the process has ended.
  const [[code]] = await Promise.all([once(child, 'exit'), once(child, 'disconnect')]);
  const [result] = results;
  if (code !== 0 || result === undefined) throw new Error(`The section ${name} ended with ${code}, and no result.`);
  return result;
}
