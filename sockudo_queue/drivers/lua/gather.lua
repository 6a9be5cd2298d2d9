-- Move what waits in Sockudo's list into our own, and tell what can be claimed and when the next record falls due.
-- A Sockudo before 5.0 deletes its list when it stops; what is in `ready` by then is safe.
--
-- KEYS 1 source list   2 ready   3 active   4 delayed
-- ARGV 1 how many bodies to move at most
-- Returns {moved, claimable now, milliseconds until the next record falls due or -1}
--
-- LTRIM comes first because a Redis over maxmemory refuses a script whose first write is RPUSH.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local bodies = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
if #bodies > 0 then
  redis.call('LTRIM', KEYS[1], #bodies, -1)
  redis.call('RPUSH', KEYS[2], unpack(bodies))
end
local claimable, nearest = redis.call('LLEN', KEYS[2]), -1
for i = 3, 4 do
  claimable = claimable + redis.call('ZCOUNT', KEYS[i], '-inf', now)
  local ahead = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. string.format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if ahead and (nearest < 0 or ahead - now < nearest) then nearest = ahead - now end
end
return {#bodies, claimable, math.ceil(nearest)}
