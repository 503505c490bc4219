/**
 * Tries a defect: a copy of the compiled workspace gets it, and tests run there as they run here. It is caught only by an assertion
 * that does not hold. A test file that does not load, a hook that fails, a test that runs out of time: they say that something is
 * wrong, and not that somebody watches over what the defect breaks.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PROOFS_VARIABLE } from '@loopstate/conformance';
import { toModule } from '../support/bundle.js';
import { compiledModules, WORKSPACE } from '../support/compiled.js';
import type { Defect, TestChoice } from './defect.js';

/** How many copies are at work at the same time. */
const AT_ONCE = 2;
const RUN_WITHIN_MS = 90_000;
const TEST_WITHIN_MS = 20_000;

/** How a run of tests ended. */
export interface TestRun {
  /** The full titles of those that passed. */
  readonly passed: readonly string[];
  /** The first one that failed, which ended the run. */
  readonly failed?: TestFailure;
  /** Why there is no result at all. */
  readonly broke?: string;
}

/** A test that failed. */
export interface TestFailure {
  readonly title: string;
  /** With its stack. */
  readonly error: string;
  /** By an assertion of its own, and not by any other error. */
  readonly isAssertion: boolean;
}

/** A line of what mocha reports. */
type MochaEvent =
  | readonly ['start' | 'end', unknown]
  | readonly ['pass' | 'fail', { readonly title: string; readonly fullTitle: string; readonly stack?: string | null }];

const running = new Set<ChildProcess>();
const copies = new Set<string>();
process.once('exit', () => {
  for (const child of running) killGroup(child);
  for (const root of copies) rmSync(root, { recursive: true, force: true });
});

/**
 * Runs the tests that are to catch a defect, on a product that has it, until the first one fails.
 *
 * Errors: when what the defect replaces is not there exactly once any more, or what it puts in its place is no TypeScript.
 */
export async function tryDefect(defect: Defect): Promise<TestRun> {
  return await tryChanges(new Map([[defect.file, (source) => applyDefect(defect, source)]]), defect.caughtBy);
}

/** Runs tests, until the first one fails, on a product in which these files are changed in nothing that matters. */
export async function tryNothing(files: Iterable<string>, tests: TestChoice): Promise<TestRun> {
  const addNothing = (source: string): string => `${source}\nexport const NOTHING_THAT_MATTERS = true;\n`;
  return await tryChanges(new Map(Array.from(files, (file) => [file, addNothing])), tests);
}

async function tryChanges(changes: ReadonlyMap<string, (source: string) => string>, tests: TestChoice): Promise<TestRun> {
  const changed: (readonly [file: string, text: string])[] = [];
  for (const [file, change] of changes) changed.push([file, await toModule(change(readFileSync(join(WORKSPACE, file), 'utf8')), file)]);
  return await inTurn(() =>
    inCopy(async (root) => {
      for (const [file, text] of changed) {
        const path = join(root, toCompiled(file));
        if (text === readFileSync(path, 'utf8')) throw new Error(`${file} is as it was.`);
        // Not into the file that all copies share.
        rmSync(path);
        writeFileSync(path, text);
      }
      return await runMocha(root, tests);
    }),
  );
}

function applyDefect({ name, file, find, replace }: Defect, source: string): string {
  const parts = source.split(find);
  if (parts.length === 2) return parts.join(replace);
  const times = parts.length === 1 ? 'is gone' : `is there ${parts.length - 1} times`;
  throw new Error(`The defect «${name}» no longer applies: what it replaces in ${file} ${times}. Write it anew.`);
}

let atWork = 0;
const waiting: (() => void)[] = [];

async function inTurn<T>(run: () => Promise<T>): Promise<T> {
  if (atWork < AT_ONCE) atWork++;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    return await run();
  } finally {
    const next = waiting.shift();
    if (next === undefined) atWork--;
    else next();
  }
}

async function inCopy<T>(run: (root: string) => Promise<T>): Promise<T> {
  const { root: original } = await compiledModules();
  const root = mkdtempSync(join(tmpdir(), 'loopstate-defect-'));
  // Tests become other users, who must get through to what they are about.
  chmodSync(root, 0o711);
  copies.add(root);
  try {
    linkTree(original, root);
    return await run(root);
  } finally {
    copies.delete(root);
    rmSync(root, { recursive: true, force: true });
  }
}

/** The files of a copy are those of the original, which takes a tenth of the time; symbolic links lead to the copy's own. */
function linkTree(from: string, to: string): void {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else if (!entry.isDirectory()) linkSync(source, target);
    else {
      mkdirSync(target);
      linkTree(source, target);
    }
  }
}

async function runMocha(root: string, { files, grep }: TestChoice): Promise<TestRun> {
  // What the tests leave behind goes with the copy.
  const temporary = join(root, 'tmp');
  mkdirSync(temporary);
  const args = [
    ...['--no-warnings', 'node_modules/mocha/bin/mocha.js', '--no-config', '--no-package', '--exit', '--reporter', 'json-stream'],
    ...['--forbid-only', '--forbid-pending', '--timeout', `${TEST_WITHIN_MS}`, '--grep', grep],
    ...files.flatMap((file) => testFiles(root, file)),
  ];
  // A process group of its own, so that what the tests have started ends with them.
  const child = spawn(process.execPath, args, {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary, [PROOFS_VARIABLE]: '' },
  });
  running.add(child);
  child.once('exit', () => killGroup(child));
  const timer = setTimeout(() => killGroup(child), RUN_WITHIN_MS);
  let errors = '';
  child.stderr.on('data', (bytes) => {
    errors += bytes;
  });
  const passed: string[] = [];
  let failed: TestFailure | undefined;
  let isThrough = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const [type, about] = parseEvent(line) ?? [];
    if (type === 'end') isThrough = true;
    if (type === 'pass') passed.push(about.fullTitle);
    if (type !== 'fail' || failed !== undefined || isOnlyOfAll(about.title)) continue;
    failed = toFailure(about);
    killGroup(child);
  }
  clearTimeout(timer);
  running.delete(child);
  if (failed !== undefined) return { passed, failed };
  return isThrough ? { passed } : { passed, broke: `they did not run to their end: ${errors.slice(-2_000)}` };
}

/** The tests print lines of their own besides. */
function parseEvent(line: string): MochaEvent | undefined {
  return /^\["(start|end|pass|fail)",/.test(line) ? (JSON.parse(line) as MochaEvent) : undefined;
}

/** What tests prove together at their end is not proved where a pattern left some out. */
function isOnlyOfAll(title: string): boolean {
  return title.startsWith('"after all" hook');
}

function toFailure({ title, fullTitle, stack }: { title: string; fullTitle: string; stack?: string | null }): TestFailure {
  const error = stack ?? '';
  const isHook = /^"(before|after) (all|each)" hook/.test(title);
  return { title: fullTitle, error, isAssertion: !isHook && /^AssertionError\b/.test(error) };
}

/** The compiled files of tests that `file` means: itself, or all in that folder. */
function testFiles(root: string, file: string): string[] {
  const isFolder = statSync(join(root, file), { throwIfNoEntry: false })?.isDirectory() ?? false;
  if (!isFolder) return [toCompiled(file)];
  const names = readdirSync(join(root, file)).filter((name) => name.endsWith('.test.js'));
  return names.map((name) => join(file, name));
}

function toCompiled(file: string): string {
  return file.replace(/^(packages\/[^/]+)\/src\//, '$1/dist/').replace(/\.ts$/, '.js');
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // All of them have ended.
  }
}
