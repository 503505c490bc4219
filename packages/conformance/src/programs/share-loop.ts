/**
 * One worker of several that share a loop. It says when it is given an item, is done with it, and is told what became of that, with the
 * fence and a clock that all processes of the host share; and at its end how many of its claims were refused, and how many commits had
 * an unknown outcome at first.
 */
import { type Commit, LoopState, runLoop, type StateBackend } from '@loopstate/core';
import { nowMs } from '../clock.js';
import type { FleetLoop } from '../fleet.js';
import { awaitOrders, say, theOpener, theUrl } from './program.js';

const { items, workMs, leaseMs } = JSON.parse(await awaitOrders()) as Required<FleetLoop>;
const claims = { asked: 0, refused: 0 };
/** By item: when this worker last asked for it, and as which run. */
const asked = new Map<string, { askedMs: number; runId: string }>();
let unknown = 0;

const state = await LoopState.open(watched(await theOpener.openPlace(theUrl)), {
  leaseMs,
  closeBackend: true,
  onEvent: (event) => tell({ ...event, error: codeOf(event) }),
});
tell({ type: 'opened' });
const result = await runLoop({
  state,
  items: Array.from({ length: items }, (_, n) => `item-${n}`),
  work: async (id, { fence, signal }) => {
    tell({ type: 'began', id, fence, ...asked.get(id) });
    signal.addEventListener('abort', () => tell({ type: 'aborted', id, fence }));
    await new Promise((resolve) => setTimeout(resolve, workMs * (0.5 + Math.random())));
    tell({ type: 'worked', id, fence });
    return { fence };
  },
  onProgress: (event) => {
    if (['completed', 'lost', 'given-back', 'unavailable', 'available'].includes(event.type)) tell({ ...event, error: codeOf(event) });
  },
});
await state.close();
tell({ type: 'done', status: result.status, ...claims, unknown });
process.exit(0);

function tell(event: object): void {
  say(JSON.stringify({ ...event, atMs: nowMs() }));
}

function codeOf(event: object): string | undefined {
  return 'error' in event ? (event.error as { code?: string }).code : undefined;
}

/** Tells of heartbeats, and counts the commits that claim an item, those of them that were refused, and all of unknown outcome. */
function watched(backend: StateBackend): StateBackend {
  return {
    traits: backend.traits,
    get recovery() {
      return backend.recovery;
    },
    read: (keys) => backend.read(keys),
    commit: async (commit) => {
      const startMs = nowMs();
      const claimed = claimIn(commit);
      if (claimed !== undefined) asked.set(claimed.id, { askedMs: startMs, runId: claimed.run });
      const answer = await backend.commit(commit).catch((error: unknown) => {
        if (codeOf({ error }) === 'LOOPSTATE_OUTCOME_UNKNOWN') unknown += 1;
        throw error;
      });
      if (claimed !== undefined) claims.asked += 1;
      if (claimed !== undefined && !answer.ok) claims.refused += 1;
      const beat = commit.puts?.find(({ key }) => key.startsWith('beat/'));
      if (beat !== undefined && answer.ok) tell({ type: 'beat', runId: beat.key.slice('beat/'.length), askedMs: startMs });
      return answer;
    },
    changes: (since) => backend.changes(since),
    close: () => backend.close(),
  };
}

/** The item that a commit claims, and the run that it does so for. */
function claimIn({ puts = [] }: Commit): { id: string; run: string } | undefined {
  for (const { key, value } of puts) {
    const { status, run } = value as { status?: string; run?: string };
    if (key.startsWith('item/') && status === 'claimed' && run !== undefined) return { id: key.slice('item/'.length), run };
  }
  return undefined;
}
