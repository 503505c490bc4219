/** A diagnosis as text for a terminal, and as an exit code: pure. */
import { type Diagnosis, type DiagnosisFinding, SEVERITIES, type Severity, worstSeverity } from '@loopstate/core';
import type picocolors from 'picocolors';
import type { Repair } from './doctor-command.js';
import type { ExitCode } from './exit-codes.js';
import { findingLine } from './reporters.js';
import { visible } from './visible-text.js';

/** What is told. */
export interface DoctorReport {
  /** The state as the user named it, without any password. */
  readonly state: string;
  readonly diagnosis: Diagnosis;
  readonly repair?: Repair | undefined;
  readonly colors: ReturnType<typeof picocolors.createColors>;
}

const WIDTH = Math.max(...SEVERITIES.map((severity) => severity.length));

/** The exit code that says the same as the findings. */
export function exitCodeOfFindings(findings: readonly DiagnosisFinding[]): ExitCode {
  const problems = findings.filter(({ severity }) => severity === 'problem');
  if (problems.length > 0) return problems.every(({ id }) => id === 'held') ? 5 : 6;
  return worstSeverity(findings) === 'warning' ? 1 : 0;
}

/** Those of `findings`, ok ones aside, that are not among `others`. */
export function withoutThose(findings: readonly DiagnosisFinding[], others: readonly DiagnosisFinding[]): DiagnosisFinding[] {
  const isSame = (a: DiagnosisFinding, b: DiagnosisFinding): boolean => a.id === b.id && a.where === b.where;
  return findings.filter((finding) => finding.severity !== 'ok' && !others.some((other) => isSame(finding, other)));
}

/** The worst first: whoever is in a hurry reads no further. */
export function doctorText({ state, diagnosis, repair, colors }: DoctorReport): string {
  const { backend, where, findings } = diagnosis;
  const byGravity = [...SEVERITIES].reverse().flatMap((severity) => findings.filter((finding) => finding.severity === severity));
  const lines = [
    `${colors.bold(visible(state))} (${backend}), at ${visible(where)}`,
    '',
    ...(repair === undefined ? [] : [...repairLines(repair), '']),
    ...byGravity.flatMap((finding) => findingLines(finding, diagnosis, colors)),
    '',
    verdict(findings),
  ];
  return `${lines.join('\n')}\n`;
}

function findingLines(finding: DiagnosisFinding, diagnosis: Diagnosis, colors: DoctorReport['colors']): string[] {
  const { id, severity, where, found, remedy } = finding;
  const paint = { ok: colors.green, info: colors.cyan, warning: colors.yellow, problem: colors.red }[severity];
  const isSaid = where === diagnosis.where || found.includes(where);
  const place = isSaid ? '' : ` (${visible(where)})`;
  const first = `${paint(severity.padEnd(WIDTH))}  ${colors.bold(id)}${place}: ${visible(found)}`;
  return remedy === undefined ? [first] : [first, `${' '.repeat(WIDTH)}  -> ${visible(remedy)}`];
}

function repairLines({ better, recovery, tookOver, error, skipped }: Repair): string[] {
  if (error !== undefined) return [`The repair failed: ${visible(error.message)}`];
  if (skipped !== undefined) {
    const what = skipped === 'no-state' ? 'There is no state that could be repaired' : 'There was nothing to repair';
    return [`${what}, and nothing was changed.`];
  }
  return [
    ...recovery.map(findingLine),
    ...tookOver.map(({ runId, items }) => visible(`took over from run ${runId}: ${items} ${items === 1 ? 'item' : 'items'} came back`)),
    `No longer found: ${better.map(({ id }) => id).join(', ') || 'nothing'}.`,
  ];
}

function verdict(findings: readonly DiagnosisFinding[]): string {
  const count = (severity: Severity): number => findings.filter((finding) => finding.severity === severity).length;
  const [problems, warnings] = [count('problem'), count('warning')];
  if (exitCodeOfFindings(findings) === 5) return 'Another process has it open.';
  if (problems > 0) return `${problems} ${problems === 1 ? 'problem' : 'problems'}: a loop can not go on here.`;
  return warnings > 0 ? `A loop can start; ${warnings} ${warnings === 1 ? 'thing' : 'things'} should be looked after.` : 'All is well.';
}
