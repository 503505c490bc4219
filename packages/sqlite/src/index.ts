export { compactSqlite, type SqliteCompaction } from './compact-sqlite.js';
export { FINDING_CODES, type FindingCode } from './findings.js';
export { openBackend, openSqliteBackend, type SqliteBackendOptions } from './open-sqlite-backend.js';
export type { SqliteLocation } from './target.js';
