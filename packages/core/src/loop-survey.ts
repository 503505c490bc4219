/**
 * What the records of a loop amount to for an operator: a fold over them that keeps no item that is done, and the judgement of it.
 *
 * **Invariants:** an item that comes again, because it changed while all were read, counts once among those that are listed by their ids;
 * it may count twice among the others.
 */
import type { BackendTraits, Json, StateRecord } from './backend.js';
import type { DiagnosisFinding } from './diagnosis.js';
import type { Environment } from './environment.js';
import { CRASHES_UNTIL_ALONE, type ItemRecord, isFinal, nameOf, RECORD_FORMAT, type RunRecord } from './loop-records.js';
import { probeRun } from './run-watch.js';

const IDS_SHOWN = 3;
const ID_SHOWN_CHARACTERS = 80;

/** The ids of {@link judgeLoop}, each with what it means. */
export const LOOP_DIAGNOSES = {
  'loop-newer-format': 'A newer loopstate wrote the records.',
  progress: 'How far the loop is.',
  'run-at-work': 'A run is at work, as far as can be told from here.',
  'run-gone': 'The process of a run is gone; what it held comes back with a takeover.',
  'run-silent': 'A run was not heard of for longer than its lease.',
  'claims-left-behind': 'Items are still marked as held by runs that were declared dead. They are free to be taken.',
  'items-quarantined': 'Items failed because they kept killing their process.',
  'items-killing': 'Items whose process died so often while they ran that they run alone from now on.',
  'items-failed': 'Items failed.',
  'items-glitched': 'Items wait after a glitch.',
} as const;

/** The id of a finding of {@link judgeLoop}. */
export type LoopDiagnosisId = keyof typeof LOOP_DIAGNOSES;

/** A run as it stands in the records. */
export interface SurveyedRun {
  readonly runId: string;
  readonly record: RunRecord;
  /** When its last heartbeat was put, by the store's clock; undefined where there are none. */
  readonly beatAt?: number;
  /** How many items it holds. */
  readonly holds: number;
}

/** What a {@link LoopSurvey} comes to. */
export interface LoopFacts {
  readonly format?: number;
  readonly completed: number;
  readonly failed: number;
  readonly outstanding: number;
  readonly glitched: number;
  readonly inProgress: number;
  /** The ids of items. */
  readonly quarantined: readonly string[];
  readonly killing: readonly string[];
  readonly leftBehind: readonly string[];
  readonly runs: readonly SurveyedRun[];
}

/** What judging needs besides the records. */
export interface LoopCircumstances {
  /** Names the place. */
  readonly where: string;
  readonly reach: BackendTraits['reach'];
  readonly isHeld?: boolean | undefined;
  readonly clockAheadMs?: number | undefined;
  readonly environment: Environment;
}

/** See the file's comment. */
export class LoopSurvey {
  readonly #counts = { completed: 0, failed: 0, outstanding: 0, glitched: 0 };
  readonly #claims = new Map<string, string>();
  readonly #quarantined = new Set<string>();
  readonly #killing = new Set<string>();
  readonly #runs = new Map<string, RunRecord>();
  readonly #beats = new Map<string, number>();
  #format: number | undefined;

  /** Takes in a record, in the order of revisions. One that no loop wrote is left alone. */
  take({ key, value, at }: StateRecord): void {
    if (!isObject(value)) return;
    const name = nameOf(key);
    if (name.kind === 'item') this.#takeItem(name.id, value as unknown as ItemRecord);
    if (name.kind === 'run') this.#runs.set(name.id, value as unknown as RunRecord);
    if (name.kind === 'beat') this.#beats.set(name.id, at);
    if (name.kind === 'meta' && typeof value.format === 'number') this.#format = value.format;
  }

  get facts(): LoopFacts {
    const holds = new Map<string, number>();
    const leftBehind: string[] = [];
    for (const [id, runId] of this.#claims) {
      if (this.#runs.has(runId)) holds.set(runId, (holds.get(runId) ?? 0) + 1);
      else leftBehind.push(id);
    }
    const runs = [...this.#runs].map(([runId, record]) => {
      const beatAt = this.#beats.get(runId);
      return { runId, record, ...(beatAt === undefined ? {} : { beatAt }), holds: holds.get(runId) ?? 0 };
    });
    return {
      ...(this.#format === undefined ? {} : { format: this.#format }),
      ...this.#counts,
      inProgress: this.#claims.size,
      quarantined: [...this.#quarantined],
      killing: [...this.#killing],
      leftBehind,
      runs,
    };
  }

  #takeItem(id: string, { status, run, crashes, glitches, quarantined }: ItemRecord): void {
    for (const known of [this.#claims, this.#quarantined, this.#killing]) known.delete(id);
    if (status === 'claimed') this.#claims.set(id, run ?? '');
    else if (status in this.#counts) this.#counts[status] += 1;
    if (status === 'outstanding' && glitches !== undefined) this.#counts.glitched += 1;
    if (quarantined === true) this.#quarantined.add(id);
    else if (!isFinal(status) && (crashes ?? 0) >= CRASHES_UNTIL_ALONE) this.#killing.add(id);
  }
}

type Finding = DiagnosisFinding & { readonly id: LoopDiagnosisId };

/** What an operator should know of a loop: pure, but for the question whether processes still run. */
export function judgeLoop(facts: LoopFacts, circumstances: LoopCircumstances): DiagnosisFinding[] {
  const { format = RECORD_FORMAT } = facts;
  const { where } = circumstances;
  if (format <= RECORD_FORMAT) return [...judgeItems(facts, where), ...facts.runs.map((run) => judgeRun(run, circumstances))];
  const found = `The records have format ${format}, and this loopstate knows up to ${RECORD_FORMAT}.`;
  const newer: Finding = { id: 'loop-newer-format', severity: 'problem', where, found, remedy: 'Install a newer loopstate.' };
  return [newer];
}

function judgeItems(facts: LoopFacts, where: string): Finding[] {
  const { completed, failed, inProgress, outstanding, glitched, quarantined, killing, leftBehind } = facts;
  const progress = `${completed} completed, ${failed} failed, ${inProgress} in progress, ${outstanding} outstanding.`;
  const findings: Finding[] = [{ id: 'progress', severity: 'ok', where, found: progress }];
  if (leftBehind.length > 0) {
    const found = `Runs that were declared dead still stand as the holders of ${itemsText(leftBehind)}.`;
    findings.push({ id: 'claims-left-behind', severity: 'info', where, found, remedy: 'Nothing: any run may take them.' });
  }
  if (quarantined.length > 0) {
    const found = `Their process died again and again while these ran, so they count as failed: ${itemsText(quarantined)}.`;
    const remedy = 'Find out what kills it (memory?), then put them back with `loopstate retry`.';
    findings.push({ id: 'items-quarantined', severity: 'warning', where, found, remedy });
  }
  if (killing.length > 0) {
    const found = `Their process died ${CRASHES_UNTIL_ALONE} times or more while these ran: ${itemsText(killing)}.`;
    const remedy = 'Find out what kills it: they run alone from now on, and count as failed when that kills it once more.';
    findings.push({ id: 'items-killing', severity: 'warning', where, found, remedy });
  }
  const others = failed - quarantined.length;
  if (others > 0) {
    const remedy = 'Where that can be helped, put them back with `loopstate retry`.';
    findings.push({ id: 'items-failed', severity: 'info', where, found: `${countText(others)} failed.`, remedy });
  }
  if (glitched > 0) {
    const found = `${countText(glitched)} wait after a glitch.`;
    findings.push({ id: 'items-glitched', severity: 'info', where, found, remedy: 'Nothing: the loop tries them again.' });
  }
  return findings;
}

function judgeRun(run: SurveyedRun, { reach, isHeld, clockAheadMs = 0, environment }: LoopCircumstances): Finding {
  const { runId, record, beatAt, holds } = run;
  const where = `run ${runId}`;
  const name = `The process ${record.pid} on ${record.host}, which holds ${countText(holds)},`;
  const probed = probeRun(record, environment, reach);
  if (probed === 'gone' || (reach === 'process' && isHeld === false)) {
    const found = `${name} is gone: it was killed, or the machine stopped.`;
    const remedy = 'Start the loop again: the next run takes over.';
    return { id: 'run-gone', severity: 'warning', where, found, remedy, isRepairable: true };
  }
  // For a person to read: nothing is decided by it, so two clocks may be compared.
  const silentMs = beatAt === undefined ? 0 : environment.wallMs() + clockAheadMs - beatAt;
  if (silentMs > record.leaseMs) {
    const found = `${name} was not heard of for ${Math.round(silentMs / 1_000)} s, and its lease is ${record.leaseMs / 1_000} s.`;
    const look =
      probed === 'alive' ? 'It runs: look whether it is paused or stuck' : 'Look whether that machine is up and reaches the store';
    return { id: 'run-silent', severity: 'warning', where, found, remedy: `${look}; another run takes over what it holds.` };
  }
  const found = `${name} is at work${probed === 'alive' ? '' : ', as far as can be told from here'}.`;
  return { id: 'run-at-work', severity: 'info', where, found };
}

function itemsText(ids: readonly string[]): string {
  const shown = ids
    .slice(0, IDS_SHOWN)
    .map((id) => JSON.stringify(id.length > ID_SHOWN_CHARACTERS ? `${id.slice(0, ID_SHOWN_CHARACTERS)}…` : id));
  return ids.length > IDS_SHOWN ? `${shown.join(', ')} and ${ids.length - IDS_SHOWN} more` : shown.join(', ');
}

function countText(count: number): string {
  return `${count} ${count === 1 ? 'item' : 'items'}`;
}

function isObject(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
