/** What a section of the benchmark gets, and what it finds out. */
import type { Standing } from './contest.js';

/** What a section runs with. */
export interface SectionOptions {
  /** An empty directory on the disk of the checkout: `/tmp` may be memory. */
  readonly folder: string;
  /** How many rounds count. */
  readonly rounds: number;
  /** How much is done in a turn: 1 is the measure, less is a trial. */
  readonly scale: number;
}

/** A figure with the bound that it must keep. */
export interface Budget {
  readonly name: string;
  readonly figure: number;
  readonly bound: number;
  readonly side: 'at most' | 'at least';
  /** Stands behind the figure. Default: none, it is a ratio. */
  readonly unit?: string;
}

/** Contestants that were timed together. */
export interface Table {
  readonly title: string;
  /** What an operation is, and under which conditions. */
  readonly note: string;
  readonly standings: readonly Standing[];
  /** The name of the standing that others are compared with. */
  readonly floor: string;
  /** The names of those of which the best is compared with, too. */
  readonly peers?: readonly string[];
}

/** What a section found out. */
export interface SectionResult {
  readonly title: string;
  readonly tables: readonly Table[];
  /** What else is to be said. */
  readonly notes?: readonly string[];
  readonly budgets: readonly Budget[];
}

/** A part of the benchmark. */
export type Section = (options: SectionOptions) => Promise<SectionResult>;

/** Whether a figure keeps its bound. */
export function isMet({ figure, bound, side }: Budget): boolean {
  return side === 'at most' ? figure <= bound : figure >= bound;
}
