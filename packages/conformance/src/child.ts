import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { AssertionError } from 'chai';
import type { BackendFixture } from './fixture.js';

// Starting through a loader, on a machine that does much else, takes its time.
const LAST_LINE_WITHIN_MS = 60_000;

/** How a process ended, and all that it said. */
export interface ProgramEnd {
  readonly lines: readonly string[];
  /** `null` when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly errors: string;
}

/** A process that runs one of `programs/`. It ends by itself, at the latest, when its parent is gone and closes its input. */
export interface Program {
  /** Sends one line to the program. */
  send(message: string): void;
  /** Resolves with the first line, of those already said too, that begins with `start`; rejects if the program ends before. */
  line(start: string): Promise<string>;
  /** Ends it, or sends another signal. */
  kill(signal?: NodeJS.Signals): void;
  /** What it has said so far. */
  readonly lines: readonly string[];
  readonly ended: Promise<ProgramEnd>;
}

/** Starts a program on a place, in the way of the fixture. */
export async function startProgram(name: string, fixture: BackendFixture, url: string): Promise<Program> {
  const launch = fixture.launch ?? launchHere;
  const child = await launch(import.meta.resolve(`./programs/${name}.js`), [fixture.opener, url]);
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new TypeError('The streams of a launched process must be pipes.');
  const lines: string[] = [];
  let errors = '';
  stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  // A child that was killed has closed its input.
  stdin.on('error', () => {});
  const reader = createInterface({ input: stdout });
  reader.on('line', (line) => lines.push(line));
  const said = once(reader, 'close');
  const ended = once(child, 'close').then(async (): Promise<ProgramEnd> => {
    await said;
    return { lines, exitCode: child.exitCode, signal: child.signalCode, errors };
  });
  return {
    send: (message) => stdin.write(`${message}\n`),
    kill: (signal = 'SIGKILL') => child.kill(signal),
    lines,
    ended,
    line: async (start) => {
      for (;;) {
        const found = lines.find((line) => line.startsWith(start));
        if (found !== undefined) return found;
        const end = await Promise.race([once(reader, 'line'), ended]);
        if (Array.isArray(end) || lines.some((line) => line.startsWith(start))) continue;
        throw new AssertionError(`${name} ended before it said "${start}": ${describeEnd(end)}`);
      }
    },
  };
}

/** Runs a program to its end. One that did not end in time after its `last` line is killed, and its `exitCode` is `null`. */
export async function runProgram(
  name: string,
  fixture: BackendFixture,
  url: string,
  { last, withinMs }: { last: string; withinMs: number },
): Promise<ProgramEnd> {
  const program = await startProgram(name, fixture, url);
  let timer = setTimeout(() => program.kill(), LAST_LINE_WITHIN_MS);
  try {
    await program.line(last);
    clearTimeout(timer);
    timer = setTimeout(() => program.kill(), withinMs);
    return await program.ended;
  } finally {
    clearTimeout(timer);
  }
}

/** One line for the message of a failed test. */
export function describeEnd({ exitCode, signal, errors }: ProgramEnd): string {
  return `exit code ${exitCode}, signal ${signal}. ${errors.trim().slice(-2_000)}`;
}

async function launchHere(program: string, args: readonly string[]): Promise<ChildProcess> {
  return spawn(process.execPath, [...process.execArgv, fileURLToPath(program), ...args], { stdio: 'pipe' });
}
