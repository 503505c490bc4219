/** A worker thread that tries to open a store, and posts the code of what came of it. */
import { parentPort, workerData } from 'node:worker_threads';
import { isLoopStateError } from '@loopstate/core';
import { openFileBackend } from '@loopstate/file';

try {
  await (await openFileBackend(String(workerData))).close();
  parentPort?.postMessage('opened');
} catch (error) {
  parentPort?.postMessage(isLoopStateError(error) ? error.code : String(error));
}
