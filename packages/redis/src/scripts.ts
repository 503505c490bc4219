/**
 * What runs inside Redis. A script is one atomic step there: nothing else happens between its first read and its last write.
 *
 * The keys of every script, all in the slot of the hash tag `{job}`:
 *
 * | KEYS | key                     | type | holds |
 * |------|-------------------------|------|-------|
 * | 1    | `loopstate:{job}:header`     | hash | `format`, `store` (its id), `revision` (of the last commit), `count` (of the records), `forgotten` (the largest revision of a deletion that is no longer known), `turn`, `server`, and `turn:<n>` |
 * | 2    | `loopstate:{job}:records`    | hash | key → `<revision> <checksum> <JSON>` |
 * | 3    | `loopstate:{job}:revisions`  | zset | key, by the revision of its record |
 * | 4    | `loopstate:{job}:tombstones` | zset | key, by the revision of its deletion |
 *
 * A *turn* is a stretch of commits that one server process made (`server` is its run id). When another one, or the same one
 * restarted, makes its first commit, `turn:<n>` keeps which server made turn n and at which revision it ended. A caller tells up to
 * where it has seen the store, and in which turn: if that turn ended before what the caller saw, writes were lost.
 *
 * The arguments that `COMMIT`, `READ` and `CHANGES` begin with:
 *
 * | ARGV | is |
 * |------|----|
 * | 1    | the id of the store that is expected |
 * | 2    | the highest revision that the caller has seen |
 * | 3, 4 | the turn in which it has seen it, and the server of that turn |
 * | 5    | the run id of the server that is asked; empty: find out |
 *
 * They answer `OK turn server revision …`, or without any effect: `BACKWARDS store revision` (another store, an older one, or none),
 * `DAMAGED key` (empty: the records as a whole), `FORGOTTEN since`.
 *
 * **Invariants:**
 * - All that can fail comes before the first write, or is that first write; the first write is one that Redis refuses when it has no memory left.
 * - Revisions are compared as the decimal texts that Redis gives for scores; they stay below 2^53, where these are exact.
 */
import { createHash } from 'node:crypto';

/** A script with the name by which Redis knows it. */
export interface Script {
  readonly text: string;
  /** The SHA-1 of the text in hexadecimal digits. */
  readonly sha: string;
}

const HEAD = `
local header, records, revisions, tombstones = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local head = redis.call('HMGET', header, 'store', 'revision', 'count', 'turn', 'server', 'forgotten', 'format')
local store, revision, count, turn, server, forgotten, format = unpack(head, 1, 7)

local function isWhole()
  return tonumber(revision) and tonumber(count) and tonumber(turn) and server and tonumber(forgotten)
    and redis.call('HLEN', records) == tonumber(count) and redis.call('ZCARD', revisions) == tonumber(count)
end

local function serverAsked(given)
  if given ~= '' then return given end
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end
`;

const JUDGE = `
local function lastOfTurn(known, knownServer)
  if turn == known then return server == knownServer and revision end
  local past = redis.call('HGET', header, 'turn:' .. known)
  if not past then return false end
  local pastServer, pastRevision = string.match(past, '^(%S+) (%d+)$')
  return pastServer == knownServer and pastRevision
end

local function trouble()
  local backwards = {'BACKWARDS', store or '', revision or '0'}
  if store ~= ARGV[1] then return backwards end
  if not isWhole() then return {'DAMAGED', ''} end
  local last = lastOfTurn(ARGV[3], ARGV[4])
  if not last or tonumber(last) < tonumber(ARGV[2]) then return backwards end
end

local refusal = trouble()
if refusal then return refusal end
`;

/**
 * Makes the store if it is missing and may be made.
 *
 * | ARGV | is |
 * |------|----|
 * | 1    | the format that the caller knows |
 * | 2    | the id of the store, should it be made |
 * | 3    | `write` or `read` |
 * | 4    | the run id of the server; empty: find out |
 *
 * Answers `OK store revision turn server`, `MISSING`, `NEWER format`, `DAMAGED`. For `write` it tries each kind of write without
 * changing anything, so that a user who may not do one of them learns that here and not in the middle of a commit.
 */
export const OPEN = script(`${HEAD}
if not store then
  if redis.call('EXISTS', header, records, revisions, tombstones) > 0 then return {'DAMAGED', ''} end
  if ARGV[3] ~= 'write' then return {'MISSING'} end
  format, store, revision, count, turn, server, forgotten = ARGV[1], ARGV[2], '0', '0', '1', serverAsked(ARGV[4]), '0'
  redis.call('HSET', header, 'format', format, 'store', store, 'revision', revision, 'count', count, 'turn', turn,
    'server', server, 'forgotten', forgotten)
end
if not tonumber(format) then return {'DAMAGED', ''} end
if tonumber(format) > tonumber(ARGV[1]) then return {'NEWER', format} end
if not isWhole() then return {'DAMAGED', ''} end
if ARGV[3] == 'write' then
  redis.call('HSET', header, 'format', format)
  redis.call('HDEL', records, '')
  for _, sorted in ipairs({revisions, tombstones}) do
    redis.call('ZADD', sorted, 'XX', 0, '')
    redis.call('ZREM', sorted, '')
  end
  redis.call('ZPOPMIN', tombstones, 0)
  redis.call('TIME')
end
return {'OK', store, revision, turn, server}
`);

/**
 * Judges commits one after another and applies those whose checks hold.
 *
 * | ARGV | is |
 * |------|----|
 * | 6    | `1`: write something even when every commit is refused, so that `WAIT` waits for what the refusals saw |
 * | 7    | how many tombstones are kept |
 * | 8    | how many turns are kept |
 * | 9    | how many commits follow |
 * | then for each commit | the numbers of its checks, puts and deletes; for each check key and revision; for each put key and `<checksum> <JSON>`; for each delete the key |
 *
 * Answers for each commit its revision, or a list: for each conflict the key and its record (empty: absent).
 */
export const COMMIT = script(`${HEAD}${JUDGE}
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local here = serverAsked(ARGV[5])
local last, live, graves = tonumber(revision), tonumber(count), redis.call('ZCARD', tombstones)
local at = 10

local function conflictsOf(checks)
  local conflicts = {}
  for _ = 1, checks do
    local key = ARGV[at]
    local found = redis.call('ZSCORE', revisions, key)
    if (found or '0') ~= ARGV[at + 1] then
      conflicts[#conflicts + 1] = key
      conflicts[#conflicts + 1] = found and redis.call('HGET', records, key) or ''
    end
    at = at + 2
  end
  return conflicts
end

local function put(stamp, key, text)
  if redis.call('HSET', records, key, stamp .. ' ' .. text) == 1 then
    live = live + 1
    if graves > 0 then graves = graves - redis.call('ZREM', tombstones, key) end
  end
  redis.call('ZADD', revisions, stamp, key)
end

local function delete(stamp, key)
  graves = graves + redis.call('ZADD', tombstones, stamp, key)
  if redis.call('HDEL', records, key) == 1 then live = live - 1 end
  redis.call('ZREM', revisions, key)
end

local reply = {'OK', turn, server, revision}
local wrote = false
for _ = 1, tonumber(ARGV[9]) do
  local checks, puts, deletes = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  local conflicts = conflictsOf(checks)
  if #conflicts > 0 then
    at = at + 2 * puts + deletes
    reply[#reply + 1] = conflicts
  else
    last = math.max(last + 1, clock)
    local stamp = string.format('%.0f', last)
    for _ = 1, puts do
      put(stamp, ARGV[at], ARGV[at + 1])
      at = at + 2
    end
    for _ = 1, deletes do
      delete(stamp, ARGV[at])
      at = at + 1
    end
    wrote = true
    reply[#reply + 1] = last
  end
end

if wrote then
  local excess = graves - tonumber(ARGV[7])
  if excess > 0 then
    local gone = redis.call('ZPOPMIN', tombstones, excess)
    forgotten = gone[#gone]
  end
  if server ~= here then
    redis.call('HSET', header, 'turn:' .. turn, server .. ' ' .. revision)
    redis.call('HDEL', header, 'turn:' .. string.format('%.0f', turn - ARGV[8]))
    turn, server = string.format('%.0f', turn + 1), here
    redis.call('HSET', header, 'turn', turn, 'server', server)
    reply[2], reply[3] = turn, server
  end
  reply[4] = string.format('%.0f', last)
  redis.call('HSET', header, 'revision', reply[4], 'count', live, 'forgotten', forgotten)
elseif ARGV[6] == '1' then
  redis.call('HSET', header, 'revision', revision)
end
return reply
`);

/**
 * | ARGV | is |
 * |------|----|
 * | 6    | how many keys are looked up at once |
 * | 7 …  | the keys |
 *
 * Answers each key's record as it is stored (empty: absent).
 */
export const READ = script(`${HEAD}${JUDGE}
local reply = {'OK', turn, server, revision}
for from = 7, #ARGV, tonumber(ARGV[6]) do
  local to = math.min(from + ARGV[6] - 1, #ARGV)
  local found = redis.call('HMGET', records, unpack(ARGV, from, to))
  local scores = redis.call('ZMSCORE', revisions, unpack(ARGV, from, to))
  for index, score in ipairs(scores) do
    local record = found[index]
    if not score and not record then
      reply[#reply + 1] = ''
    elseif score and record and string.sub(record, 1, #score + 1) == score .. ' ' then
      reply[#reply + 1] = record
    else
      return {'DAMAGED', ARGV[from + index - 1]}
    end
  end
end
return reply
`);

/**
 * A page of what was put or deleted, in the order of revisions; a commit is never cut in two.
 *
 * | ARGV | is |
 * |------|----|
 * | 6    | the revision after which the page begins |
 * | 7    | the revision from which on no deletion may have been forgotten; `-1`: any may |
 * | 8    | about how many changes a page has |
 * | 9    | after how many bytes a page ends |
 *
 * Answers `1` if there is more, and for each change its key, its revision and its record as it is stored
 * (empty: deleted).
 */
export const CHANGES = script(`${HEAD}${JUDGE}
local after, known, most = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
if known >= 0 and known < tonumber(forgotten) then return {'FORGOTTEN', ARGV[7]} end

local function first(sorted)
  local found = redis.call('ZRANGEBYSCORE', sorted, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  return found, #found < 2 * most and math.huge or tonumber(found[#found])
end

local live, liveEnd = first(revisions)
local dead, deadEnd = first(tombstones)
local cut = math.min(liveEnd, deadEnd)
local function wholeAtCut(sorted, found, itsEnd)
  if itsEnd > cut or cut == math.huge then return found end
  return redis.call('ZRANGEBYSCORE', sorted, '(' .. after, string.format('%.0f', cut), 'WITHSCORES')
end
live = wholeAtCut(revisions, live, liveEnd)
dead = wholeAtCut(tombstones, dead, deadEnd)

local reply = {'OK', turn, server, revision, cut < math.huge and '1' or '0'}
local i, j, bytes, previous = 1, 1, 0, 0
while true do
  local liveScore, deadScore = tonumber(live[i + 1] or math.huge), tonumber(dead[j + 1] or math.huge)
  local score = math.min(liveScore, deadScore)
  if score == math.huge or score > cut then break end
  if bytes > tonumber(ARGV[9]) and score > previous then
    reply[5] = '1'
    break
  end
  local key, stamp, record = dead[j], dead[j + 1], ''
  if liveScore <= deadScore then
    key, stamp = live[i], live[i + 1]
    record = redis.call('HGET', records, key)
    if not record or string.sub(record, 1, #stamp + 1) ~= stamp .. ' ' then return {'DAMAGED', key} end
    i = i + 2
  else
    j = j + 2
  end
  bytes, previous = bytes + #key + #record, score
  reply[#reply + 1] = key
  reply[#reply + 1] = stamp
  reply[#reply + 1] = record
end
return reply
`);

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}
