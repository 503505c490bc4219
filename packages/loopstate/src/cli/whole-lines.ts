const NEWLINE = 0x0a;

/** A line that is longer is passed on in parts: what never ends must not fill the memory. */
const LINE_BYTES_MAX = 1_024 * 1_024;

/** Cuts a stream of bytes into runs of whole lines. **Invariants:** `#pending` holds no newline, and at most one line. */
export class WholeLines {
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** The lines that `chunk` completes, newlines included; often empty. */
  take(chunk: Buffer): Buffer {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    const lines = end === 0 ? Buffer.alloc(0) : this.#flush(chunk.subarray(0, end));
    if (end < chunk.length) this.#pending.push(chunk.subarray(end));
    this.#pendingBytes += chunk.length - end;
    return this.#pendingBytes > LINE_BYTES_MAX ? Buffer.concat([lines, this.#flush()]) : lines;
  }

  /** The last line, if it had no newline, with one: lines of two children must not run together. */
  end(): Buffer {
    return this.#pendingBytes === 0 ? Buffer.alloc(0) : this.#flush(Buffer.from([NEWLINE]));
  }

  #flush(more: Buffer = Buffer.alloc(0)): Buffer {
    const all = Buffer.concat([...this.#pending, more]);
    this.#pending = [];
    this.#pendingBytes = 0;
    return all;
  }
}
