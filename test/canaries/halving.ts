/** A canary as a module, since only a killed process can show it: half of a commit is sent after the other half. */
import type { StateBackend } from '@loopstate/core';
import { openPlace as openServed } from '../fixtures/served.js';
import { wrap } from './canary.js';

export async function openPlace(url: string): Promise<StateBackend> {
  const inner = await openServed(url);
  return wrap(inner, {
    async commit({ puts = [], deletes = [] }) {
      const [first, ...rest] = puts;
      if (first !== undefined) await inner.commit({ puts: [first] });
      await new Promise((resolve) => setTimeout(resolve, 5));
      return inner.commit({ puts: rest, deletes });
    },
  });
}
