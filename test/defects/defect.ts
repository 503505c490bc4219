import type { Law } from '@loopstate/core';

/** The six promises that stand above all code. */
export type Promised = 'acked-survives' | 'one-item' | 'always-starts' | 'once-recorded' | 'fenced' | 'flat-cost';

/** Which tests are run: those of `files` (or of all files in them, where they are folders) whose full title `grep` matches. */
export interface TestChoice {
  /** From the root of the workspace, as TypeScript. */
  readonly files: readonly string[];
  /** A regular expression. */
  readonly grep: string;
}

/** A mistake that somebody could make in the product: one piece of one source file, put otherwise. */
export interface Defect {
  /** What the product does wrong then. */
  readonly name: string;
  /** What it breaks. */
  readonly breaks: Law | Promised;
  /** From the root of the workspace. */
  readonly file: string;
  /** Occurs exactly once in that file. */
  readonly find: string;
  readonly replace: string;
  /** At least one of these tests turns red, by an assertion. The fewer there are, the sooner it is caught. */
  readonly caughtBy: TestChoice;
}
