export type { GivenClient } from './connection.js';
export { diagnose, diagnoseRedis } from './diagnosis.js';
export { FINDING_CODES, type FindingCode } from './findings.js';
export { REDIS_DIAGNOSES, type RedisDiagnosisId } from './judge-redis.js';
export { openBackend, openRedisBackend, type RedisBackend, type RedisBackendOptions } from './open-redis-backend.js';
export type { RedisOptions } from './target.js';
export { WentBackwardsError } from './trouble.js';
