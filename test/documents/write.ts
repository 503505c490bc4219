/** Writes all documents that the program writes: `npx -y pnpm@10.34.9 run docs`. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WORKSPACE } from '../support/compiled.js';
import { GENERATED_DOCUMENTS } from './generated.js';

for (const { path, write } of GENERATED_DOCUMENTS) {
  const file = join(WORKSPACE, path);
  const now = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const text = await write(now);
  if (text !== now) writeFileSync(file, text);
  console.log(`${text === now ? 'as it was' : 'written  '} ${path}`);
}
