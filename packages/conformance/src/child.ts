import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { AssertionError } from 'chai';

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
  kill(): void;
  readonly ended: Promise<ProgramEnd>;
}

/** Starts a program with the flags of this process, so that a loader of this process serves the child as well. */
export function startProgram(name: string, args: readonly string[]): Program {
  const path = fileURLToPath(import.meta.resolve(`./programs/${name}.js`));
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(process.execPath, [...process.execArgv, path, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  // A child that was killed has closed its input.
  child.stdin.on('error', () => {});
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => lines.push(line));
  const said = once(reader, 'close');
  const ended = once(child, 'close').then(async (): Promise<ProgramEnd> => {
    await said;
    return { lines, exitCode: child.exitCode, signal: child.signalCode, errors };
  });
  return {
    send: (message) => child.stdin.write(`${message}\n`),
    kill: () => child.kill('SIGKILL'),
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

/** Runs a program to its end; a program that does not end by itself in time is killed, and its `exitCode` is `null`. */
export async function runProgram(name: string, args: readonly string[], { withinMs }: { withinMs: number }): Promise<ProgramEnd> {
  const program = startProgram(name, args);
  const timer = setTimeout(() => program.kill(), withinMs);
  try {
    const end = await program.ended;
    if (end.exitCode !== null && end.exitCode !== 0) throw new AssertionError(`${name} failed: ${describeEnd(end)}`);
    return end;
  } finally {
    clearTimeout(timer);
  }
}

/** One line for the message of a failed test. */
export function describeEnd({ exitCode, signal, errors }: ProgramEnd): string {
  return `exit code ${exitCode}, signal ${signal}. ${errors.trim().slice(-1_000)}`;
}
