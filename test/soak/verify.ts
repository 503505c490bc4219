/**
 * What a round must leave behind, judged from the ledgers of the workers and from what the store holds. Each violation is one sentence that
 * begins with the promise that was broken.
 */
import { judgeLoop, type LoopCall, type WorkerHistory } from '@loopstate/conformance';
import type { Worker } from './crew.js';
import type { DoneDamage } from './damage.js';
import type { Content } from './stores.js';

/** What is known of a store's life so far. */
export interface History {
  readonly workers: readonly Worker[];
  /** Items whose acknowledged outcome damage has destroyed, with the moment: what came before counts no more. */
  readonly excused: ReadonlyMap<string, bigint>;
}

/** The acknowledged outcomes: the token of the execution that worked each out. */
export function acknowledged({ workers, excused }: History): Map<string, string> {
  const outcomes = new Map<string, string>();
  for (const { events } of workers) {
    const tokens = new Map<string, string>();
    for (const { type, id = '', fence, token = '', atNs } of events) {
      if (type === 'worked') tokens.set(`${id} ${fence}`, token);
      const isOutcome = type === 'completed' || type === 'failed';
      if (isOutcome && BigInt(atNs) > (excused.get(id) ?? 0n)) outcomes.set(id, tokens.get(`${id} ${fence}`) ?? '(no execution)');
    }
  }
  return outcomes;
}

/** What the ledgers and the store violate. `isFinished`: every item of the store must have its outcome. */
export function violationsOf(history: History, content: Content, { items, isFinished }: { items: number; isFinished: boolean }): string[] {
  const { workers } = history;
  const violations = judgeLoop(
    workers.map((worker) => callsOf(worker, history)),
    [],
  ).map(({ promise, message }) => `${promise}: ${message}`);
  const worked = new Set(
    workers.flatMap(({ events }) => events.flatMap(({ type, id, token }) => (type === 'worked' ? [`${id} ${token}`] : []))),
  );
  const expected = acknowledged(history);
  for (const [id, token] of expected) {
    const item = content.items.get(id);
    if (item?.status !== 'completed' && item?.status !== 'failed')
      violations.push(`acked-survives: the outcome of ${id} is gone, it is ${item?.status}.`);
    else if (!textOf(item).includes(token)) violations.push(`once-recorded: ${id} has another outcome than was acknowledged (${token}).`);
  }
  for (const [id, item] of content.items) {
    if (item.status === 'completed' || item.status === 'failed') {
      const token = /<\d+\.\d+>/.exec(textOf(item))?.[0];
      if (item.quarantined === true) violations.push(...judgeQuarantine(id, workers));
      else if (token === undefined || !worked.has(`${id} ${token}`))
        violations.push(`once-recorded: nobody worked out the outcome of ${id}.`);
    } else if (isFinished) violations.push(`one-item: ${id} was left ${item.status}.`);
  }
  for (let n = 0; isFinished && n < items; n++)
    if (!content.items.has(`item-${n}`)) violations.push(`one-item: item-${n} was never begun.`);
  for (const worker of workers) violations.push(...judgeExit(worker));
  return violations;
}

/** What opening a store after damage, or after none, must not say or lose. `lost`: the acknowledged outcomes that are gone. */
export function violationsOfOpening(
  history: History,
  content: Content,
  damage: DoneDamage | undefined,
): { violations: string[]; lost: string[] } {
  const lost = [...acknowledged(history)].filter(([id, token]) => !textOf(content.items.get(id) ?? {}).includes(token));
  const violations: string[] = [];
  const what = damage === undefined ? 'no damage' : `${damage.damage.how} of ${damage.name} at ${damage.damage.at}`;
  for (const [id, token] of lost) {
    if (damage === undefined || !damage.mayLose) violations.push(`acked-survives: the outcome of ${id} is gone after ${what}.`);
    else if (damage.stands(token))
      violations.push(`always-starts: the outcome of ${id} is gone after ${what}, and stands in an intact part.`);
  }
  const said = content.findings.map(({ code, severity }) => `${severity} ${code}`);
  // A cut at the end of what was written last looks like a write that was cut short; both are told as that.
  const isTold = content.findings.some(({ code, severity }) => severity !== 'info' || /torn/.test(code));
  if (lost.length > 0 && !isTold)
    violations.push(`always-starts: ${lost.length} outcomes are gone after ${what}, and nothing is said of it.`);
  const unexpected = content.findings.filter(
    ({ code, severity }) => (damage?.mayAlarm !== true && severity === 'loss') || (damage === undefined && !/torn/.test(code)),
  );
  if (unexpected.length > 0) violations.push(`always-starts: after ${what} it says ${said.join(', ')}.`);
  return { violations, lost: lost.map(([id]) => id) };
}

/** What the judge of loops has to know. The ledger says when a claim was there, and not when it was asked for: at some time before. */
function callsOf({ events, killedNs }: Worker, { excused }: History): WorkerHistory {
  const counted = events.filter(({ id, atNs }) => id !== undefined && BigInt(atNs) > (excused.get(id) ?? 0n));
  const tries = new Map<string, LoopCall & { readonly kind: 'end' }>();
  const calls: LoopCall[] = [];
  const over = new Set<string>();
  for (const { type, id = '', fence = 0, atNs } of counted) {
    const endMs = msOf(atNs);
    const call = { id, fence, startMs: endMs, endMs };
    const asked = tries.get(`${id} ${fence}`);
    if (type === 'began') calls.push({ kind: 'claim', ...call, startMs: 0, run: '' });
    // A worker that is killed before it is answered may have recorded it at any time after.
    if (type === 'worked') tries.set(`${id} ${fence}`, { kind: 'end', ...call, endMs: Number.POSITIVE_INFINITY, answer: 'unknown' });
    if (type === 'completed' || type === 'failed')
      tries.set(`${id} ${fence}`, { kind: 'end', ...call, startMs: asked?.startMs ?? endMs, answer: 'yes' });
    if (type === 'lost' || type === 'aborted') calls.push({ kind: 'told', ...call });
    // The first: what is given back later is a claim that was never begun, told under the fence of the one before.
    if ((type === 'given-back' || type === 'returned') && !over.has(`${id} ${fence}`)) {
      over.add(`${id} ${fence}`);
      calls.push({ kind: 'gave-back', ...call });
    }
  }
  return { calls: [...calls, ...tries.values()], leaseMs: 0, killedMs: killedNs === undefined ? undefined : msOf(killedNs) };
}

function msOf(ns: bigint | string): number {
  return Number(ns) / 1e6;
}

/** It takes the deaths of three processes that may have held it. */
function judgeQuarantine(id: string, workers: readonly Worker[]): string[] {
  const deaths = workers.filter(
    ({ killedNs, events }) => killedNs !== undefined && events.some((event) => event.type === 'asked' && event.id === id),
  );
  return deaths.length >= 3 ? [] : [`one-item: ${id} was quarantined after ${deaths.length} deaths.`];
}

function judgeExit({ number, child, killedNs, events }: Worker): string[] {
  const last = events.at(-1);
  if (events.some(({ type }) => type === 'went-backwards'))
    return [`acked-survives: worker ${number} found that the store went backwards.`];
  // One that was to close before it could listen is ended by the signal.
  const isEnded =
    killedNs !== undefined || last?.type === 'done' || last?.type === 'refused' || (last === undefined && child.signalCode === 'SIGTERM');
  if (isEnded) return [];
  return [
    `always-starts: worker ${number} ended with ${child.exitCode ?? child.signalCode}, and its last word was ${last?.type ?? 'none'}.`,
  ];
}

function textOf(item: { readonly output?: unknown; readonly reason?: string }): string {
  return `${JSON.stringify(item.output)} ${item.reason}`;
}
