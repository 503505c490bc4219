import type { CheckedCommit, CommitResult } from '@loopstate/core';

const GROUP_COMMITS_MAX = 4_096;
const GROUP_BYTES_MAX = 8 * 1_024 * 1_024;

/** A commit whose caller waits for the answer. */
export interface Waiting {
  readonly commit: CheckedCommit;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
}

/** Takes the commits from the front of a queue that are written together: one, and more as long as they are not too many or too large. */
export function takeGroup(queue: Waiting[]): Waiting[] {
  let bytes = 0;
  let count = 0;
  for (const { commit } of queue) {
    for (const { key, text } of commit.puts) bytes += key.length + text.length;
    for (const key of commit.deletes) bytes += key.length;
    if (count > 0 && (bytes > GROUP_BYTES_MAX || count === GROUP_COMMITS_MAX)) break;
    count++;
  }
  return queue.splice(0, count);
}
