-- Remove dead letters permanently: the named ones, or those older than an age.
--
-- KEYS 1 dead (receipt -> time of death, ms)   2 records (id -> value)
-- ARGV 1 "named", then receipts; or "older", age in ms, maximum number
-- Returns a flag per receipt (1 removed, 0 no longer there), or the number removed
local flags, removed = {}, 0

local function remove(receipt)
  local ours = redis.call('ZREM', KEYS[1], receipt)
  if ours == 1 then redis.call('HDEL', KEYS[2], string.match(receipt, '^(.*)/[^/]*$') or receipt) end
  return ours
end

if ARGV[1] == 'named' then
  for i = 2, #ARGV do flags[i - 1] = remove(ARGV[i]) end
  return flags
end

local now = redis.call('TIME')
local before = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[2]
for _, receipt in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%d', before), 'LIMIT', 0, ARGV[3])) do
  removed = removed + remove(receipt)
end
return removed
