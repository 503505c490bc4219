// Lets plain `node` run the TypeScript sources: tests, examples and benchmarks need no build.
import { access } from 'node:fs';
import { register } from 'node:module';

register('ts-node/esm', import.meta.url);

// As a store that is open does for its process: work on files whose wake-up was lost goes on within a second.
setInterval(() => access('/', () => {}), 1_000).unref();
