-- Append items to a history of attempts, within its caps.
--
-- KEYS 1 history (stream)   2 figures (hash)
-- ARGV 1 entries to keep at most   2 bytes to keep at most   3 bytes of an item beside its text   4 mode
--      5 entries that were lost   then the items, see `history/items.py`
-- Returns the entries and bytes that are kept. Without items and losses only the mode of a history is noted.
--
-- The first write is XADD, which Redis refuses over maxmemory: then nothing is changed. XADD also drops what is too
-- old, so no other right is needed for that. One call looks at some 1,000 old items, 32 at a time.
local ROUNDS, LOOKED_AT = 35, 32
local most, most_bytes, beside = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[2], 'entries', 'bytes', 'mode', 'lost')
local length = redis.call('XLEN', KEYS[1])
if length == 0 and #ARGV < 6 and ARGV[5] == '0' then return {'0', '0'} end

-- Whoever writes to the key can write anything there.
local function figure(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end

-- An item is a line with its owner, and a line for each entry.
local function entries_in(text)
  local count = 0
  for _ in string.gmatch(text, '\n') do count = count + 1 end
  return count
end

local entries, bytes = figure(known[1]), figure(known[2])
if length == 0 then
  entries, bytes = 0, 0
elseif not (entries and bytes) then
  entries, bytes = most, most_bytes
end
for i = 6, #ARGV do
  entries, bytes = entries + entries_in(ARGV[i]), bytes + #ARGV[i] + beside
end

local dropped, from = 0, '-'
for round = 0, ROUNDS - 1 do
  if dropped >= length or (entries <= most and bytes <= most_bytes) then break end
  for _, item in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', math.min(2 ^ round, LOOKED_AT))) do
    if entries <= most and bytes <= most_bytes then break end
    local text = item[2][2] or ''
    entries, bytes, dropped = entries - entries_in(text), bytes - #text - beside, dropped + 1
    local ms, number = string.match(item[1], '^(%d+)-(%d+)$')
    from = ms .. '-' .. string.format('%.0f', number + 1)
  end
end

for i = 6, #ARGV do
  length = length + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', math.max(length - dropped, 1), '*', 'e', ARGV[i])
end
entries, bytes = string.format('%.0f', math.max(entries, 0)), string.format('%.0f', math.max(bytes, 0))
redis.call('HSET', KEYS[2], 'entries', entries, 'bytes', bytes)
if known[3] ~= ARGV[4] then
  redis.call('HSET', KEYS[2], 'mode', ARGV[4], 'mode-since', redis.call('TIME')[1])
end
if ARGV[5] ~= '0' then
  redis.call('HSET', KEYS[2], 'lost', string.format('%.0f', (figure(known[4]) or 0) + ARGV[5]))
end
return {entries, bytes}
