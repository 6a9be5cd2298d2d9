-- Drop items of an attempt history: those of one app, or the oldest if the server is short of memory.
-- Loaded after `history_shared.lua`.
--
-- KEYS 1 history   2 figures
-- ARGV 1 beginning of the items of the app; empty for the oldest items   2 bytes of an item in addition to its text
--      3 id to begin at   4 maximum number of items to inspect
--      5 maximum number of bytes to inspect; without an app at most half of the stored bytes, but at least one item
-- Returns the entries that were dropped, the id to continue at (empty at the end), and how many of the bytes are left to
-- drop
local owner, beside, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])
local known = redis.call('HMGET', KEYS[2], 'entries', 'bytes', 'counted')
local entries, bytes = figure(known[1]), figure(known[2])
local counted = known[3] and string.match(known[3], '^%d+-%d+$')

if owner == '' and bytes then most_bytes = math.min(most_bytes, math.max(bytes / 2, 1)) end
local dropped, dropped_bytes, ids = 0, 0, {}
local is_end, from = walk(KEYS[1], ARGV[3], tonumber(ARGV[4]), most_bytes, function(id, text)
  if string.sub(text, 1, #owner) ~= owner then return true end
  if owner == '' and dropped_bytes > most_bytes then return false end
  local count = entries_in(text)
  ids[#ids + 1] = id
  dropped, dropped_bytes = dropped + count, dropped_bytes + #text + beside
  if entries and bytes and not (counted and is_behind(id, counted)) then
    entries, bytes = math.max(entries - count, 0), math.max(bytes - #text - beside, 0)
  end
  return true
end)
if #ids > 0 then
  remove(KEYS[1], ids)
  if owner == '' then
    redis.call('HSET', KEYS[2], 'gone', string.match(ids[#ids], '^%d+'))
  else
    redis.call('HSET', KEYS[2], 'purged', redis.call('TIME')[1])
  end
  if entries and bytes then  -- otherwise they are being recounted
    redis.call('HSET', KEYS[2], 'entries', string.format('%.0f', entries), 'bytes', string.format('%.0f', bytes))
  end
end
return {dropped, is_end and '' or from, math.max(math.floor(most_bytes - dropped_bytes), 0)}
