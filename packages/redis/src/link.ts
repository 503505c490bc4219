/**
 * The way to the server: at most one connection at a time, made anew after a loss when a call needs it, and a deadline for every
 * call. A call waits for a connection within its deadline; once it was sent it is never repeated.
 *
 * **Invariants:**
 * - `#attempt` is set while a connection is being made; all calls that wait share it.
 * - A call whose deadline passes ends the connection it was sent on: whatever of it is still unsent is never sent.
 * - After `close` no connection is made.
 */
import type { Connection } from './connection.js';
import { Deadlines, delay } from './deadline.js';
import { judgeFailure, unavailable } from './trouble.js';

const BACKOFF_MS = { first: 50, most: 2_000 } as const;

/** Makes a connection. Errors: those of the driver. */
export type Connect = (timeoutMs: number) => Promise<Connection>;

/** Options of a {@link Link}. */
export interface LinkOptions {
  readonly connect: Connect;
  /** Names the server in messages, without any secret. */
  readonly where: string;
  readonly connectTimeoutMs: number;
  readonly commandTimeoutMs: number;
  /** From 0 up to 1. */
  readonly random: () => number;
}

/** What a call may do, and for how long. */
export interface CallOptions {
  /** The call may change the store: a reply that is lost leaves its outcome unknown. */
  readonly isWrite: boolean;
  /** Default: the time of a command. */
  readonly timeoutMs?: number;
}

/** See the file's comment. */
export class Link {
  readonly #options: LinkOptions;
  readonly #deadlines = new Deadlines();
  #connection: Connection | undefined;
  #attempt: Promise<Connection> | undefined;
  #failures = 0;
  #notBeforeMs = 0;
  #lastError: unknown;
  #isClosed = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /**
   * Runs `use` with a connection. Errors: `LOOPSTATE_UNAVAILABLE` (without effect),
   * `LOOPSTATE_OUTCOME_UNKNOWN`, `LOOPSTATE_FOREIGN`, and those of loopstate that `use` throws.
   */
  run<T>(use: (connection: Connection) => Promise<T>, options: CallOptions): Promise<T> {
    const limitMs = options.timeoutMs ?? this.#options.commandTimeoutMs;
    const endMs = performance.now() + limitMs;
    const bounds = { isWrite: options.isWrite, limitMs, endMs };
    const standing = this.#usable();
    if (standing !== undefined) return this.#runOn(standing, use, bounds);
    return this.#connected(endMs).then((connection) => this.#runOn(connection, use, bounds));
  }

  /** No call waits for a connection any longer; those in flight go on. */
  stopWaiting(): void {
    this.#isClosed = true;
  }

  /** Ends the connection, also one that is still being made. Calls must have finished. */
  close(): void {
    this.#isClosed = true;
    this.#attempt?.then(
      (connection) => connection.drop(),
      () => undefined,
    );
    this.#connection?.drop();
    this.#connection = undefined;
  }

  #runOn<T>(
    connection: Connection,
    use: (connection: Connection) => Promise<T>,
    { isWrite, limitMs, endMs }: { isWrite: boolean; limitMs: number; endMs: number },
  ): Promise<T> {
    return this.#deadlines.keep(use(connection), endMs, {
      onLate: () => {
        this.#drop(connection);
        return new Error(`no reply came within ${limitMs} ms`);
      },
      onFailure: (error) => {
        const verdict = judgeFailure(connection.explain(error), { where: this.#options.where, isWrite });
        if (verdict.dropsConnection) this.#drop(connection);
        return verdict.error;
      },
    });
  }

  async #connected(endMs: number): Promise<Connection> {
    for (;;) {
      const standing = this.#usable();
      if (standing !== undefined) return standing;
      if (this.#isClosed) throw unavailable(`${this.#options.where} cannot be reached, and the handle is being closed.`, this.#lastError);
      const nowMs = performance.now();
      const startMs = this.#attempt === undefined ? Math.max(nowMs, this.#notBeforeMs) : nowMs;
      if (startMs >= endMs) throw this.#unreachable();
      await delay(startMs - nowMs);
      if (this.#usable() !== undefined || this.#isClosed) continue;
      const connection = await this.#attemptUntil(endMs);
      if (connection !== undefined) return connection;
    }
  }

  /** The connection that is being made; none, if that failed, or takes longer. */
  async #attemptUntil(endMs: number): Promise<Connection | undefined> {
    this.#attempt ??= this.#connectOnce().finally(() => {
      this.#attempt = undefined;
    });
    const attempt = this.#attempt.catch((error: unknown) => {
      const verdict = judgeFailure(error, { where: this.#options.where, isWrite: false });
      if (!verdict.error.retryable) throw verdict.error;
      return undefined;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), Math.max(0, endMs - performance.now()));
    });
    try {
      return await Promise.race([attempt, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #connectOnce(): Promise<Connection> {
    this.#connection?.drop();
    this.#connection = undefined;
    try {
      const connection = await this.#options.connect(this.#options.connectTimeoutMs);
      this.#connection = connection;
      this.#failures = 0;
      return connection;
    } catch (error) {
      this.#lastError = error;
      // No more than half a command's time, so that every call makes at least one attempt of its own.
      const mostMs = Math.min(BACKOFF_MS.most, this.#options.commandTimeoutMs / 2);
      const backoffMs = Math.min(BACKOFF_MS.first * 2 ** this.#failures, mostMs);
      this.#failures++;
      // Half of it by chance: workers that lost the server together should not come back together.
      this.#notBeforeMs = performance.now() + backoffMs * (0.5 + this.#options.random() / 2);
      throw error;
    }
  }

  #usable(): Connection | undefined {
    return this.#connection?.isUsable === true ? this.#connection : undefined;
  }

  #drop(connection: Connection): void {
    connection.drop();
    if (this.#connection === connection) this.#connection = undefined;
  }

  #unreachable(): Error {
    return judgeFailure(this.#lastError ?? new Error('no connection could be made in time'), { where: this.#options.where, isWrite: false })
      .error;
  }
}
