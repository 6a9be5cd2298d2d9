-- Make dead letters ready again, under the same ids and with new states, after the records that are already due.
--
-- KEYS 1 dead (receipt -> time of death, ms)   2 records (id -> value)   3 delayed (receipt -> due, ms)
-- ARGV for each letter: receipt, state ("" keeps the value unchanged)
-- Returns a flag per letter: 1 replayed, 0 no longer there
--
-- A receipt identifies one death: a record that was replayed and failed again has a higher number. Of several
-- concurrent
-- replays or purges of the same letter, only one succeeds. Values are as in next.lua.
-- The ZREM that removes nothing comes first because a Redis over maxmemory refuses a script that begins with HSET.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local flags = {}

local function body_of(value)
  if string.byte(value, 1) ~= 1 then return value end
  return string.sub(value, (string.find(value, '\n', 1, true) or #value) + 1)
end

redis.call('ZREM', KEYS[1], '')
for i = 1, #ARGV, 2 do
  local receipt, state = ARGV[i], ARGV[i + 1]
  local id = string.match(receipt, '^(.*)/%d+$')
  local value = id and redis.call('ZSCORE', KEYS[1], receipt) and redis.call('HGET', KEYS[2], id)
  if value then
    if state ~= '' then redis.call('HSET', KEYS[2], id, '\1' .. state .. '\n' .. body_of(value)) end
    redis.call('ZADD', KEYS[3], now, receipt)
    redis.call('ZREM', KEYS[1], receipt)
  end
  flags[#flags + 1] = value and 1 or 0
end
return flags
