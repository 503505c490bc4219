import { isError } from '@loopstate/core';
import { type ExitCode, SIGNAL_EXIT_CODES } from './exit-codes.js';

/**
 * Runs what can be stopped in good order: the first SIGINT, SIGTERM or SIGHUP aborts `signal`, and the exit code is that of the signal. A
 * second SIGINT or SIGTERM ends the process at once, as if nothing listened; a terminal that goes away may send two SIGHUP.
 */
export async function untilInterrupted(run: (signal: AbortSignal) => Promise<ExitCode>): Promise<ExitCode> {
  const controller = new AbortController();
  let exitCode: ExitCode | undefined;
  const undo = Object.entries(SIGNAL_EXIT_CODES).map(([name, code]) => {
    const stop = (): void => {
      exitCode = code;
      controller.abort();
    };
    if (name === 'SIGHUP') process.on(name, stop);
    else process.once(name, stop);
    return () => process.off(name, stop);
  });
  try {
    return await run(controller.signal);
  } catch (error) {
    if (exitCode === undefined || !isAbort(error)) throw error;
    process.stderr.write('loopstate: Interrupted: run it again to go on.\n');
    return exitCode;
  } finally {
    for (const off of undo) off();
  }
}

/** Streams wrap the reason of a signal in an error of their own. */
function isAbort(error: unknown): boolean {
  return isError(error) && error.name === 'AbortError';
}
