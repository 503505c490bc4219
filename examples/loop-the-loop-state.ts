/**
 * A drop-in for the state of `loop-the-loop` (version 2 of it), kept by loopstate: the same five calls over a file, SQLite or Redis. What was
 * completed survives a crash, several processes may share it, and the claims of a process that died come back by themselves.
 *
 * Beside the five calls: `close()` when you are through, and a completion that came too late is told to `onRefused`.
 *
 *     loop-the-loop-state.ts [url]        (default: memory:)
 */
import { realpathSync } from 'node:fs';
import {
  type Claim,
  type Cost,
  type ItemResult,
  type ItemSnapshot,
  isLoopStateError,
  LoopState,
  openBackend,
  type StateBackend,
} from 'loopstate';

export interface PromptCost {
  readonly usd: number;
  readonly costSource: 'provider' | 'estimated' | 'unavailable';
}

export type PromptResult =
  | { readonly status: 'success'; readonly output: string; readonly cost?: PromptCost }
  | { readonly status: 'error' | 'glitch'; readonly reason: string; readonly cost?: PromptCost };

export interface PromptOutcome {
  readonly status: 'success' | 'error';
  readonly output?: string;
  readonly reason?: string;
  readonly cost?: PromptCost;
}

export interface PromptSnapshot {
  readonly version: 2;
  readonly results: Readonly<Record<string, PromptOutcome>>;
  readonly claims: Readonly<Record<string, { readonly runId: string; readonly claimedAt: string }>>;
  readonly totalUsd: number;
}

export interface PromptStateOptions {
  /** Told when a completion changed nothing, because another run holds the prompt or has completed it. Default: a warning. */
  readonly onRefused?: (refused: { readonly runId: string; readonly id: string }) => void;
}

interface Run {
  readonly state: LoopState;
  readonly claims: Map<string, Promise<Claim | undefined>>;
}

/** An output may have 1 MiB as JSON, with all that is recorded beside it. A longer one is not kept; the outcome is. */
const OUTPUT_BYTES_MAX = 1_000_000;

export class PromptState {
  readonly #backend: StateBackend;
  readonly #onRefused: NonNullable<PromptStateOptions['onRefused']>;
  /** Holds nothing: its view answers `isOutstanding`. */
  readonly #viewer: LoopState;
  /** Each run is a `LoopState` of its own, so what one holds another can't have. */
  readonly #runs = new Map<string, Promise<Run>>();

  private constructor(backend: StateBackend, viewer: LoopState, { onRefused = warn }: PromptStateOptions) {
    this.#backend = backend;
    this.#viewer = viewer;
    this.#onRefused = onRefused;
  }

  /** Opens the state at a URL; a file of the older format is taken over. */
  static async open(url: string, options: PromptStateOptions = {}): Promise<PromptState> {
    const backend = await openBackend(url, { access: 'write' });
    return new PromptState(backend, await LoopState.open(backend), options);
  }

  /** Whether a prompt has no result yet. */
  isOutstanding(id: string): boolean {
    return this.#viewer.isOutstanding(id);
  }

  /** True if `runId` holds the prompt now, also if it held it before; false if it is done, or another run that is alive holds it. */
  async claim(runId: string, id: string): Promise<boolean> {
    const run = await this.#run(runId);
    await run.state.refresh();
    const held = await run.claims.get(id);
    if (held?.signal.aborted === false) return true;
    await held?.release(); // It was lost: whoever took it over may have given it back.
    const claiming = run.state.claim(id);
    run.claims.set(id, claiming);
    const claim = await claiming.catch(() => undefined);
    if (claim === undefined) {
      run.claims.delete(id);
      await this.#viewer.refresh();
      await claiming; // If it failed, the caller is told why.
    }
    return claim !== undefined;
  }

  /** Records a result. A prompt that nobody holds need not be claimed before. */
  async complete(runId: string, id: string, result: PromptResult): Promise<void> {
    const run = await this.#run(runId);
    if (!run.claims.has(id)) await this.claim(runId, id);
    const claim = await run.claims.get(id);
    try {
      if (claim === undefined) return this.#onRefused({ runId, id });
      await claim.end(toItemResult(result));
      run.claims.delete(id);
    } catch (error) {
      // Anything else may be tried again: the claim stands.
      if (!isLoopStateError(error, 'LOOPSTATE_LEASE_LOST')) throw error;
      run.claims.delete(id);
      this.#onRefused({ runId, id });
    } finally {
      await this.#viewer.refresh();
    }
  }

  /** Gives back all that a run holds. */
  async release(runId: string): Promise<void> {
    const run = await this.#runs.get(runId);
    this.#runs.delete(runId);
    await run?.state.close();
    await this.#viewer.refresh();
  }

  /** All results and claims. A claim of another process bears the id that loopstate gave its run. */
  async getSnapshot(): Promise<PromptSnapshot> {
    await this.#viewer.refresh();
    const names = new Map<string | undefined, string>();
    for (const [runId, run] of this.#runs) names.set((await run).state.runId, runId);
    const results = new Map<string, PromptOutcome>();
    const claims = new Map<string, { runId: string; claimedAt: string }>();
    for await (const [id, item] of this.#viewer.items()) {
      // One that changes meanwhile comes again.
      claims.delete(id);
      if (item.status === 'completed' || item.status === 'failed') results.set(id, toOutcome(item));
      if (item.status !== 'claimed') continue;
      claims.set(id, { runId: names.get(item.run) ?? `${item.run}`, claimedAt: new Date(item.at).toISOString() });
    }
    return { version: 2, results: Object.fromEntries(results), claims: Object.fromEntries(claims), totalUsd: this.totalUsd };
  }

  /** What all invocations cost, glitches included, in US dollars. */
  get totalUsd(): number {
    return this.#viewer.progress.costUsd;
  }

  /** Gives back all claims, and the store. */
  async close(): Promise<void> {
    for (const runId of [...this.#runs.keys()]) await this.release(runId);
    await this.#viewer.close();
    await this.#backend.close();
  }

  #run(runId: string): Promise<Run> {
    const run = this.#runs.get(runId) ?? LoopState.open(this.#backend).then((state) => ({ state, claims: new Map() }));
    this.#runs.set(runId, run);
    return run;
  }
}

/** Results as JSON has them: what is undefined in a cost is left out of it, and what can't be kept of an output is left out of the result. */
function toItemResult(result: PromptResult): ItemResult {
  const cost = result.cost === undefined ? {} : { cost: toCost(result.cost) };
  if (result.status !== 'success') return { status: result.status, reason: result.reason, ...cost };
  const output = `${result.output}`.toWellFormed();
  const isKept = Buffer.byteLength(JSON.stringify(output)) <= OUTPUT_BYTES_MAX;
  return { status: 'success', ...cost, ...(isKept ? { output } : {}) };
}

/** What is no amount, or not available, doesn't count; it is kept under another name. */
function toCost(cost: PromptCost): Cost {
  const { usd, ...rest } = JSON.parse(JSON.stringify(cost)) as PromptCost & { usd: number | null };
  const isUsable = usd !== null && usd >= 0 && cost.costSource !== 'unavailable';
  return isUsable ? { ...rest, usd } : { ...rest, uncountedUsd: usd ?? 0 };
}

function toOutcome({ status, output, reason, cost }: ItemSnapshot): PromptOutcome {
  const { uncountedUsd, ...rest } = (cost ?? {}) as unknown as PromptCost & { uncountedUsd?: number };
  return {
    status: status === 'completed' ? 'success' : 'error',
    ...(typeof output === 'string' ? { output } : {}),
    ...(reason === undefined ? {} : { reason }),
    ...(cost === undefined ? {} : { cost: uncountedUsd === undefined ? rest : { ...rest, usd: uncountedUsd } }),
  };
}

function warn({ runId, id }: { readonly runId: string; readonly id: string }): void {
  process.emitWarning(`The run ${runId} no longer holds ${JSON.stringify(id)}, or never did: its result was not recorded.`);
}

/** Two runs over six prompts, as two processes would do it. */
async function demonstrate(url: string): Promise<void> {
  const state = await PromptState.open(url);
  const work = async (runId: string): Promise<void> => {
    for (const id of ['one', 'two', 'three', 'four', 'five', 'six']) {
      if (!state.isOutstanding(id) || !(await state.claim(runId, id))) continue;
      const cost: PromptCost = { usd: 0.25, costSource: 'estimated' };
      await state.complete(runId, id, { status: 'success', output: id.toUpperCase(), cost });
    }
    await state.release(runId);
  };
  await Promise.all([work('run-1'), work('run-2')]);
  console.log(JSON.stringify(await state.getSnapshot(), null, 2));
  await state.close();
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename)
  await demonstrate(process.argv[2] ?? 'memory:');
