/** A canary as a module, since only a killed process can show it: it acknowledges what it sends a moment later. */
import type { RunStep } from '@loopstate/conformance';
import type { StateBackend } from '@loopstate/core';
import { openWithFailpoints as openServed } from '../fixtures/served.js';
import { wrap } from './canary.js';

export function openPlace(url: string): Promise<StateBackend> {
  return openWithFailpoints(url, (_, whole) => whole());
}

export async function openWithFailpoints(url: string, step: RunStep): Promise<StateBackend> {
  const inner = await openServed(url, step);
  let revision = 0;
  for await (const change of inner.changes(0)) revision = change.revision;
  return wrap(inner, {
    async commit(commit) {
      setTimeout(() => inner.commit(commit), 20);
      await new Promise((resolve) => setTimeout(resolve, 1));
      return { ok: true, revision: ++revision };
    },
  });
}
