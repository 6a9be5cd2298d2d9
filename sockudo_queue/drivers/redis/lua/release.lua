-- Make held deliveries due if their webhook is not paused. Called until it returns 0; any daemon may call it at any
-- time.
--
-- KEYS 1 held (member -> place of its webhook and the second in which it was parked)   2 delayed (member -> due, ms)
-- ARGV 1 maximum number of due records   2 minimum number to move regardless of it   3 width of a place; then the
-- sorted
--      places of the paused webhooks
-- Returns the number moved
--
-- Moved records are due now, after the records that are already due. Their number is limited because the due deliveries
-- of
-- other webhooks wait in the same set. Each record is added to its new set before it is removed from the old one.
local held, delayed = KEYS[1], KEYS[2]
redis.call('ZREM', held, '')
local now = redis.call('TIME')
now = string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000))
local room = math.max(ARGV[1] - redis.call('ZCOUNT', delayed, '-inf', now), tonumber(ARGV[2]))
local moved, from = 0, '-inf'

for i = 4, #ARGV + 1 do
  if moved >= room then break end
  local to = ARGV[i] and '(' .. ARGV[i] or '+inf'
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', held, from, to, 'LIMIT', 0, room - moved)) do
    redis.call('ZADD', delayed, now, member)
    redis.call('ZREM', held, member)
    moved = moved + 1
  end
  if ARGV[i] then from = string.format('%.0f', ARGV[i] + ARGV[3]) end
end
return moved
