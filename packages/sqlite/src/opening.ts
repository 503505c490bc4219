/** Opens a job of a database file, for writing or only to look at it. */
import { randomUUID } from 'node:crypto';
import { AbsentError, type LoopStateError, type RecoveryFinding, UnavailableError } from '@loopstate/core';
import { backupFailed, isBackupBehind, writeBackup } from './backup.js';
import { Checkpoints } from './checkpoints.js';
import { inTransaction, openAttached, type SqlConnection, type SqlValue, textOf, whenFree } from './connection.js';
import { updateFileHeader, writeFileHeader, writeJobHeader } from './headers.js';
import { type HeldInspection, type Inspection, inspect, inspectLeft } from './inspection.js';
import { dropLog, type KeptLog, keepLog, putLogBack } from './kept-log.js';
import { inspectLog, type LogKind } from './log-inspection.js';
import type { StoreNames } from './names.js';
import {
  assertUsable,
  type FileSystemType,
  makeDirectories,
  realFileSystemType,
  stampsOf,
  statIfPresent,
  syncDirectory,
  takeRights,
} from './place.js';
import { inspectCopy, passOverTornCommit, prepare, remedyFor, removeTemporaries } from './preparation.js';
import { Presence } from './presence.js';
import { CREATION, FORMAT, parseFileHeader, parseJobHeader, TABLE } from './records.js';
import { hasCode } from './trouble.js';

/** What opening needs of the world. */
export interface Surroundings {
  readonly job: string;
  readonly busyTimeoutMs: number;
  /** From when on the write-ahead log is taken into the database. */
  readonly logBytesMax: number;
  readonly fileSystemType: FileSystemType;
  /** Ms since the epoch. */
  readonly now: () => number;
}

/** What they are unless someone says otherwise. */
export const USUAL: Omit<Surroundings, 'job'> = {
  busyTimeoutMs: 15_000,
  // So long it gets by SQLite's own rule as well.
  logBytesMax: 4 * 1_024 * 1_024,
  fileSystemType: realFileSystemType,
  now: Date.now,
};

/** A database that is open. */
export interface OpenDatabase {
  /** With the file attached as `store`. */
  readonly connection: SqlConnection;
  readonly findings: readonly RecoveryFinding[];
  readonly survivesPowerLoss: boolean;
  /** Of the file, by which it is told from one that takes its place. */
  readonly inode: bigint | number | undefined;
  /** For one that is open for writing. */
  readonly checkpoints?: Checkpoints;
  /** Closes the connection; the last to close leaves a copy behind. Errors: those of SQLite, any system error; it is closed anyway. */
  close(): Promise<void>;
}

/** A database that is open for writing. */
export interface WritableDatabase extends OpenDatabase {
  /** As `close`; but the last to close first gives back the space that is not used, and always copies. False: others have it open. */
  closeCompacted(): Promise<boolean>;
}

/** Opens for writing. Errors: as `openSqliteBackend`, those of SQLite, any system error. */
export async function openForWriting(names: StoreNames, surroundings: Surroundings): Promise<WritableDatabase> {
  const { busyTimeoutMs, logBytesMax, now } = surroundings;
  const { survivesPowerLoss } = await assertUsable(names, { ...surroundings, access: 'write' });
  // A file that is to be refused gets nothing put beside it, not even a lock.
  const before = (await statIfPresent(names.presence)) === undefined ? await refuseOrKeepLog(names, surroundings.now()) : undefined;
  let connection: SqlConnection | undefined;
  const findings: RecoveryFinding[] = [];
  const whenAlone = async (): Promise<void> => {
    // At once: who ends while he prepares, or refuses, must not leave locks that the owner of the database may not use.
    await shareLocks(names);
    if (before === undefined) await removeTemporaries(names);
    // Another process may have been alone first, and may have died since.
    const isStale = before !== undefined && before.stamps !== (await stampsOf(names));
    if (isStale) await dropLog(before.log);
    const log = before === undefined || isStale ? await keepLog(names, surroundings.now()) : before.log;
    const prepared = await prepare(names, log, surroundings.now());
    try {
      findings.push(...prepared.findings);
      connection = await openSetUp(names, surroundings);
      await makeOpen(connection, surroundings);
      try {
        await shareLocks(names);
        // In the file itself, so that it is known even when the log is lost. The log keeps its frames: an empty one would count as lost.
        await connection.query('PRAGMA store.wal_checkpoint(RESTART)');
        await syncDirectory(names.directory);
        // What was only torn skipped few revisions: far less than the loss of all does.
        const isRepaired = prepared.findings.some(({ severity }) => severity !== 'info');
        // A disk that has no room for it is no reason not to start.
        await renewCopy(names, { isRepaired, now: now() }).catch((error: unknown) => findings.push(backupFailed(names, error)));
      } catch (error) {
        // The log goes with the connection, and nobody must think later that it was lost.
        await markClosed(connection).catch(() => undefined);
        throw error;
      }
    } finally {
      await prepared.release();
    }
  };
  // Before the others can leave: the last to close the file takes its log away, and who is killed then would have left a lost one.
  const whenOthers = async (): Promise<void> => {
    // The first of them has kept it.
    if (before !== undefined) await dropLog(before.log);
    // What stands there now, if anything, is not the file that they have open; they put what they know into the copy as they leave.
    const gone = new UnavailableError(`${names.database} was removed or replaced while others had it open: end those first.`);
    if ((await statIfPresent(names.database)) === undefined) throw gone;
    connection = await openSetUp(names, surroundings);
    if (!(await isMarkedOpen(connection))) throw gone;
  };
  let presence: Presence;
  try {
    await makeDirectories(names.directory);
    presence = await Presence.enter(names, { whenAlone, whenOthers });
  } catch (error) {
    await connection?.close();
    throw error;
  } finally {
    await before?.release();
  }
  let checkpoints: Checkpoints | undefined;
  let inode: OpenDatabase['inode'];
  try {
    if (connection === undefined) throw new TypeError('Whoever is present has the database open.');
    inode = (await statIfPresent(names.database))?.ino;
    await makeJob(connection, surroundings);
    const beside = await openSetUp(names, surroundings);
    checkpoints = new Checkpoints({ names, connection, beside, busyTimeoutMs, logBytesMax });
    if (findings.length > 0) await markTold(connection, surroundings);
    const writer = { connection, inode, checkpoints, presence, busyTimeoutMs, now };
    return {
      connection,
      checkpoints,
      findings,
      survivesPowerLoss,
      inode,
      close: async () => {
        await closeWriter(names, { ...writer, isCompacted: false });
      },
      closeCompacted: () => closeWriter(names, { ...writer, isCompacted: true }),
    };
  } catch (error) {
    await closeWriter(names, { connection, inode, checkpoints, presence, busyTimeoutMs, now, isCompacted: false });
    throw error;
  }
}

/**
 * A repair skipped revisions, counted from what was found. Were all of this lost with that copy still beside it, the same would be skipped
 * again, and what is given from now on be given twice. Without any copy nothing would tell of the loss: whoever is killed each time before
 * one is due never makes one. Errors: as `writeBackup`.
 */
async function renewCopy(names: StoreNames, { isRepaired, now }: { isRepaired: boolean; now: number }): Promise<void> {
  const isDue = isRepaired || ((await statIfPresent(names.backup)) === undefined && (await isBackupBehind(names)));
  if (isDue) await writeBackup(names, now);
}

/** Who may write the database may take its locks. */
async function shareLocks(names: StoreNames): Promise<void> {
  const like = (await statIfPresent(names.database)) ?? (await statIfPresent(names.backup));
  if (like === undefined) return;
  for (const path of [names.door, names.presence]) await takeRights(path, like);
}

/** For a place that nobody has had open. Errors: `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`, those of SQLite, any system error. */
async function refuseOrKeepLog(names: StoreNames, now: number): Promise<{ log: KeptLog; stamps: string; release: () => Promise<void> }> {
  const log = await keepLog(names, now);
  const { found: database, release } = await inspectLeft(names, 'first');
  try {
    const { copy } = await inspectCopy(names, database);
    const remedy = remedyFor(names.database, { database, copy, restored: await inspect(names.restored, 'first'), log: log.kind });
    if (remedy.do === 'refuse') throw remedy.error;
    return { log, stamps: await stampsOf(names), release };
  } catch (error) {
    await release();
    await putLogBack(names, log);
    throw error;
  }
}

/** Opens for reading; nothing is made, repaired or copied. Errors: as {@link openForWriting}, `LOOPSTATE_ABSENT` when there is no such job. */
export async function openForReading(names: StoreNames, surroundings: Surroundings): Promise<OpenDatabase> {
  const { survivesPowerLoss } = await assertUsable(names, { ...surroundings, access: 'read' });
  const { log, isLogLost, found, release } = await look(names);
  try {
    if (log === 'damaged')
      throw new UnavailableError(`${names.log} is damaged: opening the state for writing keeps it, and says what is lost.`);
    if (found.kind !== 'sound') throw await whyNotRead(names, found, log);
    const connection = await openAttached(names.database, 'store');
    const inode = (await statIfPresent(names.database))?.ino;
    const close = () => closeReader(names, connection, { isLogLost, inode });
    try {
      await setPragma(connection, names, { name: 'query_only', value: 1 });
      if (await hasJob(connection, surroundings.job)) return { connection, findings: [], survivesPowerLoss, inode, close };
      throw new AbsentError(`${names.database} has no job ${JSON.stringify(surroundings.job)}: there is nothing to read yet.`);
    } catch (error) {
      await close();
      throw error;
    }
  } finally {
    await release();
  }
}

/** What opening for writing would make of a database that can't be read as it is. */
async function whyNotRead(names: StoreNames, found: Inspection, log: LogKind): Promise<LoopStateError> {
  const { copy } = await inspectCopy(names, found);
  const remedy = remedyFor(names.database, { database: found, copy, restored: await inspect(names.restored, 'first'), log });
  if (remedy.do === 'refuse') return remedy.error;
  if (found.kind === 'damaged')
    return new UnavailableError(`${names.database} is damaged (${found.reason}): opening it for writing repairs it.`);
  if ((await statIfPresent(names.restored)) !== undefined)
    return new UnavailableError(`${names.database} is being repaired, or a repair was interrupted: opening it for writing finishes that.`);
  if (remedy.do === 'nothing') return new AbsentError(`${names.database} holds no state: there is nothing to read yet.`);
  return new UnavailableError(
    `${names.database} is gone or damaged, and what is left stands beside it: opening it for writing goes on from there.`,
  );
}

/** See {@link look}. */
interface Looked extends HeldInspection {
  /** `absent` also while someone writes to it. */
  readonly log: LogKind;
  /** Whoever had the database open did not close it, and its log is gone. */
  readonly isLogLost: boolean;
}

/** What stands there, and the log that a process left behind. */
async function look(names: StoreNames): Promise<Looked> {
  let log = 'absent' as LogKind;
  let held: HeldInspection | undefined;
  let isAlone = false;
  const hasLog = ((await statIfPresent(names.log))?.size ?? 0) > 0;
  if (hasLog) {
    const judge = async (): Promise<void> => {
      isAlone = true;
      log = await inspectLog(names.log);
      // One that is damaged is not shown to SQLite, which would take it away.
      if (log !== 'damaged') held = await inspectLeft(names, 'first');
    };
    await Presence.ifAlone(names, judge).catch(async (error) => {
      await held?.release();
      // Where nothing may be written there is no lock to be had; nor would SQLite take the log away, as it would one that can't be judged.
      if (isAlone) throw error;
    });
  }
  const release = async (): Promise<void> => undefined;
  if (log === 'damaged') return { log, isLogLost: false, found: { kind: 'absent' }, release };
  const looked = held ?? { found: await inspect(names.database, 'first'), release };
  return { log, isLogLost: !hasLog && looked.found.kind === 'sound' && looked.found.isOpen, ...looked };
}

/**
 * Whoever closes a database last takes its log into it. After a crash that may be a reader, and nobody must think later that the log was
 * lost; nor that all is well where it was, or where it ends in a commit that was cut short. What has taken the place of the database meanwhile
 * is none of the reader's.
 */
async function closeReader(
  names: StoreNames,
  connection: SqlConnection,
  { isLogLost, inode }: { isLogLost: boolean; inode: number | bigint | undefined },
): Promise<void> {
  try {
    if (!isLogLost && (await isStanding(names, inode)) && (await statIfPresent(names.log)) !== undefined) {
      await Presence.ifAlone(names, async () => {
        const log = await inspectLog(names.log);
        await connection.query('PRAGMA query_only = 0');
        if (log === 'torn') await passOverTornCommit(names, connection);
        if (log === 'whole') await markClosed(connection);
      });
    }
  } catch {
    // It may not be written here: then SQLite leaves the log as well.
  } finally {
    await connection.close();
  }
}

/** True if the file with that inode has its name still. */
async function isStanding({ database }: StoreNames, inode: OpenDatabase['inode']): Promise<boolean> {
  return inode !== undefined && (await statIfPresent(database))?.ino === inode;
}

async function openSetUp(names: StoreNames, surroundings: Surroundings): Promise<SqlConnection> {
  const connection = await openAttached(names.database, 'store');
  try {
    await setUp(connection, names, surroundings);
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/**
 * Sets what every commit relies on, and reads it back; on every connection, since what one has set says nothing of another.
 *
 * Errors: `LOOPSTATE_UNAVAILABLE` if a setting did not take.
 */
export async function setUp(
  connection: SqlConnection,
  names: StoreNames,
  { busyTimeoutMs }: Pick<Surroundings, 'busyTimeoutMs'>,
): Promise<void> {
  await whenFree(busyTimeoutMs, async () => {
    await setPragma(connection, names, { name: 'store.journal_mode', value: 'wal' });
    // FULL: the log is synced before a commit returns.
    await setPragma(connection, names, { name: 'store.synchronous', value: 2 });
    // None by SQLite itself: see checkpoints.ts.
    await setPragma(connection, names, { name: 'wal_autocheckpoint', value: 0 });
    // Damage is noticed when a page is read, not when it does harm.
    await setPragma(connection, names, { name: 'cell_size_check', value: 1 });
  });
}

/** Errors: `LOOPSTATE_UNAVAILABLE` if it did not take. */
async function setPragma(connection: SqlConnection, { database }: StoreNames, pragma: { name: string; value: SqlValue }): Promise<void> {
  await connection.query(`PRAGMA ${pragma.name} = ${pragma.value}`);
  const [row = {}] = await connection.query(`PRAGMA ${pragma.name}`);
  const [actual] = Object.values(row);
  if (actual === pragma.value) return;
  throw new UnavailableError(
    `SQLite did not set ${pragma.name} to ${pragma.value} for ${database} (it is ${String(actual)}), so it would not be safe there: name another place.`,
  );
}

/** In one transaction: a table whose file has no header is taken for damaged. */
async function makeOpen(connection: SqlConnection, { busyTimeoutMs }: Surroundings): Promise<void> {
  await whenFree(busyTimeoutMs, () =>
    inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      await connection.query(CREATION);
      await markOpen(connection, true);
    }),
  );
}

/** Notes in the file whether someone has it open; makes the header of a new one. */
async function markOpen(connection: SqlConnection, isOpen: boolean): Promise<void> {
  const [row] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = '' AND key = ''`);
  if (row === undefined) return await writeFileHeader(connection, { format: FORMAT, store: randomUUID(), isOpen, untold: [] }, 0);
  await updateFileHeader(connection, { ...parseFileHeader(textOf(row, 'value')), isOpen });
}

/**
 * Notes in the file that nobody has it open any more: the log goes with the last connection, and without the note it would be missed. On a full
 * disk it is taken in first, and then written over from the front, which takes no space.
 */
async function markClosed(connection: SqlConnection): Promise<void> {
  try {
    await markOpen(connection, false);
  } catch (error) {
    if (!hasCode(error, 'SQLITE_FULL')) throw error;
    await connection.query('PRAGMA store.wal_checkpoint(PASSIVE)');
    await markOpen(connection, false);
  }
}

/** False also where there is none of our tables. */
async function isMarkedOpen(connection: SqlConnection): Promise<boolean> {
  const tables = await connection.query("SELECT name FROM store.sqlite_schema WHERE name = 'loopstate_records'");
  if (tables.length === 0) return false;
  const [row] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = '' AND key = ''`);
  return row !== undefined && parseFileHeader(textOf(row, 'value')).isOpen;
}

/** Who opens it tells what a repair found; until then the next one would. */
async function markTold(connection: SqlConnection, { busyTimeoutMs }: Surroundings): Promise<void> {
  await whenFree(busyTimeoutMs, () =>
    inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      const [row = {}] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = '' AND key = ''`);
      await updateFileHeader(connection, { ...parseFileHeader(textOf(row, 'value')), untold: [] });
    }),
  );
}

async function hasJob(connection: SqlConnection, job: string): Promise<boolean> {
  const [row] = await connection.query(`SELECT value FROM ${TABLE} WHERE job = ?1 AND key = ''`, [job]);
  return row !== undefined && parseJobHeader(textOf(row, 'value')).forgotten >= 0;
}

async function makeJob(connection: SqlConnection, { job, busyTimeoutMs }: Surroundings): Promise<void> {
  await whenFree(busyTimeoutMs, () =>
    inTransaction(connection, 'BEGIN IMMEDIATE', async () => {
      if (!(await hasJob(connection, job))) await writeJobHeader(connection, job, { forgotten: 0 });
    }),
  );
}

interface Writer {
  readonly connection: SqlConnection | undefined;
  readonly inode: OpenDatabase['inode'];
  readonly checkpoints: Checkpoints | undefined;
  readonly presence: Presence;
  readonly isCompacted: boolean;
  readonly busyTimeoutMs: number;
  readonly now: () => number;
}

/** True if it was the last to close. */
async function closeWriter(names: StoreNames, writer: Writer): Promise<boolean> {
  const { connection, inode, checkpoints, presence, isCompacted, busyTimeoutMs, now } = writer;
  let isClosed = false;
  let isLast = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    try {
      await checkpoints?.close();
    } finally {
      await connection?.close();
    }
  };
  try {
    await presence.leave({
      async whenLast() {
        // Others may write to the file that are none of ours.
        if (connection !== undefined) await whenFree(busyTimeoutMs, () => markClosed(connection));
        if (connection !== undefined && isCompacted) await compact(connection, busyTimeoutMs);
        await close();
        // What has taken the place of the database meanwhile is none of ours.
        if ((await isStanding(names, inode)) && (isCompacted || (await isBackupBehind(names)))) await writeBackup(names, now());
        isLast = true;
      },
      whenOthers: close,
    });
    return isLast;
  } finally {
    await close();
  }
}

/** While nobody else has the database open to write. A crash in between leaves it as it was. */
async function compact(connection: SqlConnection, busyTimeoutMs: number): Promise<void> {
  await whenFree(busyTimeoutMs, () => connection.query('VACUUM store'));
  await connection.query('PRAGMA store.wal_checkpoint(TRUNCATE)');
}
