-- Make dead letters of ours ready again on Queue V2, under the same ids, behind what is due already.
--
-- Begins with v2_queue.lua, for its KEYS and for what ARGV holds up to 6.
-- ARGV from 7 for each letter: receipt of its death, payload ("" takes what is dead as it lies there)
-- Returns a flag per letter: 1 replayed, 0 that death is no longer there
local flags = {}
begin_with_a_removal()
for i = 7, #ARGV, 2 do
  local receipt = ARGV[i]
  local own, payload = string.match(receipt, '^(.*)/%d+$'), ARGV[i + 1]
  local there = own and redis.call('ZSCORE', dead, receipt)
  if there and payload == '' then
    local value = redis.call('HGET', records, own) or ''
    payload = string.byte(value, 1) == 1 and string.sub(value, (string.find(value, '\n', 1, true) or #value) + 1) or value
  end
  if there then
    local id = hidden(own)
    redis.call('HSET', jobs, id, payload)
    redis.call('HSET', attempts, id, 0)
    redis.call('ZREM', completed, id)
    redis.call('ZADD', delayed, now, id)
    redis.call('ZREM', dead, receipt)
    redis.call('HDEL', records, own)
    ring()
    tell('replayed', id)
  end
  flags[#flags + 1] = there and 1 or 0
end
return flags
