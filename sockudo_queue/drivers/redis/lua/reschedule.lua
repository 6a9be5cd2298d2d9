-- After the server's clock was set back: bring the records that it would leave waiting for too long back within reach.
--
-- KEYS sorted sets (member -> moment, ms)
-- ARGV 1 by how many ms the clock was set back   2 records to move at most   then for each key: the longest time, ms, that
--      one of its moments can be away
-- Returns how many were moved
--
-- Only moments beyond the longest time are changed, and none is beyond it afterwards: several daemons can do this at once.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local moved = 0
for i, key in ipairs(KEYS) do
  local latest = now + ARGV[i + 2]
  redis.call('ZREM', key, '')
  local far = redis.call('ZRANGEBYSCORE', key, '(' .. string.format('%d', latest), '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
  for j = 1, #far, 2 do
    local meant = math.max(now, math.min(far[j + 1] - ARGV[1], latest))
    redis.call('ZADD', key, string.format('%d', meant), far[j])
    moved = moved + 1
  end
end
return moved
