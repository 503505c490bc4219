import { HistoryGoneError, type Json, LIMITS, LoopStateError, type StateChange, type StateRecord } from '@loopstate/core';
import { aMoment, type Canary, mapKeys } from './canary.js';

/** Backends that read, tell, keep or close in a way that is almost right. */
export const otherCanaries: readonly Canary[] = [
  {
    name: 'reads from a cache until it commits itself',
    breaks: 'read/fresh',
    replace: (inner) => {
      const cache = new Map<string, StateRecord | undefined>();
      return {
        async read(keys) {
          const records = await inner.read(keys);
          return keys.map((key, index) => {
            if (!cache.has(key)) cache.set(key, records[index]);
            return cache.get(key);
          });
        },
        commit(commit) {
          cache.clear();
          return inner.commit(commit);
        },
      };
    },
  },
  {
    name: 'answers a read in an order of its own',
    breaks: 'read/fresh',
    replace: (inner) => ({ read: (keys) => inner.read([...keys].sort()) }),
  },
  {
    name: 'reads a thousand keys at a time',
    breaks: 'commit/all-or-nothing',
    replace: (inner) => ({
      async read(keys) {
        if (keys.length <= 1_000) return inner.read(keys);
        const [some, others] = [keys.slice(0, 1_000), keys.slice(1_000)];
        const records = await inner.read(some);
        await aMoment();
        return [...records, ...(await inner.read(others))];
      },
    }),
  },
  {
    name: 'passes over deletions',
    breaks: 'changes/no-gap',
    replace: (inner) => ({
      async *changes(since) {
        for await (const change of inner.changes(since)) if (change.record !== undefined) yield change;
      },
    }),
  },
  {
    name: 'tells the newest change first',
    breaks: 'changes/no-gap',
    replace: (inner) => ({
      async *changes(since) {
        const changes: StateChange[] = [];
        for await (const change of inner.changes(since)) changes.push(change);
        yield* changes.reverse();
      },
    }),
  },
  turningPages({ name: 'turns a page of two in the middle of a commit, and loses the rest of it', rowsOfPage: 2, isCounted: () => true }),
  turningPages({
    name: 'turns a page of a thousand puts in the middle of a commit',
    rowsOfPage: 1_000,
    isCounted: ({ record }) => record !== undefined,
  }),
  turningPages({
    name: 'turns a page of a thousand deletions in the middle of a commit',
    rowsOfPage: 1_000,
    isCounted: ({ record }) => record === undefined,
  }),
  {
    name: 'passes over deletions that come while it tells of changes',
    breaks: 'changes/no-gap',
    replace: (inner) => ({
      async *changes(since) {
        let cursor = since;
        for await (const change of inner.changes(since)) {
          cursor = change.revision;
          yield change;
        }
        for await (const change of inner.changes(cursor)) if (change.record !== undefined) yield change;
      },
    }),
  },
  {
    name: 'begins with the cursor itself',
    breaks: 'changes/no-gap',
    replace: (inner) => ({ changes: (since) => inner.changes(Math.max(0, since - 1)) }),
  },
  {
    name: 'calls history gone that nothing was deleted from',
    breaks: 'changes/no-gap',
    replace: (inner, store) => ({
      async *changes(since) {
        if (since > 0 && since + 1 < store.state.revision) throw new HistoryGoneError(since);
        yield* inner.changes(since);
      },
    }),
  },
  {
    name: 'hands out the very object that it keeps',
    breaks: 'value/exact',
    replace: (inner) => {
      const kept = new Map<number, Json>();
      return {
        async read(keys) {
          const records = await inner.read(keys);
          return records.map((record) => {
            if (record === undefined) return undefined;
            const value = kept.get(record.revision) ?? record.value;
            kept.set(record.revision, value);
            return { ...record, value };
          });
        },
      };
    },
  },
  {
    name: 'keeps the object that was given until a moment later',
    breaks: 'value/exact',
    replace: (inner) => ({
      async commit(commit) {
        await aMoment();
        return inner.commit(commit);
      },
    }),
  },
  {
    name: 'accepts whatever JSON.stringify makes something of',
    breaks: 'value/exact',
    replace: (inner) => ({
      async commit(commit) {
        const puts = (commit.puts ?? []).map(({ key, value }) => ({ key, value: JSON.parse(JSON.stringify(value) ?? 'null') as Json }));
        return inner.commit({ ...commit, puts });
      },
    }),
  },
  {
    name: 'copies objects by assignment, which loses __proto__',
    breaks: 'value/exact',
    replace: (inner) => ({
      read: async (keys) => (await inner.read(keys)).map((record) => record && { ...record, value: copyByAssignment(record.value) }),
    }),
  },
  { name: 'takes A for a', breaks: 'value/exact', replace: mapKeys((key) => (key.length === 1 ? key.toLowerCase() : key)) },
  { name: 'takes two spellings of é for one', breaks: 'value/exact', replace: mapKeys((key) => key.normalize('NFC')) },
  { name: 'takes blanks at the end for nothing', breaks: 'value/exact', replace: mapKeys((key) => key.replace(/(?<=.) +$/, '')) },
  { name: 'cuts keys at NUL', breaks: 'value/exact', replace: mapKeys((key) => key.slice(0, 1) + key.slice(1).replace(/\0.*$/s, '')) },
  {
    name: 'keeps keys apart by their first 256 characters',
    breaks: 'value/exact',
    replace: (inner, store) => {
      const whole = new Map<string, string>();
      const cut = (key: string): string => {
        if (Buffer.byteLength(key) > LIMITS.keyBytes) return key;
        whole.set(key.slice(0, 256), key);
        return key.slice(0, 256);
      };
      return {
        ...mapKeys(cut)(inner, store),
        async *changes(since) {
          for await (const change of inner.changes(since)) {
            const key = whole.get(change.key) ?? change.key;
            yield { ...change, key, ...(change.record && { record: { ...change.record, key } }) };
          }
        },
      };
    },
  },
  {
    name: 'looks later at the keys to be read',
    breaks: 'value/exact',
    replace: (inner) => ({
      async read(keys) {
        await undefined;
        return await inner.read(keys);
      },
    }),
  },
  {
    name: 'looks keys up in a plain object',
    breaks: 'value/exact',
    replace: (inner) => ({
      async read(keys) {
        const records = await inner.read(keys);
        const inherited = (key: string): boolean => key in {};
        return keys.map((key, index) => records[index] ?? (inherited(key) ? { key, value: {}, revision: 1, at: 0 } : undefined));
      },
    }),
  },
  { name: 'stays open', breaks: 'close/final', replace: () => ({ close: async () => {} }) },
  {
    name: 'answers what is in flight when it is closed already',
    breaks: 'close/final',
    replace: (inner) => ({
      async commit(commit) {
        const result = await inner.commit(commit);
        for (let moments = 0; moments < 3; moments++) await aMoment();
        return result;
      },
    }),
  },
  {
    name: 'takes calls while it is being closed',
    breaks: 'close/final',
    replace: (inner) => ({
      async close() {
        await aMoment();
        await inner.close();
      },
    }),
  },
  {
    name: 'drops what is in flight when it is closed',
    breaks: 'close/final',
    replace: (inner) => {
      let isClosed = false;
      return {
        async commit(commit) {
          const given = structuredClone(commit);
          await aMoment();
          if (isClosed) throw new LoopStateError('LOOPSTATE_CLOSED', 'Too late.');
          return inner.commit(given);
        },
        async close() {
          isClosed = true;
          await inner.close();
        },
      };
    },
  },
  {
    name: 'can be closed once only',
    breaks: 'close/final',
    replace: (inner) => {
      let isClosed = false;
      return {
        async close() {
          if (isClosed) throw new Error('Closed twice.');
          isClosed = true;
          await inner.close();
        },
      };
    },
  },
  {
    name: 'stops in the middle of changes when it is closed',
    breaks: 'close/final',
    replace: (inner) => {
      let isClosed = false;
      return {
        async *changes(since) {
          for await (const change of inner.changes(since)) {
            yield change;
            if (isClosed) return;
          }
        },
        async close() {
          isClosed = true;
          await inner.close();
        },
      };
    },
  },
];

/** What it counts comes in pages that end after so many rows, and the next one begins after the revision of the last. */
function turningPages({
  name,
  rowsOfPage,
  isCounted,
}: {
  name: string;
  rowsOfPage: number;
  isCounted: (change: StateChange) => boolean;
}): Canary {
  return {
    name,
    breaks: 'changes/no-gap',
    replace: (inner) => ({
      async *changes(since) {
        let rows = 0;
        let skipped = 0;
        for await (const change of inner.changes(since)) {
          if (change.revision === skipped && isCounted(change)) continue;
          yield change;
          if (isCounted(change) && ++rows % rowsOfPage === 0) skipped = change.revision;
        }
      },
    }),
  };
}

function copyByAssignment(value: Json): Json {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copyByAssignment);
  const copy: { [name: string]: Json } = {};
  for (const [name, member] of Object.entries(value)) copy[name] = copyByAssignment(member);
  return copy;
}
