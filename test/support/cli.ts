/**
 * Drives the command as users do: as a child process, by its arguments, its input, its output and signals.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnCompiled } from './compiled.js';

/** How the command ended. */
export interface CliEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs. */
export interface RunningCli {
  readonly child: ChildProcess;
  readonly end: Promise<CliEnd>;
  /** Resolves when standard output or standard error holds `text`; rejects if the command ends without. */
  shows(text: string): Promise<void>;
}

/** What a command gets beside its arguments. */
export interface CliOptions {
  readonly cwd: string;
  /** Default: nothing. `open`: standard input stays open and empty. */
  readonly input?: string | Buffer | 'open';
  readonly env?: NodeJS.ProcessEnv;
  /** A command, with its arguments, that starts node. Default: none. */
  readonly under?: readonly string[];
}

const SCRIPT = 'packages/loopstate/bin/loopstate.js';

/** Starts `loopstate` with the given arguments. */
export async function startCli(args: readonly string[], { cwd, input = '', env = {}, under = [] }: CliOptions): Promise<RunningCli> {
  const child = await spawnCompiled(SCRIPT, args, { cwd, under, env: { ...process.env, NO_COLOR: '1', ...env } });
  let stdout = '';
  let stderr = '';
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const look of waiting) look();
  };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    wake();
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    wake();
  });
  // The command may end before it has read everything.
  child.stdin?.on('error', () => undefined);
  if (input !== 'open') child.stdin?.end(input);
  const end = new Promise<CliEnd>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  const shows = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!stdout.includes(text) && !stderr.includes(text)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      void end.then(() => reject(new Error(`It ended and never showed ${JSON.stringify(text)}:\n${stdout}\n${stderr}`)));
      look();
    });
  return { child, end, shows };
}

/** Runs `loopstate` to its end. */
export async function runCli(args: readonly string[], options: CliOptions): Promise<CliEnd> {
  return await (await startCli(args, options)).end;
}

/** Makes an empty directory for each test of the current suite, and removes it after. Returns what names the current one. */
export function freshDirectories(): () => string {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'loopstate-test-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  return () => directory;
}

/** A command that runs a piece of JavaScript with the item as its first argument. */
export function nodeCommand(script: string): string[] {
  return [process.execPath, '-e', script, '--', '{}'];
}
