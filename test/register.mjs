// Lets plain `node` run the TypeScript sources: tests, examples and benchmarks need no build.
import { register } from 'node:module';

register('ts-node/esm', import.meta.url);
