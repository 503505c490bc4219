/** Shows what a run would do, and changes nothing: one line for each command, as a shell would be told it. */
import { isLoopStateError, LoopStateError } from '@loopstate/core';
import { LoopState } from '../loop-state.js';
import { type Attempt, type ChildCommand, MissingFieldError } from './child-command.js';
import type { ExitCode } from './exit-codes.js';
import { digestOf } from './item-digest.js';
import type { InputItem } from './item-input.js';
import { LineOutput } from './line-output.js';
import { noticeOf } from './reporters.js';
import { visible } from './visible-text.js';

/** What of the options decides on what would run. */
export interface DryRunOptions {
  readonly maxItems?: number;
  readonly maxCost?: number;
  readonly onChange?: 'refuse' | 'warn' | 'rerun';
}

/** Errors: what opening raises, but for a state that does not exist yet; `LOOPSTATE_ITEM_CHANGED`. */
export async function dryRun(
  target: string,
  items: AsyncIterable<InputItem>,
  command: ChildCommand,
  options: DryRunOptions,
): Promise<ExitCode> {
  const state = await openIfPresent(target);
  try {
    return await LineOutput.with(process.stdout, (output) => show({ ...options, state, items, command, output }));
  } finally {
    await state?.close();
  }
}

interface DryRun extends DryRunOptions {
  readonly state: LoopState | undefined;
  readonly items: AsyncIterable<InputItem>;
  readonly command: ChildCommand;
  readonly output: LineOutput;
}

async function show(dryRun: DryRun): Promise<ExitCode> {
  const { state, items, command, output, maxItems, maxCost = Number.POSITIVE_INFINITY } = dryRun;
  const isSpent = (state?.progress.costUsd ?? 0) >= maxCost;
  const seen = new Set<string>();
  let [begun, done, lacking] = [0, 0, 0];
  for await (const item of items) {
    if (seen.has(item.id)) continue;
    seen.add(item.id);
    const isDone = state !== undefined && !state.isOutstanding(item.id);
    if (isDone && !(await isToRunAgain(item, state, dryRun))) {
      done += 1;
      continue;
    }
    if (isSpent) break;
    begun += 1;
    const line = lineFor(command, { item, attempt: isDone ? 1 : await nextAttempt(item, state) });
    if (line === undefined) lacking += 1;
    else await output.write(`${line}\n`);
    if (begun === maxItems) break;
  }
  await output.flush();
  const failing = lacking === 0 ? '' : `${lacking} would fail, whose row lacks a field that the command names, `;
  process.stderr.write(`${begun - lacking} would run, ${failing}${done} are done; nothing was changed\n`);
  return 0;
}

/** The attempt under which a run would begin an item. That of a run that was killed does not count. */
async function nextAttempt({ id }: InputItem, state: LoopState | undefined): Promise<number> {
  const { status, attempt = 0 } = (await state?.read(id)) ?? {};
  return status === 'claimed' ? attempt : attempt + 1;
}

/** Judges an item that is done as a run would: see `ChangedItems` of the core. */
async function isToRunAgain(item: InputItem, state: LoopState, { command, onChange }: DryRun): Promise<boolean> {
  const before = onChange === undefined ? undefined : (await state.read(item.id))?.digest;
  if (before === undefined || before === (await digestOf(item, command))) return false;
  if (onChange === 'refuse')
    throw new LoopStateError(
      'LOOPSTATE_ITEM_CHANGED',
      `A run would end at ${JSON.stringify(item.id)}, which has an outcome and has changed since.`,
    );
  if (onChange === 'warn') process.stderr.write(`${noticeOf({ type: 'changed', id: item.id })}\n`);
  return onChange === 'rerun';
}

/** The command as a shell would be told it, with the variables that it reads; undefined for a row that lacks a field. */
function lineFor(command: ChildCommand, attempt: Attempt): string | undefined {
  try {
    const { file, args } = command.argvFor(attempt);
    const variables = Object.entries(command.environmentFor(attempt)).map(([name, value]) => `${name}=${quoted(value)}`);
    return [...variables, ...[file, ...args].map(quoted)].join(' ');
  } catch (error) {
    if (error instanceof MissingFieldError) return undefined;
    throw error;
  }
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
