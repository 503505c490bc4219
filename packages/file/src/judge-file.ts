/** What is to be said of a state file: pure, from facts to findings. */
import {
  type DiagnosisFinding,
  judgePlace,
  type LockHolder,
  type LoopStateError,
  noState,
  type PlaceUse,
  type RecoveryFinding,
  sentence,
} from '@loopstate/core';
import type { FindingCode } from './findings.js';
import type { LockFacts } from './lock.js';

/** What the files hold. */
export type FileContent =
  | { readonly kind: 'absent' }
  /** It was not read: the path is no file, or not for this user. */
  | { readonly kind: 'unknown' }
  /** Opening would refuse it. */
  | { readonly kind: 'refused'; readonly error: LoopStateError }
  | { readonly kind: 'read'; readonly records: number; readonly findings: readonly RecoveryFinding[] };

/** What {@link judgeFile} judges. */
export interface FileFacts extends PlaceUse {
  readonly lock: LockFacts | { readonly lock: 'unavailable'; readonly reason: string };
  readonly content: FileContent;
}

/** The ids of {@link judgeFile} besides those of a place and of damage, each with what it means. */
export const FILE_DIAGNOSES = {
  held: 'A process has the state open.',
  'lock-free': 'No process has the state open.',
  'holder-left': 'The last process that had the state open did not close it.',
  'lock-unavailable': 'This machine, or this user, can not take the lock.',
  foreign: 'The file holds something that loopstate did not write.',
  'newer-format': 'A newer loopstate wrote the file.',
  'old-format': 'The file has an older format, which the next start takes over.',
  'old-format-torn': 'The same, and it is torn.',
  records: 'How many records can be read.',
} as const;

/** What a finding of recovery is called here. */
const IDS: Readonly<Partial<Record<string, string>>> = {
  'old-format-imported': 'old-format',
  'old-format-salvaged': 'old-format-torn',
} satisfies Partial<Record<FindingCode, keyof typeof FILE_DIAGNOSES>>;

/** See the file's comment. */
export function judgeFile(facts: FileFacts): DiagnosisFinding[] {
  const { path } = facts.place;
  return [...judgePlace(facts), ...judgeLock(facts.lock, path), ...judgeContent(facts.content, path)];
}

function judgeLock(facts: FileFacts['lock'], path: string): DiagnosisFinding[] {
  switch (facts.lock) {
    case 'held': {
      const found = `${path} is in use by ${holderText(facts.holder)}.`;
      const remedy = 'Wait until it ends, or stop it; `loopstate status` looks on meanwhile, and a sqlite: or redis: state can be shared.';
      return [{ id: 'held', severity: 'problem', where: path, found, remedy }];
    }
    case 'unknown': {
      const found = `This user may not open ${path}.lock, by which one process keeps the others out.`;
      return [{ id: 'lock-unavailable', severity: 'problem', where: path, found, remedy: 'Run as the user that owns it.' }];
    }
    case 'unavailable':
      return [
        { id: 'lock-unavailable', severity: 'problem', where: path, found: facts.reason, remedy: 'Keep the state where it has a lock.' },
      ];
    case 'free': {
      const free: DiagnosisFinding = { id: 'lock-free', severity: 'ok', where: path, found: 'No process has it open.' };
      if (facts.holder === undefined) return [free];
      const found = `The last to have it open was ${holderText(facts.holder)}, which did not close it: it was killed, or the machine stopped.`;
      const remedy = 'Start the loop again: nothing that was acknowledged is lost by that.';
      return [free, { id: 'holder-left', severity: 'info', where: `${path}.holder`, found, remedy, isRepairable: true }];
    }
  }
}

function judgeContent(content: FileContent, path: string): DiagnosisFinding[] {
  if (content.kind === 'unknown') return [];
  if (content.kind === 'absent') return [noState(path)];
  if (content.kind === 'refused') return [judgeRefusal(content.error, path)];
  const { records, findings } = content;
  const isAll = findings.every(({ severity }) => severity !== 'loss');
  const found = isAll ? `It holds ${records} records.` : `${records} records of it can be read.`;
  return [...findings.map(judgeDamage), { id: 'records', severity: 'ok', where: path, found }];
}

function judgeRefusal({ code, message }: LoopStateError, path: string): DiagnosisFinding {
  const problem = { severity: 'problem', where: path } as const;
  switch (code) {
    case 'LOOPSTATE_FOREIGN':
      return { id: 'foreign', ...problem, found: `${path} holds something that loopstate did not write.`, remedy: 'Name another file.' };
    case 'LOOPSTATE_NEWER_FORMAT':
      return {
        id: 'newer-format',
        ...problem,
        found: `${path}, or a file beside it, was written by a newer loopstate.`,
        remedy: 'Update loopstate.',
      };
    default:
      return { id: 'not-readable', ...problem, found: sentence(message), remedy: 'Put that right, or name another file.' };
  }
}

/** What recovery would do is told as what there is: nothing has been done. */
function judgeDamage({ code, severity, where }: RecoveryFinding): DiagnosisFinding {
  const isLoss = severity === 'loss';
  const told = TOLD[code as keyof typeof TOLD];
  return {
    id: IDS[code] ?? code,
    severity: severity === 'info' ? 'info' : 'warning',
    where,
    found: `${where} ${isLoss ? told.lossFound : told.found}`,
    remedy: isLoss ? LOSS : told.remedy,
    isRepairable: true,
  };
}

const REPAIR = 'The next start repairs that and keeps the damaged file aside, and `loopstate doctor --repair` does so now.';
const LOSS =
  'If there is a backup of all files of the state, put it back before anything else starts; otherwise the next start keeps what can be read, and what was lost runs again.';
const RESET = 'The next start goes on with what the state knows; to begin anew, use `loopstate reset`.';

interface Telling {
  readonly found: string;
  readonly lossFound: string;
  readonly remedy: string;
}

/** A finding that is always, or never, a loss tells one thing only. */
function always(found: string, remedy: string): Telling {
  return { found, lossFound: found, remedy };
}

const TOLD: Readonly<Record<Exclude<FindingCode, 'compaction-failed'>, Telling>> = {
  'torn-tail': always('ends in a write that was cut short and never acknowledged.', 'Nothing: the next start drops it.'),
  'journal-damaged': {
    found: 'is damaged or misplaced, and nothing is lost: other files hold the same.',
    lossFound: 'is damaged, and what stood in its damaged lines is lost.',
    remedy: REPAIR,
  },
  'journal-missing': always('is gone, and what only it held is lost.', LOSS),
  'snapshot-damaged': {
    found: 'is damaged, and nothing is lost: the files beside it hold the same.',
    lossFound: 'is damaged, and the files beside it do not hold all of it.',
    remedy: REPAIR,
  },
  'snapshot-empty': always(
    'is empty, and there is nothing beside it.',
    'Put back a backup, if there is one; the next start begins with nothing.',
  ),
  'snapshot-missing': {
    found: 'is gone, and nothing is lost: the files beside it hold the same.',
    lossFound: 'is gone, and the files beside it do not hold all of it.',
    remedy: RESET,
  },
  'snapshot-replaced': {
    found: 'is not the one that this state wrote last, and nothing is lost: the files beside it hold that.',
    lossFound: 'is not the one that this state wrote last, and the files beside it do not hold all of that.',
    remedy: RESET,
  },
  'previous-damaged': always('is damaged, and not needed.', REPAIR),
  'repair-interrupted': always('was repaired by a start that found a loss, and may have ended before it told of it.', LOSS),
  'other-store': always('belongs to another state.', 'The next start keeps it aside.'),
  'old-format-imported': always('has an older format.', 'Nothing: the next start takes it over, and keeps the original beside.'),
  'old-format-salvaged': always('has an older format, and its end is torn off.', LOSS),
};

function holderText({ pid, host, since }: LockHolder = {}): string {
  if (pid === undefined) return 'another process';
  const where = host === undefined ? '' : ` on ${host}`;
  return `process ${pid}${where}${since === undefined ? '' : `, since ${new Date(since).toISOString()}`}`;
}
