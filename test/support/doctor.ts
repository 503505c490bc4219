/** Asks `loopstate doctor` about broken places, and holds against them what it says and what it leaves. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Diagnosis, type DiagnosisFinding, worstSeverity } from '@loopstate/core';
import { expect } from 'chai';
import { runCli } from './cli.js';
import { spawnCompiled } from './compiled.js';

/** Depend on the machine that runs the tests, not on the place. */
const OF_THE_MACHINE: ReadonlySet<string> = new Set(['file-system-forgets', 'disk-space-low']);

/** What `doctor --json` prints. */
export interface DoctorJson extends Diagnosis {
  readonly exitCode: number;
  readonly repair?: {
    readonly better: readonly DiagnosisFinding[];
    readonly recovery: readonly { readonly code: string; readonly keptAs?: string }[];
    readonly tookOver: readonly { readonly runId: string; readonly items: number }[];
    readonly error?: { readonly code: string };
  };
}

/** Runs `doctor --json` on a place; its exit code must say the same as what it found, and every finding must be whole. */
export async function doctor(target: string, ...args: readonly string[]): Promise<DoctorJson> {
  const { code, stdout, stderr } = await runCli(['doctor', '--state', target, '--json', ...args], { cwd: tmpdir() });
  expect(stderr, 'standard error').to.equal('');
  const password = /\/\/[^/]*:([^/]*)@/.exec(target)?.[1];
  if (password !== undefined) expect(stdout).to.not.include(password);
  const report = JSON.parse(stdout) as DoctorJson;
  expect(code).to.equal(report.exitCode);
  for (const finding of report.findings) expectWhole(finding);
  const problems = report.findings.filter(({ severity }) => severity === 'problem').map(({ id }) => id);
  if (problems.length > 0) expect(code).to.equal(problems.join() === 'held' ? 5 : 6);
  else expect(code).to.equal(worstSeverity(report.findings) === 'warning' ? 1 : 0);
  return report;
}

/** The ids of what is not as it should be, each once, in order. */
export function idsOf(findings: readonly DiagnosisFinding[]): string[] {
  const ids = findings.filter(({ id, severity }) => severity !== 'ok' && !OF_THE_MACHINE.has(id)).map(({ id }) => id);
  return [...new Set(ids)].sort();
}

/** The worst of what is not as it should be, the machine aside. */
export function gravityOf(findings: readonly DiagnosisFinding[]): string {
  return worstSeverity(findings.filter(({ id }) => !OF_THE_MACHINE.has(id)));
}

/** Everything in a directory: names, permissions, times of change, and bytes. */
export function treeOf(directory: string): { readonly [path: string]: string } {
  const entries = ['.', ...readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()].map((path) => {
    const stats = lstatSync(join(directory, path));
    const bytes = stats.isFile() ? readFileSync(join(directory, path), 'latin1') : '';
    return [path, `${stats.mode.toString(8)} ${stats.mtimeMs} ${bytes}`];
  });
  return Object.fromEntries(entries);
}

/** A process that holds an item of a state. */
export interface Holder {
  readonly child: ChildProcess;
  /** Kills it, and resolves when it is gone. */
  kill(): Promise<void>;
}

/** Starts a process that ends `count` items of a state and holds another. */
export async function startHolder(target: string, { count = 3, leaseMs = 30_000 } = {}): Promise<Holder> {
  const child = await spawnCompiled('test/programs/hold-state.ts', [target, `${count}`, `${leaseMs}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  await Promise.race([
    once(child.stdout as NodeJS.ReadableStream, 'data'),
    exited.then(() => Promise.reject(new Error('It ended early.'))),
  ]);
  return {
    child,
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function expectWhole({ id, severity, where, found, remedy }: DiagnosisFinding): void {
  expect(id).to.match(/^[a-z]+(-[a-z]+)*$/);
  expect(where, id).to.not.equal('');
  for (const sentence of [found, ...(remedy === undefined ? [] : [remedy])]) expect(sentence, id).to.match(/^.+\.$/);
  if (severity === 'warning' || severity === 'problem') expect(remedy, id).to.be.a('string');
}
