-- Count the jobs of Queue V2 that are in none of its keys, and therefore are never claimed.
--
-- KEYS 1 jobs   2 wait   3 delayed   4 active   5 completed   6 dlq (Sockudo's own dead letters)   7 held (ours)
-- Returns their number; it is a lower limit, because an id may be in more than one key
local placed = redis.call('LLEN', KEYS[2])
for i = 3, 7 do placed = placed + redis.call('ZCARD', KEYS[i]) end
return math.max(redis.call('HLEN', KEYS[1]) - placed, 0)
