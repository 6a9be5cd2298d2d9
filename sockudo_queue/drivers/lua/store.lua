-- Keep parts of a job that was popped without a claim (delivery "at-most-once").
--
-- KEYS 1 records   2 delayed   3 dead
-- ARGV 1 body   2 dead letters to keep; then for each part: "later", "back" or "dead"; receipt; number; state
--      (as in next.lua; a state of "" keeps the body bare)
-- Returns {dead letters trimmed}
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local function id_of(receipt) return string.match(receipt, '^(.*)/%d+$') end
local trimmed = 0
for i = 3, #ARGV, 4 do
  local kind, receipt, number, state = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local value = ARGV[1]
  if state ~= '' or string.byte(value, 1) == 1 then value = '\1' .. state .. '\n' .. value end
  redis.call('HSET', KEYS[1], id_of(receipt), value)
  if kind == 'later' then
    redis.call('ZADD', KEYS[2], now + number, receipt)
  elseif kind == 'back' then
    redis.call('ZADD', KEYS[2], number, receipt)
  else
    redis.call('ZADD', KEYS[3], now, receipt)
    local over = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[2])
    if over > 0 then
      local oldest = redis.call('ZPOPMIN', KEYS[3], over)
      for j = 1, #oldest, 2 do redis.call('HDEL', KEYS[1], id_of(oldest[j])) end
      trimmed = trimmed + over
    end
  end
end
return {trimmed}
