-- Append items to an attempt history within its caps. Loaded after `history_shared.lua`.
--
-- KEYS 1 history (stream)   2 figures (hash)
-- ARGV 1 maximum number of entries   2 maximum number of bytes   3 bytes of an item in addition to its text   4 mode
--      5 seconds after which a mode that was not recorded is no longer in use   6 entries that were lost
--      then the items, see `history/items.py`
-- Returns the entries and bytes that are kept, and 1 if there is more to remove or to count, else 0. Without items and
-- losses, the mode of an existing history is recorded and older items over the caps are removed. A history exists if
-- either key does.
--
-- The first write is XADD, which Redis refuses over maxmemory: then nothing is changed. One call inspects about 1 MB of
-- old items, which takes a few milliseconds.
local FIRST, ITEMS, BYTES = 7, 1000, 1000000
local MODES = {'off', 'failures', 'all'}
local NAMES = {'entries', 'bytes', 'lost', 'gone', 'counted'}
for _, mode in ipairs(MODES) do
  NAMES[#NAMES + 1] = 'since-' .. mode
  NAMES[#NAMES + 1] = 'seen-' .. mode
end
local most, most_bytes, beside = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local mode, gap, lost = ARGV[4], tonumber(ARGV[5]), ARGV[6]
local given, given_entries, given_bytes = #ARGV - FIRST + 1, 0, 0
local length = redis.call('XLEN', KEYS[1])
if length == 0 and given == 0 and lost == '0' and redis.call('EXISTS', KEYS[2]) == 0 then return {'0', '0', 0} end

for i = FIRST, #ARGV do
  given_entries, given_bytes = given_entries + entries_in(ARGV[i]), given_bytes + #ARGV[i] + beside
end
local known = {}
for i, value in ipairs(redis.call('HMGET', KEYS[2], unpack(NAMES))) do known[NAMES[i]] = value end
local clock = redis.call('TIME')
local now = tonumber(clock[1])

-- `gone` is the time when the newest item that was removed to make room had been stored; nil means unknown. `counted`
-- is
-- the id up to which items have been recounted; it is empty while the figures include all of them.
local entries, bytes = figure(known.entries), figure(known.bytes)
local counted = known.counted and string.match(known.counted, '^%d+-%d+$')
local gone = figure(known.gone)
gone = gone and string.format('%.0f', gone)
if length == 0 then
  if (entries or 0) > 0 then gone = clock[1] .. '000' end  -- the stream was removed by another program
  entries, bytes, counted, gone = 0, 0, nil, gone or '0'
elseif not (entries and bytes) then
  entries, bytes, counted, gone = 0, 0, '0-0', nil  -- the figures were removed by another program
end

-- These limits ensure that more is removed than added, however many items arrive.
local items_limit, bytes_limit = ITEMS + 2 * given, BYTES + 2 * given_bytes
if counted then
  local is_end = walk(KEYS[1], after(counted), items_limit, bytes_limit, function(id, text)
    entries, bytes, counted = entries + entries_in(text), bytes + #text + beside, id
    return true
  end)
  if is_end then counted = nil end
end
if not counted then  -- otherwise the recount reaches them later
  entries, bytes = entries + given_entries, bytes + given_bytes
end

local function is_over() return entries > most or bytes > most_bytes end

local removable, ids = given > 0 and length or length - 1, {}
if is_over() then
  walk(KEYS[1], '-', items_limit, bytes_limit, function(id, text)
    if #ids >= removable or not is_over() then return false end
    entries, bytes = entries - entries_in(text), bytes - #text - beside
    ids[#ids + 1] = id
    return true
  end)
end

for i = FIRST, #ARGV do
  length = length + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', math.max(length - #ids, 1), '*', 'e', ARGV[i])
end
if given == 0 then remove(KEYS[1], ids) end
if #ids > 0 then gone = string.match(ids[#ids], '^%d+') end

entries, bytes = math.max(entries, 0), math.max(bytes, 0)
local values = {
  'entries', string.format('%.0f', entries), 'bytes', string.format('%.0f', bytes), 'seen-' .. mode, clock[1],
}
local function set(name, value)
  values[#values + 1] = name
  values[#values + 1] = value
end
if gone then set('gone', gone) end
if counted or (known.counted and known.counted ~= '') then set('counted', counted or '') end
if lost ~= '0' then set('lost', string.format('%.0f', math.min((figure(known.lost) or 0) + lost, 10 ^ 15 - 1))) end

-- A period of a mode ends if it was not recorded for a while in which another mode was.
local seen, other_seen = figure(known['seen-' .. mode]), 0
for _, other in ipairs(MODES) do
  if other ~= mode then other_seen = math.max(other_seen, figure(known['seen-' .. other]) or 0) end
end
if not seen or not figure(known['since-' .. mode]) or (now - seen > gap and other_seen > seen) then
  set('since-' .. mode, clock[1])
end
redis.call('HSET', KEYS[2], unpack(values))
local is_more = counted or (is_over() and length - #ids > 1)
return {string.format('%.0f', entries), string.format('%.0f', bytes), is_more and 1 or 0}
