export * from './backend.js';
export * from './checked-commit.js';
export * from './errors.js';
export * from './memory.js';
