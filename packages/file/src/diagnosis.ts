/** Looks at a state file and what is beside it, and changes nothing; what is found is judged in `judge-file.ts`. */
import { join } from 'node:path';
import {
  type DiagnoseOptions,
  type Diagnosis,
  isLoopStateError,
  LoopStateError,
  learnPlace,
  type PlaceFacts,
  recordsFromOldFormat,
  unusablePlace,
} from '@loopstate/core';
import { type Disk, nodeDisk } from './disk.js';
import { FileReader } from './file-reader.js';
import { type FileContent, type FileFacts, judgeFile } from './judge-file.js';
import { kernelLock, lookAtLock } from './lock.js';
import { StoreNames } from './names.js';
import { logOf, recover, type Surroundings } from './opening.js';
import type { LogEntry } from './record-log.js';
import { toRecord } from './record-log.js';
import { resolveStatePath } from './store-files.js';
import { READABLE_BYTES_MAX } from './store-size.js';
import { unavailable } from './trouble.js';

/** Options of {@link diagnoseFile}. */
export interface DiagnoseFileOptions extends DiagnoseOptions {
  /** For tests. */
  readonly disk?: Disk;
}

/**
 * Says what the state file at `path` is like, without changing anything: no lock is kept, no file is made or written. Beside a process that
 * has it open it looks on.
 *
 * Errors: `LOOPSTATE_BAD_OPTION` (no path). Whatever else is wrong is a finding.
 */
export async function diagnoseFile(
  path: string,
  { disk = nodeDisk, onRecord = () => undefined }: DiagnoseFileOptions = {},
): Promise<Diagnosis> {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new LoopStateError('LOOPSTATE_BAD_OPTION', 'A state file needs a path, such as ./state.json.');
  }
  const about = { backend: 'file', reach: 'process' } as const;
  let looked: Awaited<ReturnType<typeof gather>>;
  try {
    looked = await gather(new StoreNames(await resolveStatePath(disk, path)), disk);
  } catch (error) {
    return { ...about, where: path, findings: [unusablePlace(path, unavailable(error, `${path} cannot be looked at`).message)] };
  }
  const { facts, entries } = looked;
  for (const entry of entries) if (entry.text !== undefined) onRecord(toRecord(entry));
  const { lock } = facts.lock;
  const isHeld = lock === 'held' || lock === 'free' ? { isHeld: lock === 'held' } : {};
  return { ...about, where: facts.place.path, findings: judgeFile(facts), ...isHeld };
}

async function gather(names: StoreNames, disk: Disk): Promise<{ facts: FileFacts; entries: readonly LogEntry[] }> {
  const place = await learnPlace(names.state);
  const before = await askLock(names);
  let { content, entries } = await read(names, place, { disk, isHeld: before.lock === 'held' });
  const lock = await askLock(names);
  // Someone began meanwhile: what looked like damage may have been a write that was under way.
  if (lock.lock === 'held' && before.lock !== 'held') ({ content, entries } = await read(names, place, { disk, isHeld: true }));
  const facts: FileFacts = {
    place,
    survivesPowerLoss: await disk.survivesPowerLoss(place.nearestDirectory),
    storeBytes: await bytesOf(names, place, disk),
    temporaries: lock.lock === 'held' ? [] : names.temporariesAmong(place.names),
    putAside: names.asidesAmong(place.names),
    lock,
    content,
  };
  return { facts, entries };
}

async function askLock(names: StoreNames): Promise<FileFacts['lock']> {
  try {
    return await lookAtLock(names);
  } catch (error) {
    if (!isLoopStateError(error, 'LOOPSTATE_LOCK_UNAVAILABLE')) throw error;
    return { lock: 'unavailable', reason: error.message };
  }
}

interface Read {
  readonly content: FileContent;
  readonly entries: readonly LogEntry[];
}

async function read(names: StoreNames, place: PlaceFacts, { disk, isHeld }: { disk: Disk; isHeld: boolean }): Promise<Read> {
  const surroundings: Surroundings = {
    disk,
    lock: kernelLock,
    importOldFormat: recordsFromOldFormat,
    now: Date.now,
    compactAtBytes: 0,
    journalSpaceBytes: 0,
    readableBytesMax: READABLE_BYTES_MAX,
  };
  if (place.kind !== 'absent' && !place.isReadable) return { content: { kind: 'unknown' }, entries: [] };
  const siblings = place.names.filter((name) => join(names.directory, name) === names.previous);
  const isAbsent = place.kind === 'absent' && siblings.length + names.journalsAmong(place.names).length === 0;
  if (isAbsent) return { content: { kind: 'absent' }, entries: [] };
  try {
    const { entries, findings } = isHeld ? await readBeside(names, surroundings) : await readAlone(names, surroundings);
    const records = entries.filter(({ text }) => text !== undefined).length;
    return { content: { kind: 'read', records, findings }, entries };
  } catch (error) {
    const refusal = unavailable(error, `${names.state} cannot be read`);
    return { content: refusal.code === 'LOOPSTATE_ABSENT' ? { kind: 'absent' } : { kind: 'refused', error: refusal }, entries: [] };
  }
}

/** As the next to open it would. */
async function readAlone(names: StoreNames, surroundings: Surroundings) {
  const { recovered } = await recover(names, surroundings);
  return { entries: logOf(recovered).slice(0, Number.POSITIVE_INFINITY), findings: recovered.findings };
}

/** As one who follows the process that writes. */
async function readBeside(names: StoreNames, surroundings: Surroundings) {
  const reader = await FileReader.open(names, surroundings);
  const entries = (await reader.refresh()).slice(0, Number.POSITIVE_INFINITY);
  await reader.close();
  return { entries, findings: reader.findings };
}

async function bytesOf(names: StoreNames, place: PlaceFacts, disk: Disk): Promise<number> {
  const paths = [names.state, names.previous, ...names.journalsAmong(place.names).map((generation) => names.journal(generation))];
  const stamps = await Promise.all(paths.map((path) => disk.stamp(path)));
  return stamps.reduce((sum, stamp) => sum + (stamp?.sizeBytes ?? 0), 0);
}
