import { withoutProofs } from '@loopstate/conformance';
import Mocha from 'mocha';

/** What became of a suite. */
export interface SuiteOutcome {
  readonly passed: number;
  readonly failures: readonly { readonly title: string; readonly message: string }[];
}

/** Which tests run; by default, all that start no process of their own. */
export interface SuiteOptions {
  readonly only?: RegExp;
  readonly timeoutMs?: number;
}

/** Runs what `define` registers in a mocha of its own, and tells how it went. Two of these must not run at once. */
export async function runSuite(define: () => void, { only, timeoutMs = 10_000 }: SuiteOptions = {}): Promise<SuiteOutcome> {
  const mocha = register(define, timeoutMs);
  if (only === undefined) mocha.grep(/\(child process\)/).invert();
  else mocha.grep(only);
  const failures: SuiteOutcome['failures'][number][] = [];
  let passed = 0;
  const print = console.log;
  // Seeds are printed for people who replay a red run, and here red is what is asked for.
  console.log = () => {};
  try {
    const ended = () =>
      new Promise<void>((resolve) => {
        mocha
          .run(() => resolve())
          .on('pass', () => passed++)
          .on('fail', (test, error: Error) => failures.push({ title: test.fullTitle(), message: error.message }));
      });
    await withoutProofs(ended);
  } finally {
    console.log = print;
  }
  return { passed, failures };
}

/** The titles of all tests that `define` registers, without those of their suites. None is run. */
export function listTitles(define: () => void): string[] {
  const titles: string[] = [];
  register(define).suite.eachTest((test) => titles.push(test.title));
  return titles;
}

function register(define: () => void, timeoutMs?: number): Mocha {
  const mocha = new Mocha({ reporter: SilentReporter, ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }) });
  // This is what loading a test file does: from here on, `describe` and `it` belong to this mocha.
  mocha.suite.emit('pre-require', {}, '', mocha);
  define();
  return mocha;
}

class SilentReporter extends Mocha.reporters.Base {
  override epilogue(): void {}
}
