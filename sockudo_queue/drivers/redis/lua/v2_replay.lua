-- Make our dead letters ready again on Queue V2, under the same ids, after the records that are already due.
--
-- Loaded after v2_queue.lua, which defines KEYS and ARGV up to 8.
-- ARGV from 9 for each letter: receipt of its death, and its payload as text, first and last byte of the dead letter's
-- body,
--      text
-- Returns a flag per letter: 1 replayed, 0 no longer there
local flags = {}
begin_with_a_removal()
for i = 9, #ARGV, 5 do
  local receipt = ARGV[i]
  local own = string.match(receipt, '^(.*)/%d+$')
  local value = own and redis.call('ZSCORE', dead, receipt) and redis.call('HGET', records, own)
  if value then
    local id = hidden(own)
    local body = string.byte(value, 1) == 1 and string.sub(value, (string.find(value, '\n', 1, true) or #value) + 1) or value
    redis.call('HSET', jobs, id, ARGV[i + 1] .. string.sub(body, ARGV[i + 2], ARGV[i + 3]) .. ARGV[i + 4])
    redis.call('HSET', attempts, id, 0)
    redis.call('ZREM', completed, id)
    redis.call('ZADD', delayed, now, id)
    redis.call('ZREM', dead, receipt)
    redis.call('HDEL', records, own)
    wake_workers()
    add_event('replayed', id)
  end
  flags[#flags + 1] = value and 1 or 0
end
return flags
