/**
 * What a place and the loop in it are like, found out without changing anything: for an operator in a hurry, and for programs that watch.
 *
 * The package of a backend exports `diagnose(url, options)`, of the type {@link Diagnose}; that of files, which have no URL, `diagnoseFile`.
 * A place that can't be reached, read or used is no error there but a finding. What the records mean for a loop is judged by `judgeLoop`.
 */
import type { BackendTraits, StateRecord } from './backend.js';

/**
 * From good to bad. `ok`: it was looked at, and is as it should be. `info`: worth knowing. `warning`: a loop can start, and something is
 * to be done or was lost. `problem`: a loop can't start, or can't record anything.
 */
export const SEVERITIES = ['ok', 'info', 'warning', 'problem'] as const;

/** How grave a finding is; see {@link SEVERITIES}. */
export type Severity = (typeof SEVERITIES)[number];

/** One thing that was looked at. No member holds a password. */
export interface DiagnosisFinding {
  /** Stable, lower-case, hyphenated. Where opening reports the same in `recovery`, it has the same name there. */
  readonly id: string;
  readonly severity: Severity;
  /** The file, directory, server or run concerned. */
  readonly where: string;
  /** One sentence: what was found. */
  readonly found: string;
  /** One sentence: what to do. Every warning and every problem has one. */
  readonly remedy?: string;
  /** Opening the place for writing puts it right, as far as that can be done. */
  readonly isRepairable?: true;
}

/** See the file's comment. */
export interface Diagnosis {
  /** As in `traits.name` of the backend. */
  readonly backend: string;
  /** Who can have the place open at the same time, as in `traits`. */
  readonly reach: BackendTraits['reach'];
  /** The place, named without any secret. */
  readonly where: string;
  readonly findings: readonly DiagnosisFinding[];
  /** Whether a process has the place open; only where one process holds it alone. */
  readonly isHeld?: boolean;
  /** By how much the clock of the place is ahead of this machine's, in ms, where it has one of its own. Negative: it is behind. */
  readonly clockAheadMs?: number;
}

/** Options of a {@link Diagnose}. */
export interface DiagnoseOptions {
  /**
   * Called with each record that can be read, in the order of revisions; one that changes meanwhile may come again. Of a damaged place those
   * come that would be there after a repair, as far as that can be told.
   */
  readonly onRecord?: (record: StateRecord) => void;
}

/** Looks at the place that `url` names, and changes nothing. Errors: `LOOPSTATE_BAD_OPTION`; all else is a finding. */
export type Diagnose = (url: string, options?: DiagnoseOptions) => Promise<Diagnosis>;

/** The gravest severity among findings; `ok` if there are none. */
export function worstSeverity(findings: readonly DiagnosisFinding[]): Severity {
  return SEVERITIES[Math.max(0, ...findings.map(({ severity }) => SEVERITIES.indexOf(severity)))] ?? 'ok';
}
