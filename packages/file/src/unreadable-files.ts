/** Files that the disk could not read, which recovery takes for empty ones: what may be done without them. */
import type { FileRole } from './found-store.js';
import type { FileFinding, Recovered } from './recovery.js';
import { unavailable } from './trouble.js';

/** Of each file that could not be read, the error. */
export type UnreadableFiles = ReadonlyMap<FileRole, unknown>;

/**
 * What was recovered without these files, which is told; it has to be all, since the next try may be able to read them.
 *
 * Errors: `LOOPSTATE_UNAVAILABLE` when they may hold what no other file does.
 */
export function assertNothingMissing(recovered: Recovered, unreadable: UnreadableFiles, pathOf: (role: FileRole) => string): Recovered {
  const [first] = unreadable;
  if (first === undefined) return recovered;
  const isBased = recovered.stateGeneration > 0 || recovered.newest !== undefined;
  const isAll = isBased && recovered.findings.every(({ code, severity }) => severity !== 'loss' && code !== 'snapshot-empty');
  if (!isAll) throw unavailable(first[1], `${pathOf(first[0])} cannot be read, and what it holds may stand nowhere else`);
  const paths = new Set([...unreadable.keys()].map(pathOf));
  const findings = recovered.findings.map((found) => (paths.has(found.where) ? { ...found, message: `${found.message} ${WHY}` } : found));
  const told = new Set(findings.map(({ where }) => where));
  return { ...recovered, findings: [...findings, ...[...paths].filter((path) => !told.has(path)).map(notNeeded)] };
}

const WHY = 'The disk could not read it: look at the system log, and at the disk.';

/** A journal that only the previous snapshot would need: nobody touches it. */
function notNeeded(where: string): FileFinding {
  return { code: 'journal-damaged', severity: 'warning', where, message: `${where} is not needed now. ${WHY}` };
}
