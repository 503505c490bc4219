export { compactSqlite, type SqliteCompaction } from './compact-sqlite.js';
export { type DiagnoseSqliteOptions, diagnose, diagnoseSqlite } from './diagnosis.js';
export { FINDING_CODES, type FindingCode } from './findings.js';
export { SQLITE_DIAGNOSES } from './judge-sqlite.js';
export { openBackend, openSqliteBackend, type SqliteBackendOptions } from './open-sqlite-backend.js';
export type { SqliteAdapter, SqliteLocation } from './target.js';
