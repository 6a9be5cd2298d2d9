-- Start a new lease for every claim on Queue V2 whose word is still the stored one.
--
-- KEYS 1 active (id -> deadline, ms)   2 tokens (id -> word)
-- ARGV 1 lease, ms; then receipts (with ids as shown by the claim)
-- Returns a flag per receipt: 1 renewed, 0 no longer ours
--
-- The ZREM that removes nothing comes first because a Redis over maxmemory refuses a script that begins with ZADD.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local flags = {}
redis.call('ZREM', KEYS[1], '')
for i = 2, #ARGV do
  local id, word = string.match(ARGV[i], '^(.*)/([^/]*)$')
  id = string.gsub(id, '%%(%x%x)', function(digits) return string.char(tonumber(digits, 16)) end)
  flags[i - 1] = redis.call('HGET', KEYS[2], id) == word and 1 or 0
  if flags[i - 1] == 1 then redis.call('ZADD', KEYS[1], now + ARGV[1], id) end
end
return flags
