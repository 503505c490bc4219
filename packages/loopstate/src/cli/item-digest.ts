/**
 * What an item and the command for it are like, so that a later run can tell whether they changed.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { ChildCommand } from './child-command.js';
import type { InputItem } from './item-input.js';

/**
 * The digest of an item: over the command's text, and over the row or, where the item names a regular file, over the bytes of that file.
 * Of a file that can't be read, that it can't.
 */
export async function digestOf(item: InputItem, { text }: ChildCommand): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([text, item.row ?? '']));
  if (item.row === undefined) hash.update(await contentOf(item.text));
  return `sha256:${hash.digest('hex')}`;
}

async function contentOf(path: string): Promise<string> {
  try {
    if (!(await stat(path)).isFile()) return 'no file';
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
    return hash.digest('hex');
  } catch {
    return 'no file'; // Most items name none.
  }
}
