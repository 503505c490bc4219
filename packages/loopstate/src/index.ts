export * from '@loopstate/core';
