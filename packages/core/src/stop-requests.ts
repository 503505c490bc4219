import type { RunLoopOptions, StopReason } from './run-loop.js';

/** The signals that stop a loop. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What a loop does when it is asked to stop. */
export interface Stops {
  /** Begins nothing more. */
  readonly halt: (reason: StopReason) => void;
  /** Begins nothing more, and ends what runs. */
  readonly haltNow: (reason: StopReason) => void;
}

/** Listens to whoever may ask a loop to stop, its caller and the process's signals, until the returned function is called. */
export function onStopRequests(
  { signal, halt, handleSignals }: Pick<RunLoopOptions<never>, 'signal' | 'halt' | 'handleSignals'>,
  stops: Stops,
): () => void {
  const onHalt = (): void => stops.halt('halted');
  const onAbort = (): void => stops.haltNow('aborted');
  let wasAsked = false;
  const listeners = SIGNALS.map((name) => {
    const onSignal = (): void => {
      // A terminal that goes away says so more than once, through its shell and by itself.
      if (wasAsked && name !== 'SIGHUP') stops.haltNow(name);
      else stops.halt(name);
      wasAsked = true;
    };
    return [name, onSignal] as const;
  });
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener('abort', onAbort);
  if (halt?.aborted === true) onHalt();
  halt?.addEventListener('abort', onHalt);
  if (handleSignals === true) for (const [name, onSignal] of listeners) process.on(name, onSignal);
  return () => {
    signal?.removeEventListener('abort', onAbort);
    halt?.removeEventListener('abort', onHalt);
    for (const [name, onSignal] of listeners) process.off(name, onSignal);
  };
}
