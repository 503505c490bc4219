/** What is to be said of the place of a store that is kept in files, by whichever backend: pure, from facts to findings. */
import type { DiagnosisFinding } from './diagnosis.js';
import type { PlaceFacts } from './place-facts.js';

const MIB = 1_024 * 1_024;
/** With less, the next commit or snapshot may fail already. */
const FULL_BYTES = MIB;
/** With less than this, and than three times what the store holds now, it is time to look after it. */
const LOW_BYTES = 64 * MIB;
const GENERATIONS = 3;

/** What else a backend knows of its place. */
export interface PlaceUse {
  readonly place: PlaceFacts;
  /** False where the file system is known not to carry a sync through a power loss. */
  readonly survivesPowerLoss: boolean;
  /** What all files of the store hold. */
  readonly storeBytes: number;
  /** Files that were on their way to another name when a process died. */
  readonly temporaries: readonly string[];
  /** Files that were put aside by earlier repairs. */
  readonly putAside: readonly string[];
}

/** The ids of {@link judgePlace}, each with what it means. */
export const PLACE_DIAGNOSES = {
  'place-unusable': 'The path can not be looked at: a part of it is a file, a circle of symlinks, or closed to this user.',
  'directory-missing': 'The directory is not there. Opening makes it, which is wrong where a volume should be mounted.',
  'directory-not-writable': 'This user may not make files in the directory.',
  'not-a-file': 'The path names a directory or a device.',
  'not-readable': 'This user may not read the state.',
  'no-state': 'There is no state yet.',
  'file-system': 'The file system carries what is synced through a power loss.',
  'file-system-forgets': 'The file system is known not to carry that, or it can not be told.',
  'disk-space': 'There is room.',
  'disk-space-low': 'There is little room.',
  'disk-full': 'There is no room, for bytes or for files.',
  'readable-by-others': 'Other users may read the state.',
  'writable-by-others': 'Other users may change the state.',
  'temporaries-left': 'A process died while it wrote a file, and left it.',
  'put-aside-earlier': 'Earlier repairs put files aside, which nobody has removed.',
} as const;

/** The id of a finding of {@link judgePlace}. */
export type PlaceDiagnosisId = keyof typeof PLACE_DIAGNOSES;

type Finding = DiagnosisFinding & { readonly id: PlaceDiagnosisId };

/** See the file's comment. The records themselves are judged elsewhere. */
export function judgePlace(use: PlaceUse): DiagnosisFinding[] {
  const { place } = use;
  return [
    ...judgeDirectory(place),
    ...judgePath(place),
    ...judgeFileSystem(use),
    ...judgeSpace(use),
    ...judgeMode(place),
    ...judgeLeftovers(use),
  ];
}

/** The finding of a place that can't even be looked at; `reason` says why and what to do. */
export function unusablePlace(where: string, reason: string): DiagnosisFinding {
  const finding: Finding = {
    id: 'place-unusable',
    severity: 'problem',
    where,
    found: sentence(reason),
    remedy: 'Put that right, or name another place.',
  };
  return finding;
}

/** The finding of a place where nothing is yet. */
export function noState(where: string): DiagnosisFinding {
  const finding: Finding = {
    id: 'no-state',
    severity: 'info',
    where,
    found: `There is no state at ${where} yet.`,
    remedy: 'If there should be one, look for a misspelt path or a volume that is not mounted.',
  };
  return finding;
}

/** The message of an error, which may come from the system, as a sentence. */
export function sentence(message: string): string {
  return message.endsWith('.') ? message : `${message}.`;
}

/** `12 kB`, `3.4 GB`. */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const amount = bytes / 1_000 ** power;
  return `${power > 0 && amount < 10 ? amount.toFixed(1) : Math.floor(amount)} ${units[power]}`;
}

function judgeDirectory({ directory, nearestDirectory, isWritable }: PlaceFacts): Finding[] {
  const findings: Finding[] = [];
  if (nearestDirectory !== directory) {
    findings.push({
      id: 'directory-missing',
      severity: 'warning',
      where: directory,
      found: `The directory ${directory} does not exist.`,
      remedy: 'If a volume belongs there, mount it first: a loop that starts now makes the directory, and an empty state in it.',
    });
  }
  if (!isWritable) {
    findings.push({
      id: 'directory-not-writable',
      severity: 'problem',
      where: nearestDirectory,
      found: `This user may not make files in ${nearestDirectory}, and a state needs several.`,
      remedy: 'Change its permissions, mount it writable, or name a state in another directory.',
    });
  }
  return findings;
}

function judgePath({ path, kind, isReadable }: PlaceFacts): Finding[] {
  if (kind === 'absent') return [];
  if (kind !== 'file') {
    const what = kind === 'directory' ? 'a directory' : 'not a regular file';
    return [{ id: 'not-a-file', severity: 'problem', where: path, found: `${path} is ${what}.`, remedy: 'Name a file in its place.' }];
  }
  if (isReadable) return [];
  const found = `This user may not read ${path}.`;
  return [
    { id: 'not-readable', severity: 'problem', where: path, found, remedy: 'Run as the user that owns it, or change its permissions.' },
  ];
}

function judgeFileSystem({ place, survivesPowerLoss }: PlaceUse): Finding[] {
  const { directory, fileSystem } = place;
  const name = fileSystem?.name ?? 'unknown';
  if (survivesPowerLoss)
    return [{ id: 'file-system', severity: 'ok', where: directory, found: `The file system (${name}) keeps what is synced.` }];
  return [
    {
      id: 'file-system-forgets',
      severity: 'warning',
      where: directory,
      found: `The file system (${name}) may lose what is synced in a power loss; a crash of the process loses nothing.`,
      remedy: 'Keep the state on a local disk, if it must survive a power loss.',
    },
  ];
}

function judgeSpace({ place, storeBytes }: PlaceUse): Finding[] {
  const { directory, fileSystem } = place;
  if (fileSystem === undefined) return [];
  const { freeBytes, freeFiles = Number.POSITIVE_INFINITY } = fileSystem;
  const room = `${bytesText(freeBytes)} are free in ${directory}`;
  if (freeBytes < FULL_BYTES || freeFiles === 0) {
    const found = freeFiles === 0 ? `No further file can be made in ${directory}.` : `Only ${room}.`;
    return [
      {
        id: 'disk-full',
        severity: 'problem',
        where: directory,
        found,
        remedy: 'Free some space: a loop that is held up by it goes on by itself.',
      },
    ];
  }
  if (freeBytes < Math.max(LOW_BYTES, GENERATIONS * storeBytes)) {
    const found = `Only ${room}, and the state has ${bytesText(storeBytes)}, of which copies are made.`;
    return [{ id: 'disk-space-low', severity: 'warning', where: directory, found, remedy: 'Free some space before it is used up.' }];
  }
  return [{ id: 'disk-space', severity: 'ok', where: directory, found: `${room}.` }];
}

function judgeMode({ path, kind, mode }: PlaceFacts): Finding[] {
  if (kind !== 'file' || process.platform === 'win32') return [];
  const remedy = `Unless that is meant: chmod 600 ${path}.`;
  if ((mode & 0o022) !== 0)
    return [{ id: 'writable-by-others', severity: 'warning', where: path, found: `Other users may change ${path}.`, remedy }];
  if ((mode & 0o044) !== 0)
    return [{ id: 'readable-by-others', severity: 'info', where: path, found: `Other users may read ${path}, results included.`, remedy }];
  return [];
}

function judgeLeftovers({ place, temporaries, putAside }: PlaceUse): Finding[] {
  const findings: Finding[] = [];
  const where = place.directory;
  if (temporaries.length > 0) {
    const found = `A process that died left ${filesText(temporaries)}.`;
    findings.push({
      id: 'temporaries-left',
      severity: 'info',
      where,
      found,
      remedy: 'The next start removes what was left.',
      isRepairable: true,
    });
  }
  if (putAside.length > 0) {
    const found = `Earlier repairs put aside ${filesText(putAside)}.`;
    findings.push({ id: 'put-aside-earlier', severity: 'info', where, found, remedy: 'Remove what nobody needs any more.' });
  }
  return findings;
}

function filesText(paths: readonly string[]): string {
  const shown = paths.slice(0, 3).join(', ');
  return paths.length > 3 ? `${shown} and ${paths.length - 3} more` : shown;
}
