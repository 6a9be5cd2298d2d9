-- After the server's clock was set back: reschedule records that would otherwise wait too long.
--
-- KEYS sorted sets (member -> due, ms)
-- ARGV 1 step, ms, by which the clock was set back   2 maximum number of records to move   then for each key: the
-- longest
--      time, ms, that one of its records can be ahead
-- Returns the number moved
--
-- A due time is moved by exactly the step, and only if it was beyond the longest time and is not afterwards, so several
-- daemons can do this concurrently. Records that would still be beyond it were delayed for longer than this daemon's
-- settings allow. They stay unchanged, because moving them twice would make them early.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local moved = 0
for i, key in ipairs(KEYS) do
  local latest = now + ARGV[i + 2]
  redis.call('ZREM', key, '')
  local far = redis.call('ZRANGEBYSCORE', key, '(' .. string.format('%d', latest), string.format('%d', latest + ARGV[1]),
    'WITHSCORES', 'LIMIT', 0, ARGV[2])
  for j = 1, #far, 2 do
    redis.call('ZADD', key, string.format('%.1f', math.max(now, far[j + 1] - ARGV[1])), far[j])
    moved = moved + 1
  end
end
return moved
