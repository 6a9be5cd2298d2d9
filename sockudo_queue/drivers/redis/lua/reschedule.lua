-- After the server's clock was set back: bring the records that it would leave waiting for too long back within reach.
--
-- KEYS sorted sets (member -> moment, ms)
-- ARGV 1 by how many ms the clock was set back   2 records to move at most   then for each key: the longest time, ms, that
--      one of its moments can be away
-- Returns how many were moved
--
-- A moment is moved by exactly the step, and only where it was beyond the longest time and is not afterwards: several
-- daemons can do this at once. What stays beyond it was put off for longer than this daemon knows of. That is left as it
-- is, since moving it twice would make it early.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local moved = 0
for i, key in ipairs(KEYS) do
  local latest = now + ARGV[i + 2]
  redis.call('ZREM', key, '')
  local far = redis.call('ZRANGEBYSCORE', key, '(' .. string.format('%d', latest), string.format('%d', latest + ARGV[1]),
    'WITHSCORES', 'LIMIT', 0, ARGV[2])
  for j = 1, #far, 2 do
    redis.call('ZADD', key, string.format('%d', math.max(now, far[j + 1] - ARGV[1])), far[j])
    moved = moved + 1
  end
end
return moved
