/** A canary as a module, since only processes can show it: a claim is made whoever holds the item. */
import type { StateBackend } from '@loopstate/core';
import { openPlace as openServed } from '../fixtures/served.js';
import { wrap } from './canary.js';

export async function openPlace(url: string): Promise<StateBackend> {
  const inner = await openServed(url);
  return wrap(inner, {
    commit({ checks = [], ...commit }) {
      const isClaim = commit.puts?.some(({ value }) => (value as { status?: string }).status === 'claimed');
      return inner.commit({ ...commit, checks: checks.filter(({ key }) => isClaim !== true || !key.startsWith('item/')) });
    },
  });
}
