import type { Defect, TestChoice } from './defect.js';

/** The tests of the package whose titles `grep` matches. */
function tests(grep: string): TestChoice {
  return { files: ['packages/redis/test'], grep };
}

/** What can go wrong between a commit and a server: in its script, on the way to it, and when it is not what it was. */
export const redisDefects: readonly Defect[] = [
  {
    name: 'judges the checks in a call of their own',
    breaks: 'commit/check-now',
    file: 'packages/redis/src/open-redis-backend.ts',
    find: 'this.#queue = new CommitQueue((commits) => this.#store.commit(commits));',
    replace: `this.#queue = new CommitQueue(async (commits) => {
      const standing = await this.#store.read(commits.flatMap(({ checks }) => checks.map(({ key }) => key)));
      if (commits.flatMap(({ checks }) => checks).every(({ revision }, at) => (standing[at]?.revision ?? 0) === revision))
        commits = commits.map((commit) => ({ ...commit, checks: [] }));
      return await this.#store.commit(commits);
    });`,
    caughtBy: { files: ['test/matrix.test.ts'], grep: '^redis: concurrency commit/check-now: .*handles' },
  },
  {
    name: 'judges the commits of a group as if none of them came first',
    breaks: 'commit/check-now',
    file: 'packages/redis/src/scripts.ts',
    find: '      if commits > 1 then stamps[key] = stamp end\n',
    replace: '',
    caughtBy: { files: ['test/matrix.test.ts'], grep: '^redis: conformance commit/check-now' },
  },
  {
    name: 'gives the commits of a group the revision of the clock',
    breaks: 'commit/one-revision',
    file: 'packages/redis/src/scripts.ts',
    find: '    following = last + 1\n',
    replace: '',
    caughtBy: { files: ['test/matrix.test.ts'], grep: '^redis: conformance commit/one-revision' },
  },
  {
    name: 'sends a commit again whose reply was lost, and answers with what that brings',
    breaks: 'commit/three-answers',
    file: 'packages/redis/src/open-redis-backend.ts',
    find: 'this.#queue = new CommitQueue((commits) => this.#store.commit(commits));',
    replace: 'this.#queue = new CommitQueue((commits) => this.#store.commit(commits).catch(() => this.#store.commit(commits)));',
    caughtBy: tests('redis: lost replies commit/three-answers: cut after'),
  },
  {
    name: 'takes a reply that it cannot read for success',
    breaks: 'commit/three-answers',
    file: 'packages/redis/src/job-store.ts',
    find: "    if (!Array.isArray(reply)) throw new Error('an answer that cannot be read');\n",
    replace: '    if (!Array.isArray(reply)) return [String(witness.revision), witness.revision];\n',
    caughtBy: tests('redis: lost replies commit/three-answers: the reply'),
  },
  {
    name: 'says of a commit whose reply was lost that it had no effect',
    breaks: 'commit/three-answers',
    file: 'packages/redis/src/trouble.ts',
    find: 'if (NEVER_SENT.has(classOf(error)) || !isWrite) {',
    replace: 'if (NEVER_SENT.has(classOf(error)) || !isReply(error) || !isWrite) {',
    caughtBy: tests('redis: lost replies commit/three-answers: cut after'),
  },
  {
    name: 'leaves a command that came too late to the queue of the driver, which sends it when the server is back',
    breaks: 'commit/three-answers',
    file: 'packages/redis/src/connection.ts',
    find: '    this.#abort.abort();\n',
    replace: '',
    caughtBy: tests('commit/three-answers: what a given client'),
  },
  {
    name: 'does not ask whether the store is as new as what was seen of it',
    breaks: 'acked-survives',
    file: 'packages/redis/src/scripts.ts',
    find: '    if tonumber(last) < tonumber(ARGV[2]) then return backwards end\n',
    replace: '',
    caughtBy: tests('redis: crashes of the server.*behind'),
  },
  {
    name: 'does not ask which server made the commits that were seen',
    breaks: 'acked-survives',
    file: 'packages/redis/src/scripts.ts',
    find: 'if string.match(identity, parts) ~= store or pastServer ~= server then return backwards end',
    replace: 'if string.match(identity, parts) ~= store then return backwards end',
    caughtBy: tests('a restored older state'),
  },
  {
    name: 'forgets that the store was behind',
    breaks: 'acked-survives',
    file: 'packages/redis/src/job-store.ts',
    find: '    if (witness === this.#witness) this.#behind = error;\n',
    replace: '',
    caughtBy: tests('redis: crashes of the server.*behind'),
  },
  {
    name: 'judges no checksum of a record',
    breaks: 'value/exact',
    file: 'packages/redis/src/record-text.ts',
    find: 'if (stored.slice(space + 1, space + CHECKSUM_DIGITS + 2) !== ',
    replace: "if (stored.slice(space + 1, space + CHECKSUM_DIGITS + 2) === '' && key !== ",
    caughtBy: tests('a flipped byte of a value'),
  },
  {
    name: 'acknowledges a commit that no replica has, though it was to wait for one',
    breaks: 'commit/acked-survives',
    file: 'packages/redis/src/job-store.ts',
    find: "if (commit.durability === 'synced' && acks < wait)",
    replace: "if (commit.durability === 'synced' && acks < wait - 1)",
    caughtBy: tests('wait=1'),
  },
  {
    name: 'claims to survive a power loss where the server syncs its file later',
    breaks: 'commit/acked-survives',
    file: 'packages/redis/src/preflight.ts',
    find: "return facts.appendFsync === 'always' && facts.isFsyncSkippedOnRewrite === false ? 'power-loss' : 'process-crash';",
    replace: "return 'power-loss';",
    caughtBy: tests('appendfsync everysec'),
  },
  {
    name: 'trusts a server that evicts records',
    breaks: 'acked-survives',
    file: 'packages/redis/src/preflight.ts',
    find: '  if (!isEvictionAllowed) {\n',
    replace: "  if (!isEvictionAllowed && evictionPolicy === '') {\n",
    caughtBy: tests('an old version, eviction'),
  },
  {
    name: 'forgets deletions without saying so',
    breaks: 'changes/no-gap',
    file: 'packages/redis/src/scripts.ts',
    find: "  call('HSET', header, 'forgotten', gone[#gone])\n",
    replace: '',
    caughtBy: tests('changes/no-gap: forgotten deletions'),
  },
  {
    name: 'deletes before the write that may be refused',
    breaks: 'commit/all-or-nothing',
    file: 'packages/redis/src/scripts.ts',
    find: "      if not wrote then call('HSET', header, 'revision', stamp) end\n",
    replace: '',
    caughtBy: tests('commit/all-or-nothing: what a user'),
  },
  {
    name: 'takes a store that went backwards as it is, and leaves no trace of that for others',
    breaks: 'acked-survives',
    file: 'packages/redis/src/scripts.ts',
    find: '  if store == knownStore and tonumber(turn) <= tonumber(knownTurn) then\n',
    replace: "  if identity == '' then\n",
    caughtBy: tests('put in place while the server ran'),
  },
  {
    name: 'lets a client of Sentinels send a commit again',
    breaks: 'commit/three-answers',
    file: 'packages/redis/src/connection.ts',
    find: 'first ??= node.sendCommand',
    replace: 'first = node.sendCommand',
    caughtBy: tests('a client of Sentinels, which sends again by itself'),
  },
];
