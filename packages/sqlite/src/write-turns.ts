/**
 * Whose turn it is to write to a file, among the handles of this process. SQLite would make the others wait on threads that they
 * all share, and one that holds the lock may need such a thread to go on.
 */
const turns = new Map<string, Promise<void>>();

/** Runs `run` when all who came earlier with the same path are done. */
export async function inWriteTurn<T>(path: string, run: () => Promise<T>): Promise<T> {
  const before = turns.get(path);
  const running = before === undefined ? run() : before.then(run);
  const done = running.then(
    () => undefined,
    () => undefined,
  );
  turns.set(path, done);
  try {
    return await running;
  } finally {
    if (turns.get(path) === done) turns.delete(path);
  }
}
