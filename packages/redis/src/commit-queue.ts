/**
 * Lets the commits of one turn of the event loop share a call. Each keeps its own answer.
 *
 * **Invariants:**
 * - Each commit is part of exactly one group, and groups are sent in the order in which they were formed.
 * - A group is within both bounds, unless one commit alone exceeds them.
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

  constructor(commitGroup: CommitGroup) {
    this.#commitGroup = commitGroup;
  }

  add(commit: CheckedCommit): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      // Ticks run when all promises of the turn have had theirs, and before the driver writes to its socket.
      if (this.#waiting.length === 0) process.nextTick(() => this.#send());
      this.#waiting.push({ commit, resolve, reject });
    });
  }

  #send(): void {
    const group = this.#waiting.splice(0, sizeOfGroup(this.#waiting));
    if (this.#waiting.length > 0) setImmediate(() => this.#send());
    if (group.length > 0) void this.#sendGroup(group);
  }

  async #sendGroup(group: readonly Waiting[]): Promise<void> {
    try {
      const answers = await this.#commitGroup(group.map(({ commit }) => commit));
      for (const [index, { resolve, reject }] of group.entries()) {
        const answer = answers[index];
        if (answer !== undefined && 'ok' in answer) resolve(answer);
        else reject(answer);
      }
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
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
