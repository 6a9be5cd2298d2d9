-- Move jobs from Sockudo's list into our own; return what can be claimed and when the next record is due.
-- A Sockudo before 5.0 deletes its list when it stops; jobs that are in `ready` by then are safe.
--
-- KEYS 1 source list   2 ready   3 active   4 delayed
-- ARGV 1 maximum number of bodies to move   2 bodies per step   3 bytes after which to stop
-- Returns {moved, claimable now, milliseconds until the next record is due or -1}
--
-- The LTRIM that trims nothing comes first because a Redis over maxmemory refuses a script whose first write is RPUSH.
-- Bodies are stored in `ready` before they are removed from the source: an error in the middle undoes nothing.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local moved, bytes = 0, 0
while moved < tonumber(ARGV[1]) and bytes < tonumber(ARGV[3]) do
  local bodies = redis.call('LRANGE', KEYS[1], 0, ARGV[2] - 1)
  if #bodies == 0 then break end
  redis.call('LTRIM', KEYS[1], 0, -1)
  redis.call('RPUSH', KEYS[2], unpack(bodies))
  redis.call('LTRIM', KEYS[1], #bodies, -1)
  moved = moved + #bodies
  for _, body in ipairs(bodies) do bytes = bytes + #body end
end
-- If there is nothing to move, this write detects a server that takes no writes before a job arrives.
if moved == 0 then redis.call('LTRIM', KEYS[1], 0, -1) end
local claimable, nearest = redis.call('LLEN', KEYS[2]), -1
for i = 3, 4 do
  claimable = claimable + redis.call('ZCOUNT', KEYS[i], '-inf', now)
  local ahead = redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. string.format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if ahead and (nearest < 0 or ahead - now < nearest) then nearest = ahead - now end
end
return {moved, claimable, math.ceil(math.min(nearest, 86400000))}
