import type { ExitCode } from './exit-codes.js';

/**
 * Runs what can be stopped in good order: the first SIGINT or SIGTERM aborts `signal`, and the exit code is that of the signal. A second one
 * ends the process at once, as if nothing listened.
 */
export async function untilInterrupted(run: (signal: AbortSignal) => Promise<ExitCode>): Promise<ExitCode> {
  const controller = new AbortController();
  let exitCode: ExitCode | undefined;
  const stopOn = (name: NodeJS.Signals, code: ExitCode): (() => void) => {
    const stop = (): void => {
      exitCode = code;
      controller.abort();
    };
    process.once(name, stop);
    return () => process.off(name, stop);
  };
  const undo = [stopOn('SIGINT', 130), stopOn('SIGTERM', 143)];
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
  return error instanceof Error && error.name === 'AbortError';
}
