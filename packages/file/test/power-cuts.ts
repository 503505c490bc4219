/**
 * Power cuts at every moment of a run on a modelled disk, with recovery cut in turn: sweeps that any store which opens on such a
 * disk can be put through. A sweep ends at the first violation.
 */
import { type Commit, isLoopStateError, type StateBackend } from '@loopstate/core';
import type { CrashPoint } from './crash-point.js';
import { type CrashState, crashStates } from './crash-states.js';
import { Ledger } from './ledger.js';
import { forgetOpenStores, ModelledDisk, systemError } from './modelled-disk.js';

/** Opens the store of a disk; one that this process had open there was killed before. */
export type Open = (disk: ModelledDisk) => Promise<StateBackend>;

/** A run of which every moment was recorded. */
export interface Run {
  readonly disk: ModelledDisk;
  readonly ledger: Ledger;
}

/** What a sweep went through. */
export interface Sweep {
  readonly states: number;
  readonly violation?: string;
}

/** How long a run is. */
export interface RunSize {
  readonly rounds: number;
  readonly groupCommits: number;
}

/**
 * Commits alone and in groups of `groupCommits` over compactions, with a clean close and a reopening after half of the rounds. What is
 * refused for trouble with the disk is not tried again; the run goes on.
 */
export async function recordRun(open: Open, { rounds, groupCommits }: RunSize, disk = new ModelledDisk()): Promise<Run> {
  disk.isRecording = true;
  disk.isSlow = true;
  const ledger = new Ledger();
  const commit = (commit: Commit) => orTrouble(() => ledger.commit(backend, commit, () => disk.calls));
  const openAgain = async () => (await orTrouble(() => open(disk))) ?? (await open(disk));
  let backend = await openAgain();
  for (let round = 0; round < rounds; round++) {
    if (round === rounds >>> 1) {
      await backend.close();
      backend = await openAgain();
    }
    const group = Array.from({ length: groupCommits }, (_, place) => groupCommit(ledger, round, place));
    const isTogether = round % 3 !== 0;
    for (const part of isTogether ? [group] : group.map((one) => [one])) {
      if (round % 2 === 1) await commit({ puts: [{ key: 'w', value: ledger.mark() }], durability: 'written' });
      await Promise.all(part.map(commit));
    }
  }
  await backend.close();
  return { disk, ledger };
}

async function orTrouble<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    if (!isLoopStateError(error)) throw error;
    return undefined;
  }
}

function groupCommit(ledger: Ledger, round: number, place: number): Commit {
  const value = ledger.mark();
  if (place % 2 === 1) return { puts: [{ key: 'b', value }], deletes: [`item/${round - 2}.${place - 1}`] };
  return {
    puts: [
      { key: 'a', value: ledger.mark() },
      { key: `item/${round}.${place}`, value },
    ],
  };
}

/** Recovers every state that a cut at any moment may leave, and goes on with it. */
export function sweepPowerCuts({ disk, ledger }: Run, open: Open): Promise<Sweep> {
  const seen = new Set<string>();
  return sweep(
    cutsOf(disk.crashPoints, (point) => crashStates(point, 'bytes', seen)),
    async ({ point, files }) => {
      const left = ModelledDisk.holding(files);
      const backend = await reopen(open, left);
      const wrong = [...(await ledger.judge(backend, point.call - 1)), ...alarms(backend)];
      return wrong.length > 0 ? wrong : await tryOn(backend, left, { open, highest: ledger.highestRevision(point.call - 1) });
    },
  );
}

/**
 * Recovers every state that a cut at any moment may leave, and every state that a cut of that recovery may leave; recovers again what
 * was recovered.
 */
export function sweepRecoveryCuts(run: Run, open: Open): Promise<Sweep> {
  return sweep(recoveryCuts(run, open), async ({ point, files, isDamaged }) => {
    const left = ModelledDisk.holding(files);
    const backend = await reopen(open, left);
    const recovered = await contents(backend);
    const wrong = [...(await run.ledger.judge(backend, point.call - 1)), ...(isDamaged ? [] : alarms(backend))];
    return [...wrong, ...differences(recovered, await contents(await reopen(open, left)))];
  });
}

async function* recoveryCuts({ disk }: Run, open: Open) {
  const seen = new Set<string>();
  const seenInRecovery = new Set<string>();
  for (const first of cutsOf(disk.crashPoints, (point) => crashStates(point, 'lines', seen))) {
    yield { ...first, isDamaged: false };
    const left = ModelledDisk.holding(first.files);
    left.isRecording = true;
    // What looked like damage once may be reported again.
    const isDamaged = (await reopen(open, left)).recovery.some(({ severity }) => severity !== 'info');
    for (const { label, files } of cutsOf(left.crashPoints, (point) => crashStates(point, 'lines', seenInRecovery)))
      yield { ...first, label: `${first.label}; in recovery ${label}`, files, isDamaged };
  }
}

/** Kills the run at every moment, opens what is left, and cuts: then, after one more commit, and after closing. */
export function sweepKills({ disk }: Run, open: Open): Promise<Sweep> {
  return sweep(cutsAfterKills(disk.crashPoints, open), async ({ files, reported }) => {
    const backend = await reopen(open, ModelledDisk.holding(files));
    return [...differences(reported, await contents(backend)), ...alarms(backend)];
  });
}

async function* cutsAfterKills(points: readonly CrashPoint[], open: Open) {
  for (const point of points.flatMap(killsAt)) {
    const disk = ModelledDisk.killedAt(point);
    const backend = await reopen(open, disk);
    const reported = await contents(backend);
    const steps = [
      async () => {},
      async () => {
        const result = await backend.commit({ puts: [{ key: 'after', value: true }] });
        reported.push(`after@${result.ok && result.revision} true`);
      },
      () => backend.close(),
    ];
    for (const [place, step] of steps.entries()) {
      await step();
      for (const { label, files } of crashStates(disk.crashPoint(), 'lines'))
        yield { label: `killed at call ${point.call}, step ${place}: ${label}`, files, reported };
    }
  }
}

/** What a kill leaves at a moment: all that was written, or half of the last write to one of the files. */
function killsAt(point: CrashPoint): CrashPoint[] {
  const halves = [...point.inodes].flatMap(([id, { durable, pending }]) => {
    const last = pending.at(-1);
    if (last === undefined) return [];
    const half = { ...last, bytes: last.bytes.subarray(0, last.bytes.length >>> 1) };
    return [{ ...point, inodes: new Map([...point.inodes, [id, { durable, pending: [...pending.slice(0, -1), half] }]]) }];
  });
  return [point, ...halves];
}

/**
 * Lets the run be made with one sync after another failing, once, and cuts it at every moment from then on. `failedSyncs` says what
 * becomes of what such a sync was to make durable.
 */
export function sweepFailedSyncs(open: Open, size: RunSize, failedSyncs: ModelledDisk['failedSyncs']): Promise<Sweep> {
  return sweep(cutsAfterFailedSyncs(open, size, failedSyncs), async ({ point, files, ledger }) =>
    ledger.judge(await reopen(open, ModelledDisk.holding(files)), point.call - 1),
  );
}

async function* cutsAfterFailedSyncs(open: Open, size: RunSize, failedSyncs: ModelledDisk['failedSyncs']) {
  for (let failing = 0, hasFailed = true; hasFailed; failing++) {
    const disk = new ModelledDisk();
    disk.failedSyncs = failedSyncs;
    hasFailed = false;
    let syncs = 0;
    disk.fault = ({ name, path }) => {
      if (!['sync', 'syncOfWrite', 'syncDirectory'].includes(name) || syncs++ !== failing) return undefined;
      hasFailed = true;
      disk.crashPoints.length = 0;
      return systemError('EIO', path);
    };
    const { ledger } = await recordRun(open, size, disk);
    const seen = new Set<string>();
    for (const cut of cutsOf(hasFailed ? disk.crashPoints : [], (point) => crashStates(point, 'lines', seen)))
      yield { ...cut, label: `sync ${failing} failed; ${cut.label}`, ledger };
  }
}

/** The last moments first: of two cuts that leave the same, the later one has more acknowledged. */
function* cutsOf(points: readonly CrashPoint[], statesOf: (point: CrashPoint) => Iterable<CrashState>) {
  for (const point of points.toReversed()) for (const state of statesOf(point)) yield { ...state, point };
}

async function sweep<T extends { readonly label: string }>(
  cases: Iterable<T> | AsyncIterable<T>,
  judge: (one: T) => Promise<readonly string[]>,
): Promise<Sweep> {
  let states = 0;
  for await (const one of cases) {
    states++;
    const wrong = await judge(one).catch((error: unknown) => {
      if (!isLoopStateError(error)) throw error;
      return [error.message];
    });
    if (wrong.length > 0) return { states, violation: [one.label, ...wrong].join('\n') };
  }
  return { states };
}

/** Opens what a process left that was killed. */
async function reopen(open: Open, disk: ModelledDisk): Promise<StateBackend> {
  forgetOpenStores();
  return await open(disk);
}

/** Commits, closes and opens again. */
async function tryOn(backend: StateBackend, disk: ModelledDisk, { open, highest }: { open: Open; highest: number }): Promise<string[]> {
  const before = await contents(backend);
  const result = await backend.commit({ puts: [{ key: 'after', value: true }] });
  if (!result.ok || result.revision <= highest) return [`committed under ${result.ok ? result.revision : 'nothing'}, not above ${highest}`];
  await backend.close();
  const again = await open(ModelledDisk.holding(disk.files()));
  const expected = [...before, `after@${result.revision} true`];
  return [...differences(expected, await contents(again)), ...again.recovery.map(({ code }) => `reopened: ${code}`)];
}

/** What was taken for damage, and is none. Lines of one write may be left without those before them: that looks like damage. */
function alarms({ recovery }: StateBackend): string[] {
  return recovery.flatMap(({ code, severity }) => (severity === 'info' || code === 'journal-damaged' ? [] : [`alarm: ${code}`]));
}

/** The records, one a line. */
async function contents(backend: StateBackend): Promise<string[]> {
  const found: string[] = [];
  for await (const { key, record, revision } of backend.changes(0)) found.push(`${key}@${revision} ${JSON.stringify(record?.value)}`);
  return found;
}

function differences(expected: readonly string[], found: readonly string[]): string[] {
  return expected.join('\n') === found.join('\n') ? [] : [`expected ${expected.join('; ')}, found ${found.join('; ')}`];
}
