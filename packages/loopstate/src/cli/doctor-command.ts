/**
 * `loopstate doctor`: what is wrong with a state, and what to do; with `--repair` it is done, and looked at again.
 */
import { type Diagnosis, type DiagnosisFinding, isLoopStateError, type LoopStateEvent, type RecoveryFinding } from '@loopstate/core';
import type { Command } from 'commander';
import picocolors from 'picocolors';
import { diagnose } from '../diagnose.js';
import { LoopState } from '../loop-state.js';
import { doctorText, exitCodeOfFindings, withoutThose } from './doctor-report.js';
import type { ExitCode } from './exit-codes.js';
import { shownState } from './shown-state.js';
import { stateOption } from './state-option.js';
import { visibleJson } from './visible-text.js';

interface DoctorOptions {
  readonly state: string;
  readonly repair?: true;
  readonly json?: true;
}

/** What `--repair` did. */
export interface Repair {
  /** What was found before. */
  readonly before: readonly DiagnosisFinding[];
  /** What is no longer found. */
  readonly better: readonly DiagnosisFinding[];
  /** What opening the state said that it repaired. */
  readonly recovery: readonly RecoveryFinding[];
  /** Runs whose process was gone, with how many items came back. */
  readonly tookOver: readonly { readonly runId: string; readonly items: number }[];
  /** Why nothing was done. */
  readonly skipped?: 'nothing-to-repair' | 'no-state';
  /** Why it could not be opened. */
  readonly error?: { readonly code: string; readonly message: string };
}

const HELP = `
It changes nothing without --repair. With it, it opens the state as the next run would, which repairs what can be repaired and keeps
damaged files aside, takes over from runs whose process is gone, and looks again.

Exit codes:
    0  all is well
    1  there are warnings: a loop can start, and something should be done
    5  another process has the state open
    6  a loop can not start, or can not record anything

Examples:
  $ loopstate doctor --state ./encode.json
  $ loopstate doctor --state 'redis://queue.local/0?job=encode' --json
`;

/** Adds `doctor` to the program; `onExit` is told the exit code. */
export function addDoctorCommand(program: Command, onExit: (code: ExitCode) => void): void {
  program
    .command('doctor')
    .summary('find out what is wrong with a state')
    .description('Find out what is wrong with a state, and what to do about it: the place, the files or the server, and the runs.')
    .addOption(stateOption('the state to look at'))
    .option('--repair', 'repair what can be repaired, then look again')
    .option('--json', 'as one JSON object')
    .addHelpText('after', HELP)
    .action(async (options: DoctorOptions) => onExit(await doctor(options)));
}

async function doctor({ state: target, repair: mustRepair, json }: DoctorOptions): Promise<ExitCode> {
  const first = await diagnose(target);
  const repair = mustRepair === true ? await repairState(target, first) : undefined;
  const diagnosis = repair === undefined ? first : repair.after;
  const exitCode = exitCodeOfFindings(diagnosis.findings);
  const state = shownState(target);
  if (json === true) {
    const report = { state, ...diagnosis, ...(repair === undefined ? {} : { repair: repair.done }), exitCode };
    process.stdout.write(`${visibleJson(report, 2)}\n`);
  } else {
    const colors = picocolors.createColors(process.stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb');
    process.stdout.write(doctorText({ state, diagnosis, repair: repair?.done, colors }));
  }
  return exitCode;
}

/** Opens the state as a run would, if there is anything to repair: a place where nothing is stays as it is. */
async function repairState(target: string, first: Diagnosis): Promise<{ readonly done: Repair; readonly after: Diagnosis }> {
  const { findings: before } = first;
  const done = { before, better: [], recovery: [], tookOver: [] };
  if (!before.some(({ isRepairable }) => isRepairable === true)) return { done: { ...done, skipped: 'nothing-to-repair' }, after: first };
  // Opening would make one.
  if (before.some(({ id }) => id === 'no-state' || id === 'no-such-job')) return { done: { ...done, skipped: 'no-state' }, after: first };
  const tried = await openAndTakeOver(target);
  const after = await diagnose(target);
  return { done: { ...done, ...tried, better: withoutThose(before, after.findings) }, after };
}

async function openAndTakeOver(target: string): Promise<Omit<Repair, 'before' | 'better'>> {
  const tookOver: { runId: string; items: number }[] = [];
  const onEvent = (event: LoopStateEvent): void => {
    if (event.type === 'took-over') tookOver.push({ runId: event.runId, items: event.items });
  };
  let recovery: readonly RecoveryFinding[] = [];
  try {
    const state = await LoopState.open(target, { onEvent });
    recovery = state.recovery;
    try {
      await state.takeOverDead();
    } finally {
      await state.close();
    }
    return { recovery, tookOver };
  } catch (error) {
    if (!isLoopStateError(error)) throw error;
    return { recovery, tookOver, error: { code: error.code, message: error.message } };
  }
}
