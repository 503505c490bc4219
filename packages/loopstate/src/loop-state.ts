import {
  LoopState as CoreLoopState,
  type LoopStateOptions as CoreOptions,
  checkLoopStateOptions,
  checkOpenOptions,
  LoopStateError,
  type StateBackend,
} from '@loopstate/core';
import { openFileBackend } from '@loopstate/file';
import { type Access, openBackend } from './backend-url.js';

/** Where a state is kept: a URL or a path, one of the two said plainly, or a backend that is open already. */
export type StateTarget = string | { readonly url: string } | { readonly path: string } | StateBackend;

/** Options of {@link LoopState.open}. */
export interface LoopStateOptions extends CoreOptions {
  /** `read` looks on beside a running loop: no lock is taken, nothing is repaired or written, claims are refused. Default: `write`. */
  readonly access?: Access | undefined;
}

/** The durable state of a loop, opened by a URL or a path. See `LoopState` of `@loopstate/core` for what it does. */
export class LoopState extends CoreLoopState {
  /**
   * Opens the state at `target`: `file:./review.json`, a path, `memory:`, `sqlite:…`, `redis:…`, or an open `StateBackend`. A backend that
   * was opened here is always closed with the state; one that was handed in stays open, unless `closeBackend` says otherwise.
   *
   * Errors: `LOOPSTATE_BAD_OPTION`, `LOOPSTATE_BACKEND_MISSING`, `LOOPSTATE_LOCKED`, `LOOPSTATE_FOREIGN`, `LOOPSTATE_NEWER_FORMAT`,
   * and what else the backend raises.
   */
  static override async open(target: StateTarget, options: LoopStateOptions = {}): Promise<LoopState> {
    if (typeof options !== 'object' || options === null) throw badOption('The options must be an object.');
    const { access: asked, ...others } = options;
    const { access } = checkOpenOptions(asked === undefined ? {} : { access: asked });
    checkLoopStateOptions(others);
    const isHandedIn = isBackend(target);
    if (isHandedIn && options.access !== undefined) throw badOption('access can not be given for a backend that is open already.');
    const backend = isHandedIn ? target : await openTarget(target, access);
    try {
      // biome-ignore lint/complexity/noThisInStatic: `super` hands on `this`, so that the core makes an instance of this class.
      return await super.open(backend, isHandedIn ? others : { ...others, closeBackend: true });
    } catch (error) {
      if (!isHandedIn) await backend.close();
      throw error;
    }
  }

  /**
   * Opens the state in the file at `path`, which is never taken for a URL: a file may be called `redis:x`. Makes the file if there is
   * none. Errors: as `open`.
   */
  static async create(path: string, options: LoopStateOptions = {}): Promise<LoopState> {
    return await LoopState.open({ path }, options);
  }
}

async function openTarget(target: Exclude<StateTarget, StateBackend>, access: Access): Promise<StateBackend> {
  if (typeof target === 'string') return await openBackend(target, { access });
  const names = typeof target === 'object' && target !== null ? Object.keys(target).join() : typeof target;
  if (names === 'url' && 'url' in target && typeof target.url === 'string') return await openBackend(target.url, { access });
  if (names === 'path' && 'path' in target && typeof target.path === 'string' && target.path !== '') {
    return await openFileBackend(target.path, { access });
  }
  throw badOption('The state must be a URL, a path, { url }, { path } or an open backend.');
}

function isBackend(target: StateTarget): target is StateBackend {
  return typeof target === 'object' && target !== null && 'commit' in target && typeof target.commit === 'function';
}

function badOption(message: string): LoopStateError {
  return new LoopStateError('LOOPSTATE_BAD_OPTION', `${message} Nothing was written.`);
}
