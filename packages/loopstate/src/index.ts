/**
 * The whole public library: everything of `@loopstate/core`, the file backend, and a `LoopState` that is opened by a URL.
 */
export * from '@loopstate/core';
export { FINDING_CODES, type FileBackend, type FileBackendOptions, type FindingCode, openFileBackend } from '@loopstate/file';
export { type Access, openBackend } from './backend-url.js';
export { type CopyCounts, type CopyOptions, compareLoops, copyLoop, isEqualLoop, type LoopDifference } from './copy-loop.js';
export { diagnose } from './diagnose.js';
export { EXPORT_FORMAT, exportLines, version2Text } from './export-text.js';
export { type ImportCounts, type ImportItemsOptions, importItems } from './import-items.js';
export { IMPORT_FORMATS, type ImportFormat, type ImportOptions, type ImportSource, openImport } from './import-source.js';
// These two stand before the ones of `@loopstate/core`, which know nothing of URLs.
export { LoopState, type LoopStateOptions, type StateTarget } from './loop-state.js';
