export { compactFile, type FileCompaction } from './compact-file.js';
export { type DiagnoseFileOptions, diagnoseFile } from './diagnosis.js';
export { type Disk, type DiskFile, type FileStamp, nodeDisk, type ReadOptions } from './disk.js';
export { FINDING_CODES, type FindingCode } from './findings.js';
export { FILE_DIAGNOSES } from './judge-file.js';
export { type HeldLock, kernelLock, type Lock } from './lock.js';
export { type OldFile, parseOldFile } from './old-file.js';
export { type FileBackend, type FileBackendOptions, openFileBackend } from './open-file-backend.js';
export type { ImportOldFormat } from './recovery.js';
