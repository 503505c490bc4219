/**
 * The write-ahead log as it was found, kept while SQLite looks at the database: whoever closes it last removes the log, with all that was
 * wrong in it.
 */
import fs from 'node:fs/promises';
import { inspectLog, type LogKind } from './log-inspection.js';
import type { StoreNames } from './names.js';
import { freeTime, statIfPresent, syncDirectory, takeRights } from './place.js';
import { hasCode } from './trouble.js';

/** What the log was, and where there is a copy of one that is not whole. */
export interface KeptLog {
  readonly kind: LogKind;
  readonly copy?: string;
}

/** Called while nobody has the database open. Errors: any system error. */
export async function keepLog(names: StoreNames, now: number): Promise<KeptLog> {
  const kind = await inspectLog(names.log);
  if (kind === 'absent' || kind === 'whole') return { kind };
  // What is torn was never acknowledged: it is kept only until it is certain that the place is ours.
  const copy = await copyTo(names.log, async () =>
    kind === 'torn' ? names.temporary() : names.aside(names.log, await freeTime(names, [names.log], now)),
  );
  const like = await statIfPresent(names.log);
  if (like !== undefined) await takeRights(copy, like); // It may have to take the place of the log.
  const file = await fs.open(copy, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectory(names.directory);
  return { kind, copy };
}

/** Copies a file to where `choose` says, which another may have taken meanwhile; resolves to that place. Errors: any system error. */
async function copyTo(path: string, choose: () => Promise<string>): Promise<string> {
  for (;;) {
    const copy = await choose();
    try {
      await fs.copyFile(path, copy, fs.constants.COPYFILE_EXCL);
      return copy;
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  }
}

/** Leaves the log as it was: the place is refused. Errors: any system error. */
export async function putLogBack(names: StoreNames, { copy }: KeptLog): Promise<void> {
  if (copy === undefined) return;
  if ((await statIfPresent(names.log)) === undefined) await fs.rename(copy, names.log);
  else await fs.rm(copy);
  await syncDirectory(names.directory);
}

/** Drops what was kept only for that. Errors: any system error. */
export async function dropTornLog(log: KeptLog): Promise<void> {
  if (log.kind === 'torn') await dropLog(log);
}

/** Drops what was kept: it was not the log of what is there now. Errors: any system error. */
export async function dropLog({ copy }: KeptLog): Promise<void> {
  if (copy !== undefined) await fs.rm(copy, { force: true });
}
