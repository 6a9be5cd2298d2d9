-- Return what can be claimed from Queue V2, and when the next record is due.
--
-- KEYS 1 wait   2 inline-wait   3 inline-wait-count   4 delayed   5 active   6 notify
-- Returns {0, claimable now, milliseconds until the next record is due or -1}
--
-- Wake-up words are removed when there is nothing to claim: each one left would cause a useless look.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local claimable, nearest = redis.call('LLEN', KEYS[1]), -1
if redis.call('LLEN', KEYS[2]) > 0 then
  -- The producer of packed jobs maintains their count. If it is invalid, 1 is enough to wake a worker.
  claimable = claimable + math.floor(math.min(1000000, math.max(1, tonumber(redis.call('GET', KEYS[3]) or 1) or 1)))
end
for i = 4, 5 do
  claimable = claimable + redis.call('ZCOUNT', KEYS[i], '-inf', now)
  local ahead = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. string.format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if ahead and (nearest < 0 or ahead - now < nearest) then nearest = ahead - now end
end
-- Nothing is trimmed while jobs can be claimed, but the write detects a server that takes no writes at every look.
if claimable == 0 then redis.call('LTRIM', KEYS[6], 1, 0) else redis.call('LTRIM', KEYS[6], 0, -1) end
return {0, claimable, math.ceil(math.min(nearest, 86400000))}
