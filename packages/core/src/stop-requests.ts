import type { RunLoopOptions, StopReason } from './run-loop.js';

/** The signals that stop a loop. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

type SignalName = (typeof SIGNALS)[number];

/** What the loops do that heed signals. One listener of the process serves all of them: Node would warn of a leak from eleven on. */
const HEEDING = new Set<(name: SignalName) => void>();

const LISTENERS = SIGNALS.map((name) => {
  const listener = (): void => {
    for (const onSignal of [...HEEDING]) onSignal(name);
  };
  return [name, listener] as const;
});

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
  const onSignal = (name: SignalName): void => {
    // A terminal that goes away says so more than once, through its shell and by itself.
    if (wasAsked && name !== 'SIGHUP') stops.haltNow(name);
    else stops.halt(name);
    wasAsked = true;
  };
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener('abort', onAbort);
  if (halt?.aborted === true) onHalt();
  halt?.addEventListener('abort', onHalt);
  if (handleSignals === true) listenToSignals(onSignal);
  return () => {
    signal?.removeEventListener('abort', onAbort);
    halt?.removeEventListener('abort', onHalt);
    leaveSignals(onSignal);
  };
}

function listenToSignals(onSignal: (name: SignalName) => void): void {
  HEEDING.add(onSignal);
  // Not only for the first one: whoever else is in the process may have removed all listeners meanwhile.
  for (const [name, listener] of LISTENERS) if (!process.listeners(name).includes(listener)) process.on(name, listener);
}

function leaveSignals(onSignal: (name: SignalName) => void): void {
  HEEDING.delete(onSignal);
  if (HEEDING.size === 0) for (const [name, listener] of LISTENERS) process.off(name, listener);
}
