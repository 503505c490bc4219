/**
 * Keeps work on files from waiting for ever: Node hands it to a pool of threads, and the call that is to wake one of them can be lost, when
 * all of it stands still although nothing is wrong. Any later work wakes a thread, which then does all that waits; so there is some.
 *
 * Seen with Node 20 on glibc 2.36: a `stat` that did not return for seven minutes, and did at once when another was called. Known causes
 * are in the condition variables of glibc before 2.41 (its bug 25847) and of macOS (libuv's issue 5280).
 */
import { stat } from 'node:fs';

/** How long work may wait that nobody was woken for, in ms. */
const PERIOD_MS = 1_000;

/** Where threads are busy, or a disk does not answer, more work helps nobody. */
const WAITING_MAX = 8;

let holders = 0;
let timer: NodeJS.Timeout | undefined;
let waiting = 0;

/** Sees to it, until the function that it returns is called, that waiting work is taken up within a second. Keeps no process running. */
export function keepThreadPoolAwake(): () => void {
  let isHeld = true;
  holders += 1;
  timer ??= setInterval(giveWork, PERIOD_MS).unref();
  return () => {
    if (!isHeld) return;
    isHeld = false;
    holders -= 1;
    if (holders > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

function giveWork(): void {
  if (waiting >= WAITING_MAX) return;
  waiting += 1;
  stat('/', () => {
    waiting -= 1;
  });
}
