/** Shows what a run would do, and changes nothing: one line for each command, as a shell would be told it. */
import { isLoopStateError } from '@loopstate/core';
import { LoopState } from '../loop-state.js';
import type { ChildCommand } from './child-command.js';
import type { ExitCode } from './exit-codes.js';
import type { InputItem } from './item-input.js';
import { visible } from './visible-text.js';

/** Errors: what opening raises, but for a state that does not exist yet. */
export async function dryRun(target: string, items: AsyncIterable<InputItem>, command: ChildCommand): Promise<ExitCode> {
  const state = await openIfPresent(target);
  const seen = new Set<string>();
  let done = 0;
  try {
    for await (const item of items) {
      if (seen.has(item.id)) continue;
      seen.add(item.id);
      if (state !== undefined && !state.isOutstanding(item.id)) {
        done += 1;
        continue;
      }
      const attempt = ((await state?.read(item.id))?.attempt ?? 0) + 1;
      const { file, args } = command.argvFor({ item, attempt });
      process.stdout.write(`${[file, ...args].map(quoted).join(' ')}\n`);
    }
  } finally {
    await state?.close();
  }
  process.stderr.write(`${seen.size - done} would run, ${done} are done; nothing was changed\n`);
  return 0;
}

/** A state that can't be read because there is none yet has nothing done. */
async function openIfPresent(target: string): Promise<LoopState | undefined> {
  try {
    return await LoopState.open(target, { access: 'read' });
  } catch (error) {
    if (isLoopStateError(error, 'LOOPSTATE_ABSENT')) return undefined;
    throw error;
  }
}

function quoted(word: string): string {
  return visible(/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
}
