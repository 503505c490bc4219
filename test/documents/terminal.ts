/**
 * Records what a terminal shows: commands are typed into a real shell, with `loopstate` on its path, in a directory of their own. What
 * differs from one machine and one moment to the next (times, processes, runs, the host, the directory) is replaced.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { compiledPackages } from '../support/compiled.js';

const HOME = '/home/ada/work';
const WAIT_MS = 30_000;

/** A command that runs in the foreground of its own window. */
export interface Window {
  /** Resolves when what it showed holds `text`; rejects after half a minute. */
  shows(text: string): Promise<void>;
  /** Kills the process group with a signal; resolves when it is gone and is told of as a shell would. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Resolves to the exit code. */
  readonly ended: Promise<number | null>;
}

/** See the file's comment. */
export class Terminal {
  readonly directory: string;
  readonly #environment: NodeJS.ProcessEnv;
  #screen = '';
  #lastExit: number | null = 0;

  private constructor(directory: string, environment: NodeJS.ProcessEnv) {
    this.directory = directory;
    this.#environment = environment;
  }

  /** Opens one in a fresh directory. */
  static async open(): Promise<Terminal> {
    const place = realpathSync(mkdtempSync(join(tmpdir(), 'loopstate-recorded-')));
    const { root } = await compiledPackages();
    const [directory, programs] = [join(place, 'work'), join(place, 'bin')];
    for (const folder of [directory, programs]) mkdirSync(folder);
    const script = join(root, 'packages/loopstate/bin/loopstate.js');
    writeProgram(join(programs, 'loopstate'), `exec '${process.execPath}' '${script}' "$@"`);
    const { LOOPSTATE_URL: _url, ...environment } = process.env;
    return new Terminal(directory, { ...environment, PATH: `${programs}:${process.env.PATH}`, NO_COLOR: '1', TZ: 'UTC', LC_ALL: 'C' });
  }

  /** Makes a shell script in the directory, out of the reader's sight. */
  program(name: string, script: string): void {
    writeProgram(join(this.directory, name), script);
  }

  /** Types a command and waits until it has ended; resolves to its exit code. */
  async type(command: string): Promise<number | null> {
    return await this.start(command).ended;
  }

  /** Types a command and leaves it running; what it shows counts as shown when it has ended. */
  start(command: string): Window {
    const own = { shown: '' };
    const child = spawn('/bin/sh', ['-c', `exec 2>&1\n${command}`], {
      cwd: this.directory,
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      own.shown += chunk;
    });
    const ended = once(child, 'close').then(([code, signal]: (number | string | null)[]) => {
      const told = signal === 'SIGKILL' ? 'Killed\n' : '';
      this.#screen += `$ ${command}\n${own.shown}${told}`;
      this.#lastExit = signal === 'SIGKILL' ? 137 : (code as number | null);
      return this.#lastExit;
    });
    return { ended, shows: async (text) => await untilShown(own, text), kill: async (signal) => await killed(child, ended, signal) };
  }

  /** Resolves when a run has begun an item; nothing of this is shown. */
  async itemIsBegun(state: string, id: string): Promise<void> {
    const { root } = await compiledPackages();
    const endMs = performance.now() + WAIT_MS;
    for (;;) {
      const show = spawn(process.execPath, [join(root, 'packages/loopstate/bin/loopstate.js'), 'show', '--state', state, '--json', id], {
        cwd: this.directory,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      if ((await text(show.stdout)).includes('"claimed"')) return;
      if (performance.now() > endMs) throw new Error(`${id} is never begun.`);
    }
  }

  /** Asks the shell for the last exit code. */
  askExitCode(): void {
    this.#screen += `$ echo $?\n${this.#lastExit}\n`;
  }

  /** What was shown since the last call, as a block of Markdown. */
  block(replacements: readonly (readonly [RegExp, string])[] = []): string {
    let shown = steady(this.#screen.replaceAll(this.directory, HOME));
    for (const [pattern, replacement] of replacements) shown = shown.replace(pattern, replacement);
    this.#screen = '';
    return `\`\`\`console\n${shown.trimEnd()}\n\`\`\``;
  }

  /** Removes the directory. */
  close(): void {
    rmSync(join(this.directory, '..'), { recursive: true, force: true });
  }
}

/** The text without what differs each time. */
function steady(text: string): string {
  const runs = new Map<string, string>();
  const runName = (id: string): string => {
    const name = runs.get(id) ?? `${runs.size + 1}`.repeat(4).padStart(16, 'a0b1c2d3e4f5');
    runs.set(id, name);
    return name;
  };
  return (
    text
      .replaceAll(hostname(), 'ada-pc')
      .replace(/\b[0-9a-f]{16}\b/g, runName)
      .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '2026-11-24T03:00:00.000Z')
      .replace(/\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z/g, '2026-11-24T030000.000Z')
      .replace(/\b(pid|process) \d+/g, '$1 4242')
      .replace(/ in \d+(\.\d+)? (ms|s)\b/g, ' in 2 s')
      .replace(/ in (\d\d:)?\d\d:\d\d\b/g, ' in 2 s')
      .replace(/\d+(\.\d+)? [kMGT]B are free/g, '82 GB are free')
      .replace(/\d+(\.\d+)? [kMGT]B of memory are used/g, '1.4 MB of memory are used')
      .replace(/server of version \d+\.\d+\.\d+/g, 'server of version 7.0.15')
      .replace(/file system \((ext4|xfs|btrfs|zfs|f2fs)\)/g, 'file system (ext4)')
      // A loop that is held up writes this at most once a second.
      .replace(/^\d+\/\d+, .*\/s.*\n/gm, '')
  );
}

function writeProgram(path: string, script: string): void {
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

async function untilShown(own: { readonly shown: string }, text: string): Promise<void> {
  const endMs = performance.now() + WAIT_MS;
  while (!own.shown.includes(text)) {
    if (performance.now() > endMs) throw new Error(`It never showed ${JSON.stringify(text)}:\n${own.shown}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function killed(child: ChildProcess, ended: Promise<unknown>, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined) throw new Error('It did not start.');
  // The group: the shell may have started the command as a process of its own, and its commands hold the output open.
  process.kill(-child.pid, signal);
  await ended;
  // What is killed may be there for an instant longer.
  for (const endMs = performance.now() + WAIT_MS; isThere(-child.pid); ) {
    if (performance.now() > endMs) throw new Error(`Process group ${child.pid} does not go.`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
