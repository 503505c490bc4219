/**
 * One worker of several that share a loop by URL. It writes down when it begins and ends each item, with the fence and a clock that all
 * processes of the host share, and at the end how many of its claims were refused and how
 * many commits had an unknown outcome at first.
 *
 * Arguments: the URL, the log (one per worker), the number of items, the time per item in ms, the lease in ms.
 */
import { appendFileSync } from 'node:fs';
import { argv, hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Commit, LoopState, openBackend, runLoop, type StateBackend } from 'loopstate';

const [url = '', logPath = '', count = '0', workMs = '1', leaseMs = '30000'] = argv.slice(2);
const claims = { asked: 0, refused: 0 };
let unknown = 0;

const state = await LoopState.open(counted(await openBackend(url, { access: 'write' })), {
  leaseMs: Number(leaseMs),
  closeBackend: true,
  onEvent: (event) => log({ ...event, error: codeOf(event) }),
});
log({ type: 'opened' });
const result = await runLoop({
  state,
  items: Array.from({ length: Number(count) }, (_, n) => `item-${n}`),
  work: async (id, { fence, signal }) => {
    log({ type: 'began', id, fence });
    signal.addEventListener('abort', () => log({ type: 'aborted', id, fence }));
    await sleep(Number(workMs) * (0.5 + Math.random()));
    log({ type: 'worked', id, fence });
    return { fence };
  },
  onProgress: (event) => {
    if (['completed', 'lost', 'unavailable', 'available'].includes(event.type)) log({ ...event, error: codeOf(event) });
  },
});
await state.close();
log({ type: 'done', status: result.status, ...claims, unknown });

function log(event: object): void {
  appendFileSync(logPath, `${JSON.stringify({ ...event, atNs: `${hrtime.bigint()}` })}\n`);
}

function codeOf(event: object): string | undefined {
  return 'error' in event ? (event.error as { code?: string }).code : undefined;
}

/** Counts the commits that claim an item, those of them that were refused, and all commits of unknown outcome. */
function counted(backend: StateBackend): StateBackend {
  return {
    traits: backend.traits,
    get recovery() {
      return backend.recovery;
    },
    read: (keys) => backend.read(keys),
    commit: async (commit) => {
      const answer = await backend.commit(commit).catch((error: unknown) => {
        if (codeOf({ error }) === 'LOOPSTATE_OUTCOME_UNKNOWN') unknown += 1;
        throw error;
      });
      if (isClaim(commit)) {
        claims.asked += 1;
        if (!answer.ok) claims.refused += 1;
      }
      return answer;
    },
    changes: (since) => backend.changes(since),
    close: () => backend.close(),
  };
}

function isClaim({ puts = [] }: Commit): boolean {
  return puts.some(({ key, value }) => key.startsWith('item/') && (value as { status?: string }).status === 'claimed');
}
