/** Opens a store for writing: takes the lock, recovers what is there, and makes that durable before anyone acts on it. */
import { randomUUID } from 'node:crypto';
import type { RecoveryFinding } from '@loopstate/core';
import { type Disk, type FileStamp, makeDirectories, unlinkIfPresent } from './disk.js';
import type { FileRole } from './found-store.js';
import { JournalFile } from './journal-file.js';
import type { HeldLock, Lock } from './lock.js';
import type { StoreNames } from './names.js';
import { RecordLog } from './record-log.js';
import { type ImportOldFormat, type Recovered, recoverStore } from './recovery.js';
import { SnapshotFile } from './snapshot-file.js';
import { FileStore } from './store.js';
import { assertUsable, readStoreFiles } from './store-files.js';
import { assertNothingMissing } from './unreadable-files.js';

/** What opening needs of the world. */
export interface Surroundings {
  readonly disk: Disk;
  readonly lock: Lock;
  readonly importOldFormat: ImportOldFormat;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** Compaction starts when the journal has outgrown the snapshot, and this. */
  readonly compactAtBytes: number;
  /** The space that a journal is given at first. */
  readonly journalSpaceBytes: number;
  /** The size up to which a file can be read again. */
  readonly readableBytesMax: number;
}

/** A store that is open, with its lock. */
export interface OpenStore {
  readonly store: FileStore;
  readonly survivesPowerLoss: boolean;
  /** Closes the store, then gives the lock back. */
  close(): Promise<void>;
}

/** Opens the store of `names`. Errors: as `openFileBackend`, and any system error. */
export async function openStore(names: StoreNames, surroundings: Surroundings): Promise<OpenStore> {
  const { disk, lock } = surroundings;
  await assertUsable(disk, names);
  // A file that is to be refused gets nothing put beside it, not even a lock.
  if ((await disk.stamp(names.state)) !== undefined && (await disk.stamp(names.lock)) === undefined) await recover(names, surroundings);
  await makeDirectories(disk, names.directory);
  const held = await lock.acquire(names);
  try {
    return await openLocked(names, surroundings, held);
  } catch (error) {
    await held.release();
    throw error;
  }
}

/** What the files amount to, changing none of them. Errors: as `recoverStore` and `assertNothingMissing`, and any system error. */
export async function recover(
  names: StoreNames,
  surroundings: Surroundings,
): Promise<{ recovered: Recovered; stamp: FileStamp | undefined }> {
  for (let all = false; ; all = true) {
    const { files, stamp, unreadable } = await readStoreFiles(surroundings.disk, names, { all });
    const recovered = recoverStore(files, {
      pathOf: (role) => pathOf(names, role),
      importOldFormat: surroundings.importOldFormat,
      newStore: randomUUID(),
      at: surroundings.now(),
    });
    if (recovered !== undefined) return { recovered: assertNothingMissing(recovered, unreadable, (role) => pathOf(names, role)), stamp };
  }
}

async function openLocked(names: StoreNames, surroundings: Surroundings, held: HeldLock): Promise<OpenStore> {
  const { disk, now, compactAtBytes, journalSpaceBytes, readableBytesMax } = surroundings;
  for (const path of names.temporariesAmong(await disk.list(names.directory))) await unlinkIfPresent(disk, path);
  const { recovered, stamp } = await recover(names, surroundings);
  // Random numbers for this are taken many at once.
  const temporary = () => names.temporary(randomUUID().replaceAll('-', '').slice(0, 16));
  const { stateGeneration, previousGeneration, needsSecondCopy, resume } = recovered;
  const known = stateGeneration > 0 ? stamp : undefined;
  const snapshots = new SnapshotFile(
    { disk, names, store: recovered.store, temporary, now, readableBytesMax },
    { known, generation: stateGeneration, previousGeneration },
  );
  const findings = await putAside(names, recovered, snapshots);
  const log = logOf(recovered);
  const journal = resume === undefined ? undefined : await JournalFile.resume(disk, names, { ...resume, spaceBytes: journalSpaceBytes });
  const store = new FileStore({
    ...recovered,
    disk,
    names,
    log,
    snapshots,
    assertHeld: () => held.assertHeld(),
    temporary,
    now,
    compactAtBytes,
    journalSpaceBytes,
    readableBytesMax,
    findings,
    ...(journal === undefined ? {} : { journal }),
  });
  try {
    if (journal === undefined) {
      // Durable before anyone acts on it: what was recovered may have been read from memory, not from the disk.
      const isLoss = findings.some(({ severity }) => severity === 'loss');
      await store.startAnew({ closed: false, untold: isLoss || undefined });
    }
    const survivesPowerLoss = await disk.survivesPowerLoss(names.directory);
    if (journal === undefined) {
      // At last, and nothing after it may fail: once it stands, a loss that was found is taken for told.
      const isDone = !(needsSecondCopy || store.isPreviousBehind) || (await store.startAnewAgain());
      if (isDone) await removeAsides(names, recovered, disk);
    }
    return openStoreOf(store, survivesPowerLoss, held);
  } catch (error) {
    await store.abandon();
    throw error;
  }
}

function openStoreOf(store: FileStore, survivesPowerLoss: boolean, held: HeldLock): OpenStore {
  return {
    store,
    survivesPowerLoss,
    async close() {
      try {
        await store.close();
      } finally {
        await held.release();
      }
    },
  };
}

/** The records of a recovered state, ready for use. */
export function logOf({ blocks, entries, forgotten }: Pick<Recovered, 'blocks' | 'entries' | 'forgotten'>): RecordLog {
  const log = RecordLog.ofBlocks(blocks, forgotten);
  for (const entry of entries) log.append(entry);
  return log;
}

/** Gives each file that is to be put aside its second name; returns the findings, which say where. */
async function putAside(names: StoreNames, recovered: Recovered, snapshots: SnapshotFile): Promise<RecoveryFinding[]> {
  const reported: RecoveryFinding[] = [];
  for (const { aside, ...finding } of recovered.findings) {
    if (aside === undefined) reported.push(finding);
    else {
      const isOriginal = finding.code === 'old-format-imported' || finding.code === 'old-format-salvaged';
      const keptAs = await snapshots.putAside(pathOf(names, aside), isOriginal ? 'original' : 'damaged');
      reported.push({ ...finding, message: `${finding.message} It is kept as ${keptAs}.`, keptAs });
    }
  }
  return reported;
}

/** Once a new generation stands, what was put aside needs its old name no more. Never rejects: what keeps it is found by the next start again. */
async function removeAsides(names: StoreNames, recovered: Recovered, disk: Disk): Promise<void> {
  const isPreviousReplaced = recovered.stateGeneration > 0 || recovered.needsSecondCopy;
  for (const { aside } of recovered.findings) {
    const isLeft = typeof aside === 'number' || (aside === 'previous' && !isPreviousReplaced);
    if (isLeft) await unlinkIfPresent(disk, pathOf(names, aside)).catch(() => undefined);
  }
}

function pathOf(names: StoreNames, role: FileRole): string {
  if (role === 'state') return names.state;
  return role === 'previous' ? names.previous : names.journal(role);
}
