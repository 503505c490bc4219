/** The documents that are written by the program, each with what it should hold now. */
import { apiReference } from './api-reference.js';
import { commandReference } from './command-reference.js';

/** A document; its path is relative to the root of the checkout. */
export interface GeneratedDocument {
  readonly path: string;
  /** What it should hold, given what it holds. */
  readonly write: (now: string) => string | Promise<string>;
}

/** All of them, in the order in which they are written. */
export const GENERATED_DOCUMENTS: readonly GeneratedDocument[] = [
  { path: 'docs/commands.md', write: commandReference },
  { path: 'docs/api.md', write: () => apiReference().text },
];
