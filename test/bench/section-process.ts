/**
 * Runs one section of the benchmark and sends what it found to the process that started this one. Each section has a process of its own: what
 * another one left, a heap of a million records or code that was compiled for several backends, is no part of what is measured.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { commandSection } from './command-section.js';
import { fileSection } from './file-section.js';
import { millionSection } from './million-section.js';
import { redisSection } from './redis-section.js';
import type { Section } from './section.js';
import type { SECTION_NAMES } from './sections.js';
import { sqliteSection } from './sqlite-section.js';

const SECTIONS: Readonly<Record<(typeof SECTION_NAMES)[number], Section>> = {
  file: fileSection,
  million: millionSection,
  sqlite: sqliteSection,
  redis: redisSection,
  command: commandSection,
};

const [name, rounds, scale] = process.argv.slice(2) as [keyof typeof SECTIONS, string, string];
// Beside the checkout, not in /tmp: that may be memory.
const folder = await mkdtemp(join(process.cwd(), 'node_modules', '.loopstate-bench-'));
try {
  const result = await SECTIONS[name]({ folder, rounds: Number(rounds), scale: Number(scale) });
  await new Promise((resolve) => process.send?.(result, resolve));
} finally {
  await rm(folder, { recursive: true, force: true });
  process.disconnect?.();
}
