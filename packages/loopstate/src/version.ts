import { createRequire } from 'node:module';

/** The version of this package, as its manifest states it. A file at the top of the sources: its code stands as deep once it is bundled. */
export const VERSION = versionOf(createRequire(import.meta.url)('../package.json'));

function versionOf(manifest: unknown): string {
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : 'unknown';
}
