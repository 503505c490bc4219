/** The documents that are written by the program, each with what it should hold now. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { WORKSPACE } from '../support/compiled.js';
import { apiReference } from './api-reference.js';
import { commandReference } from './command-reference.js';
import { withRecorded } from './markdown.js';
import { RECOVERY_SESSIONS } from './record-recovery.js';
import { recordKillAndResume } from './record-session.js';

/** A document; its path is relative to the root of the checkout. */
export interface GeneratedDocument {
  readonly path: string;
  /** What it should hold, given what it holds. */
  readonly write: (now: string) => string | Promise<string>;
}

const DOCUMENTS: readonly GeneratedDocument[] = [
  { path: 'docs/commands.md', write: commandReference },
  { path: 'docs/api.md', write: () => apiReference().text },
  { path: 'README.md', write: async (now) => withRecorded(now, 'kill-and-resume', await recordKillAndResume()) },
  { path: 'docs/recovery.md', write: withRecoverySessions },
];

/** All of them, in the order in which they are written; they come formatted as everything here is. */
export const GENERATED_DOCUMENTS: readonly GeneratedDocument[] = DOCUMENTS.map(({ path, write }) => ({
  path,
  write: async (now) => formatted(path, await write(now)),
}));

async function withRecoverySessions(now: string): Promise<string> {
  let text = now;
  for (const [name, record] of Object.entries(RECOVERY_SESSIONS)) text = withRecorded(text, name, await record());
  return text;
}

function formatted(path: string, text: string): string {
  const biome = join(WORKSPACE, 'node_modules/@biomejs/biome/bin/biome');
  return execFileSync(process.execPath, [biome, 'format', `--stdin-file-path=${path}`], { cwd: WORKSPACE, input: text, encoding: 'utf8' });
}
