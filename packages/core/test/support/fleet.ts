import { type BackendTraits, createMemoryStore, LoopState, type LoopStateEvent, openMemoryBackend } from '@loopstate/core';
import { type Unreliable, unreliable } from './unreliable.js';
import { settle, type TestProcess, World } from './world.js';

/** The lease of every run. */
export const LEASE_MS = 30_000;

/** A run, with what it lives in. */
export interface FleetRun {
  readonly state: LoopState;
  readonly backend: Unreliable;
  readonly process: TestProcess;
  readonly events: LoopStateEvent[];
}

/** A world whose processes share one store. */
export function fleet(reach: BackendTraits['reach'] = 'network') {
  const world = new World();
  const store = createMemoryStore();
  const open = async (process: TestProcess): Promise<FleetRun> => {
    const backend = unreliable(openMemoryBackend({ store, reach }));
    const events: LoopStateEvent[] = [];
    const state = await LoopState.open(backend, { environment: process, leaseMs: LEASE_MS, onEvent: (event) => events.push(event) });
    await settle();
    return { state, backend, process, events };
  };
  return { world, store, open };
}
