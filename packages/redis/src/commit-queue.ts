/**
 * Lets the commits of one turn of the event loop share a call. Each keeps its own answer.
 *
 * **Invariants:**
 * - Each commit is part of exactly one group, and groups are sent in the order in which they were formed.
 * - A group is within both bounds, unless one commit alone exceeds them.
 * - `#unanswered` counts the commits that were accepted and have no answer yet.
 */
import type { CheckedCommit, CommitResult, LoopStateError } from '@loopstate/core';

/** Redis serves nobody else while it judges a group. */
const GROUP = { commits: 16, bytes: 1_024 * 1_024 } as const;

/** Commits as a group; an answer, or an error, for each. Rejects with what all have in common. */
export type CommitGroup = (commits: readonly CheckedCommit[]) => Promise<readonly (CommitResult | LoopStateError)[]>;

interface Waiting {
  readonly commit: CheckedCommit;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
}

/** See the file's comment. */
export class CommitQueue {
  readonly #commitGroup: CommitGroup;
  #waiting: Waiting[] = [];
  #unanswered = 0;
  #onSettled: (() => void) | undefined;

  constructor(commitGroup: CommitGroup) {
    this.#commitGroup = commitGroup;
  }

  /** Takes in what `accept` returns, or rejects with what it throws. */
  add(accept: () => CheckedCommit): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      const commit = accept();
      this.#unanswered++;
      // Ticks run when all promises of the turn have had theirs, and before the driver writes to its socket.
      if (this.#waiting.length === 0) process.nextTick(() => this.#send());
      this.#waiting.push({ commit, resolve, reject });
    });
  }

  /** Resolves when every commit has its answer. */
  async settle(): Promise<void> {
    if (this.#unanswered === 0) return;
    await new Promise<void>((resolve) => {
      this.#onSettled = resolve;
    });
  }

  #send(): void {
    const group = this.#waiting.splice(0, sizeOfGroup(this.#waiting));
    if (this.#waiting.length > 0) setImmediate(() => this.#send());
    if (group.length > 0) this.#sendGroup(group);
  }

  #sendGroup(group: readonly Waiting[]): void {
    const answered = (): void => {
      this.#unanswered -= group.length;
      if (this.#unanswered === 0) this.#onSettled?.();
    };
    this.#commitGroup(group.map(({ commit }) => commit)).then(
      (answers) => {
        for (let index = 0; index < group.length; index++) {
          const { resolve, reject } = group[index] as Waiting;
          const answer = answers[index];
          if (answer !== undefined && 'ok' in answer) resolve(answer);
          else reject(answer);
        }
        answered();
      },
      (error: unknown) => {
        for (const { reject } of group) reject(error);
        answered();
      },
    );
  }
}

/** How many of the first make a group. */
function sizeOfGroup(waiting: readonly Waiting[]): number {
  let bytes = 0;
  let size = 0;
  for (const { commit } of waiting) {
    // In UTF-16 units: near enough to bytes for a bound.
    for (const { text } of commit.puts) bytes += text.length;
    if (size === GROUP.commits || (size > 0 && bytes > GROUP.bytes)) break;
    size++;
  }
  return size;
}
