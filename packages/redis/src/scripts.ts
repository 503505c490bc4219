/**
 * What runs inside Redis. A script is one atomic step there: nothing else happens between its first read and its last write.
 *
 * The keys of every script, all in the slot of the hash tag `{job}`:
 *
 * | KEYS | key                     | type | holds |
 * |------|-------------------------|------|-------|
 * | 1    | `loopstate:{job}:header`     | hash | `identity` (`<store id> <turn> <server>`), `revision` (of the last commit), `count` (of the records), `graves` (the number of tombstones), `format`, `forgotten` (the largest revision of a deletion that is no longer known), and `turn:<n>` (`<server> <revision>`) for turns that are over |
 * | 2    | `loopstate:{job}:records`    | hash | key → `<revision> <checksum> <JSON>` |
 * | 3    | `loopstate:{job}:revisions`  | zset | key, by the revision of its record |
 * | 4    | `loopstate:{job}:tombstones` | zset | key, by the revision of its deletion |
 *
 * A *turn* is a stretch of commits that one server process made (`server` is its run id), and between which nothing was lost. When another
 * one, or the same one restarted, makes its first commit, `turn:<n>` keeps which server made turn n and at which revision it ended. A caller tells up to
 * where it has seen the store, and in which turn: if that turn ended before what the caller saw, writes were lost.
 *
 * The arguments that `COMMIT`, `READ` and `CHANGES` begin with:
 *
 * | ARGV | is |
 * |------|----|
 * | 1    | the identity of the store as the caller has last seen it |
 * | 2    | the highest revision that the caller has seen |
 * | 3    | the run id of the server that is asked; empty: find out |
 *
 * They answer `OK identity revision …` (the identity is empty where it is the one that was given), or without any effect:
 * `BACKWARDS identity revision` (another store, an older one, or none), `DAMAGED key` (empty: the records as a whole), `FORGOTTEN since`.
 *
 * **Invariants:**
 * - All that can fail comes before the first write, or is that first write: an `HSET`, which Redis refuses when it has no memory left. Only a
 *   user who loses the right to one of the other writes after `OPEN` has tried them can leave half of a commit, which is noticed as damage.
 * - Revisions are compared as the decimal texts that Redis gives for scores; they stay below 2^53, where these are exact.
 */
import { createHash } from 'node:crypto';

/** A script with the name by which Redis knows it. */
export interface Script {
  readonly text: string;
  /** The SHA-1 of the text in hexadecimal digits. */
  readonly sha: string;
}

/** How many keys, or half as many records, one call of a command gets: Lua's stack holds about 8,000 values. */
const KEYS_AT_ONCE = 2_000;

/** What every script begins with. */
const HEAD = `
local call = redis.call
local header, records, revisions, tombstones = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local head = call('HMGET', header, 'identity', 'revision', 'count', 'graves')
local identity, revision, count, graves = head[1], head[2], head[3], head[4]
local parts = '^(%S+) (%d+) (%S+)$'
`;

/** Whether the header says what it should, and the keys hold as much as it says. */
const IS_SOUND = `
local function isSound(isWhole)
  if not (identity and (identity == ARGV[1] or string.match(identity, parts))) then return false end
  if not (tonumber(revision) and tonumber(count) and tonumber(graves)) then return false end
  if call('ZCARD', revisions) ~= tonumber(count) then return false end
  return not isWhole or (call('HLEN', records) == tonumber(count) and call('ZCARD', tombstones) == tonumber(graves))
end
`;

/** The run id of the server, as the caller gave it or as the server says. */
function serverAsked(argument: string): string {
  return `(${argument} ~= '' and ${argument} or string.match(call('INFO', 'server'), 'run_id:(%x+)'))`;
}

/**
 * Refuses what the caller must not be answered. `isWhole`: all keys are counted; a commit does without, since one that finds records missing
 * writes nothing that a reader would take for whole. Functions cost each call that defines them: here only one that is not plain.
 */
function judge({ isWhole }: { isWhole: boolean }): string {
  const counted = isWhole ? `and call('HLEN', records) == tonumber(count) and call('ZCARD', tombstones) == tonumber(graves)` : '';
  return `
local news = ''
local isPlain = identity == ARGV[1] and tonumber(graves) and (tonumber(revision) or -1) >= tonumber(ARGV[2])
  and call('ZCARD', revisions) == tonumber(count) ${counted}
if not isPlain then
  ${IS_SOUND}
  local function trouble()
    local backwards = {'BACKWARDS', identity or '', revision or '0'}
    if not identity then return backwards end
    if not isSound(${isWhole}) then return {'DAMAGED', ''} end
    local last = revision
    if identity ~= ARGV[1] then
      local store, turn, server = string.match(ARGV[1], parts)
      local past = call('HGET', header, 'turn:' .. turn)
      if not past then return backwards end
      local pastServer, pastRevision = string.match(past, '^(%S+) (%d+)$')
      if string.match(identity, parts) ~= store or pastServer ~= server then return backwards end
      last = pastRevision
    end
    if tonumber(last) < tonumber(ARGV[2]) then return backwards end
  end
  local refusal = trouble()
  if refusal then return refusal end
  if identity ~= ARGV[1] then news = identity end
end
`;
}

/**
 * Makes the store if it is missing and may be made.
 *
 * | ARGV | is |
 * |------|----|
 * | 1    | the format that the caller knows |
 * | 2    | the id of the store, should it be made |
 * | 3    | `write` or `read` |
 * | 4    | the run id of the server; empty: find out |
 * | 5    | the identity that the caller knew of a store which it found to be behind, and takes as it is; empty: none |
 * | 6    | the revision at which it was found |
 * | 7    | how many turns are kept |
 *
 * The first who takes a store as it is begins a turn, later than all that it knew of, and the standing one ends where the store was found.
 * Without that, others would not notice what it lost once it has a commit that is newer than all that they saw.
 *
 * Answers `OK identity revision`, `MISSING`, `NEWER format`, `DAMAGED`. For `write` it tries each kind of write without
 * changing anything, so that a user who may not do one of them learns that here and not in the middle of a commit. `HSET` is not tried: it comes first
 * in every commit.
 */
export const OPEN = script(`${HEAD}${IS_SOUND}
if not identity then
  if call('EXISTS', header, records, revisions, tombstones) > 0 then return {'DAMAGED', ''} end
  if ARGV[3] ~= 'write' then return {'MISSING'} end
  identity, revision, count, graves = ARGV[2] .. ' 1 ' .. ${serverAsked('ARGV[4]')}, '0', '0', '0'
  call('HSET', header, 'identity', identity, 'revision', revision, 'count', count, 'graves', graves, 'format', ARGV[1], 'forgotten', '0')
end
local format = call('HGET', header, 'format')
if not format or not tonumber(format) then return {'DAMAGED', ''} end
if tonumber(format) > tonumber(ARGV[1]) then return {'NEWER', format} end
if not isSound(true) then return {'DAMAGED', ''} end
if ARGV[3] == 'write' then
  call('HDEL', records, '')
  for _, sorted in ipairs({revisions, tombstones}) do
    call('ZADD', sorted, 'XX', 0, '')
    call('ZREM', sorted, '')
  end
  call('ZPOPMIN', tombstones, 0)
  call('TIME')
  local store, turn, server = string.match(identity, parts)
  local knownStore, knownTurn = string.match(ARGV[5], parts)
  if store == knownStore and tonumber(turn) <= tonumber(knownTurn) then
    local found = tonumber(ARGV[6]) < tonumber(revision) and ARGV[6] or revision
    identity = store .. ' ' .. string.format('%.0f', knownTurn + 1) .. ' ' .. ${serverAsked('ARGV[4]')}
    call('HSET', header, 'turn:' .. turn, server .. ' ' .. found, 'identity', identity)
    call('HDEL', header, 'turn:' .. string.format('%.0f', turn - ARGV[7]))
  end
end
return {'OK', identity, revision}
`);

/**
 * Judges commits one after another and applies those whose checks hold.
 *
 * | ARGV | is |
 * |------|----|
 * | 4    | how many tombstones are kept |
 * | 5    | how many turns are kept |
 * | 6    | how many commits follow |
 * | 7    | how many checks they have in all |
 * | 8 …  | the keys of all these checks, then the revisions that they demand |
 * | then for each commit | its shape: (checks x 1,024 + puts) x 1,024 + deletes, by number; for each put key and `<checksum> <JSON>`; for each delete the key |
 *
 * Lua takes texts for numbers in `for` and in sums.
 *
 * A call of a command, and an argument, cost as much as all else that a commit takes here. So what stands under all checked keys is asked
 * in one call; `stamps` holds what was put since; and puts are written together, at the latest when one of them is to be read or deleted.
 *
 * Answers for each commit its revision, or a list: for each conflict the key and its record (empty: absent). The answer to one commit that was
 * made, by the server as it was known, is its revision alone.
 */
export const COMMIT = script(`${HEAD}${judge({ isWhole: false })}
local time = call('TIME')
local last, stamp = tonumber(revision), revision
local following = math.max(last + 1, tonumber(time[1] .. string.sub('00000' .. time[2], -6)))
local live, buried = tonumber(count), tonumber(graves)
local commits, checks = tonumber(ARGV[6]), tonumber(ARGV[7])

local found = {}
if checks == 1 then
  found[1] = call('ZSCORE', revisions, ARGV[8])
elseif checks > 1 then
  found = call('ZMSCORE', revisions, unpack(ARGV, 8, math.min(7 + checks, ${KEYS_AT_ONCE})))
end

-- Usual is one commit of one put, by a server that is known: if its checks hold, none of what follows is needed.
local isUsual = commits == 1 and tonumber(ARGV[8 + 2 * checks]) == (checks * 1024 + 1) * 1024
  and isPlain and ARGV[3] ~= '' and string.sub(identity, -#ARGV[3]) == ARGV[3]
for place = 1, isUsual and checks or 0 do
  if (found[place] or '0') ~= ARGV[7 + checks + place] then isUsual = false end
end
if isUsual then
  local key, text = ARGV[9 + 2 * checks], ARGV[10 + 2 * checks]
  stamp = string.format('%d', following)
  local added = call('HSET', records, key, stamp .. ' ' .. text)
  call('ZADD', revisions, stamp, key)
  if added == 0 then
    call('HSET', header, 'revision', stamp)
  elseif buried > 0 and call('ZREM', tombstones, key) == 1 then
    call('HSET', header, 'revision', stamp, 'count', live + 1, 'graves', buried - 1)
  else
    call('HSET', header, 'revision', stamp, 'count', live + 1)
  end
  return following
end

-- Before the first write: a user may have lost the right to ask, and a server say nothing of that.
local here = ${serverAsked('ARGV[3]')}
local isSameServer = string.sub(identity, -#here) == here
local reply = {'OK', news, revision}
local wrote = false
local stamps = {}
local fields, scores = {}, {}

local function write()
  wrote = true
  local added = call('HSET', records, unpack(fields))
  call('ZADD', revisions, unpack(scores))
  live = live + added
  if added > 0 and buried > 0 then
    local keys = {}
    for place = 2, #scores, 2 do keys[place / 2] = scores[place] end
    buried = buried - call('ZREM', tombstones, unpack(keys))
  end
  fields, scores = {}, {}
end

for from = ${KEYS_AT_ONCE} + 1, 7 + checks, ${KEYS_AT_ONCE} do
  local part = call('ZMSCORE', revisions, unpack(ARGV, from, math.min(7 + checks, from + ${KEYS_AT_ONCE} - 1)))
  for place = 1, #part do found[from - 8 + place] = part[place] end
end

local check, at = 8, 8 + 2 * checks
for answer = 4, 3 + commits do
  local deletes = ARGV[at] % 1024
  local shape = (ARGV[at] - deletes) / 1024
  local puts = shape % 1024
  local nextCheck = check + (shape - puts) / 1024
  at = at + 1
  local conflicts
  for place = check, nextCheck - 1 do
    local key = ARGV[place]
    local standing = stamps[key]
    if standing == nil then standing = found[place - 7] end
    if (standing or '0') ~= ARGV[place + checks] then
      if #fields > 0 then write() end
      conflicts = conflicts or {}
      conflicts[#conflicts + 1] = key
      conflicts[#conflicts + 1] = standing and call('HGET', records, key) or ''
    end
  end
  check = nextCheck
  if conflicts then
    at = at + 2 * puts + deletes
    reply[answer] = conflicts
  else
    last, stamp = following, string.format('%d', following)
    following = last + 1
    local size = #fields
    for place = 1, 2 * puts, 2 do
      local key, text = ARGV[at], stamp .. ' ' .. ARGV[at + 1]
      fields[size + place], fields[size + place + 1] = key, text
      scores[size + place], scores[size + place + 1] = stamp, key
      if commits > 1 then stamps[key] = stamp end
      at = at + 2
    end
    if deletes > 0 or #fields > ${KEYS_AT_ONCE} then
      if #fields > 0 then write() end
      if not wrote then call('HSET', header, 'revision', stamp) end
      wrote = true
      for _ = 1, deletes do
        local key = ARGV[at]
        buried = buried + call('ZADD', tombstones, stamp, key)
        if call('HDEL', records, key) == 1 then live = live - 1 end
        call('ZREM', revisions, key)
        stamps[key] = false
        at = at + 1
      end
    end
    reply[answer] = last
  end
end

if #fields > 0 then write() end
if not wrote then return reply end

local excess = buried - ARGV[4]
if excess > 0 then
  local gone = call('ZPOPMIN', tombstones, excess)
  call('HSET', header, 'forgotten', gone[#gone])
  buried = buried - excess
end

if not isSameServer then
  local store, turn, server = string.match(identity, parts)
  call('HSET', header, 'turn:' .. turn, server .. ' ' .. revision)
  call('HDEL', header, 'turn:' .. string.format('%.0f', turn - ARGV[5]))
  reply[2] = store .. ' ' .. string.format('%.0f', turn + 1) .. ' ' .. here
  call('HSET', header, 'identity', reply[2])
end

if buried ~= tonumber(graves) then
  call('HSET', header, 'revision', stamp, 'count', live, 'graves', buried)
elseif live ~= tonumber(count) then
  call('HSET', header, 'revision', stamp, 'count', live)
else
  call('HSET', header, 'revision', stamp)
end
if commits == 1 and reply[2] == '' then return last end
reply[3] = stamp
return reply
`);

/**
 * | ARGV | is |
 * |------|----|
 * | 4    | how many keys are looked up at once |
 * | 5 …  | the keys |
 *
 * Answers each key's record as it is stored (empty: absent).
 */
export const READ = script(`${HEAD}${judge({ isWhole: true })}
local reply = {'OK', news, revision}
for from = 5, #ARGV, tonumber(ARGV[4]) do
  local to = math.min(from + ARGV[4] - 1, #ARGV)
  local found = call('HMGET', records, unpack(ARGV, from, to))
  local scores = call('ZMSCORE', revisions, unpack(ARGV, from, to))
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
 * | 4    | the revision after which the page begins |
 * | 5    | the revision from which on no deletion may have been forgotten; `-1`: any may |
 * | 6    | about how many changes a page has |
 * | 7    | after how many bytes a page ends |
 *
 * Answers `1` if there is more, and for each change its key, its revision and its record as it is stored
 * (empty: deleted).
 */
export const CHANGES = script(`${HEAD}${judge({ isWhole: true })}
local after, known, most = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if known >= 0 and known < tonumber(call('HGET', header, 'forgotten')) then return {'FORGOTTEN', ARGV[5]} end

local function first(sorted)
  local found = call('ZRANGEBYSCORE', sorted, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  return found, #found < 2 * most and math.huge or tonumber(found[#found])
end

local live, liveEnd = first(revisions)
local dead, deadEnd = first(tombstones)
local cut = math.min(liveEnd, deadEnd)
local function wholeAtCut(sorted, found, itsEnd)
  if itsEnd > cut or cut == math.huge then return found end
  return call('ZRANGEBYSCORE', sorted, '(' .. after, string.format('%.0f', cut), 'WITHSCORES')
end
live = wholeAtCut(revisions, live, liveEnd)
dead = wholeAtCut(tombstones, dead, deadEnd)

local reply = {'OK', news, revision, cut < math.huge and '1' or '0'}
local i, j, bytes, previous = 1, 1, 0, 0
while true do
  local liveScore, deadScore = tonumber(live[i + 1] or math.huge), tonumber(dead[j + 1] or math.huge)
  local score = math.min(liveScore, deadScore)
  if score == math.huge or score > cut then break end
  if bytes > tonumber(ARGV[7]) and score > previous then
    reply[4] = '1'
    break
  end
  local key, stamp, record = dead[j], dead[j + 1], ''
  if liveScore <= deadScore then
    key, stamp = live[i], live[i + 1]
    record = call('HGET', records, key)
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
