-- Start a new lease for every claim that is still ours.
--
-- KEYS 1 active (receipt -> lease deadline, ms)
-- ARGV 1 lease, ms; then receipts
-- Returns a flag per receipt: 1 renewed, 0 no longer ours
--
-- The ZREM that removes nothing comes first because a Redis over maxmemory refuses a script that begins with ZADD.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local flags = {}
redis.call('ZREM', KEYS[1], '')
for i = 2, #ARGV do
  flags[i - 1] = redis.call('ZSCORE', KEYS[1], ARGV[i]) and 1 or 0
  if flags[i - 1] == 1 then redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
end
return flags
