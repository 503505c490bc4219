/** Rejects with an error when `promise` takes longer than `timeoutMs`; what becomes of it then is ignored. Keeps no process alive. */
export async function withDeadline<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer came within ${Math.round(timeoutMs)} ms`)), timeoutMs).unref();
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves after `delayMs`; the process stays alive for it. */
export async function delay(delayMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, delayMs));
}

interface Waiting {
  readonly endMs: number;
  readonly expire: () => void;
}

/** What a deadline does to a call. */
export interface DeadlineHandlers {
  /** Called when the call is late; the call rejects with what it returns. */
  readonly onLate: () => Error;
  /** Called when the call failed by itself; it rejects with what this returns. */
  readonly onFailure: (error: unknown) => Error;
}

/**
 * The deadlines of all calls in flight, kept by one timer: one per call costs as much as some calls do.
 *
 * **Invariants:**
 * - While calls wait, the timer is set for the earliest of their deadlines or before, and keeps the process alive; otherwise it doesn't.
 */
export class Deadlines {
  readonly #waiting = new Set<Waiting>();
  #timer: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;

  /** What becomes of `promise` until `endMs`, by `performance.now()`. */
  keep<T>(promise: Promise<T>, endMs: number, { onLate, onFailure }: DeadlineHandlers): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        endMs,
        expire: () => {
          const error = onLate();
          // Later: a driver that had not sent the command yet says so first.
          setImmediate(() => reject(onFailure(error)));
        },
      };
      this.#add(waiting);
      promise.then(
        (value) => {
          this.#remove(waiting);
          resolve(value);
        },
        (error: unknown) => {
          this.#remove(waiting);
          reject(onFailure(error));
        },
      );
    });
  }

  #add(waiting: Waiting): void {
    this.#waiting.add(waiting);
    if (waiting.endMs < this.#dueMs) this.#schedule(waiting.endMs);
    else if (this.#waiting.size === 1) this.#timer?.ref();
  }

  #remove(waiting: Waiting): void {
    this.#waiting.delete(waiting);
    if (this.#waiting.size === 0) this.#timer?.unref();
  }

  #schedule(dueMs: number): void {
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.#expireLate(), Math.max(0, dueMs - performance.now()));
  }

  #expireLate(): void {
    const nowMs = performance.now();
    this.#timer = undefined;
    this.#dueMs = Number.POSITIVE_INFINITY;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const waiting of this.#waiting) {
      if (waiting.endMs > nowMs) nextMs = Math.min(nextMs, waiting.endMs);
      else {
        this.#waiting.delete(waiting);
        waiting.expire();
      }
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#schedule(nextMs);
  }
}
