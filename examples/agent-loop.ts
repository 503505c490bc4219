/**
 * An agent over a list of prompts, within its rate limit and a budget: when the agent says that it is busy, the prompt comes back later
 * and has lost no attempt; when the budget of a run is spent, the run ends. Run it again, and it goes on with what is left.
 *
 *     agent-loop.ts [state.json]        (exit 0: all is done; 1: and some prompts failed; 3: run it again)
 */
import { execFile } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Cost, Glitch, LoopState, runLoop } from 'loopstate';

const BUDGET_USD = 0.08;
const AGENT = fileURLToPath(new URL(`./stand-in-agent${extname(import.meta.url)}`, import.meta.url));

const [statePath = 'agent.state.json'] = process.argv.slice(2);
const prompts = Array.from({ length: 20 }, (_, n) => ({ id: `review-${n + 1}`, prompt: `Review chapter ${n + 1} of the manual` }));

const state = await LoopState.create(statePath);
const { reason, progress } = await runLoop({
  state,
  items: prompts,
  concurrency: 2,
  retries: 1, // For a prompt that fails; a prompt that was refused has not failed.
  glitches: { minDelayMs: 0 }, // The agent says itself how long to wait.
  maxBudgetUsd: state.progress.costUsd + BUDGET_USD, // The state knows what all runs cost: this one may add so much.
  work: async ({ prompt }, { signal }) => {
    const reply = await ask(prompt, signal);
    const { cost } = reply;
    if ('answer' in reply) return { status: 'success', output: reply.answer, cost };
    const [, retryAfterMs] = /retry after (\d+) ms/.exec(reply.error) ?? [];
    if (retryAfterMs === undefined) return { status: 'error', reason: reply.error, cost };
    throw new Glitch(reply.error, { retryAfterMs: Number(retryAfterMs), cost });
  },
  onProgress: (event) => {
    if (event.type === 'glitch') console.log(`${event.id}: ${event.reason}`);
  },
});
console.log(`${reason}: ${progress.completed} of ${prompts.length} answered, ${progress.costUsd.toFixed(3)} $ spent in all`);
await state.close();
process.exitCode = reason !== 'all-done' ? 3 : progress.failed > 0 ? 1 : 0;

type Reply = { readonly cost: Cost } & ({ readonly answer: string } | { readonly error: string });

/** One process for each prompt; it is ended when the loop is to stop at once. */
async function ask(prompt: string, signal: AbortSignal): Promise<Reply> {
  const args = [...process.execArgv, AGENT, `${statePath}.calls`, prompt];
  const { stdout } = await promisify(execFile)(process.execPath, args, { signal });
  return JSON.parse(stdout) as Reply;
}
