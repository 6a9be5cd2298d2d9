-- Make held deliveries due if their webhook is not paused. Called until it returns 0; any daemon may call it at any
-- time.
--
-- KEYS 1 held (member -> place of its webhook and the time at which it was parked)   2 delayed (member -> due, ms)
--      and for lists: 3 further (hash; see `FURTHER` in source.py)
-- ARGV 1 maximum number of due records   2 maximum number of webhooks   3 width of a place
--      4 number of places; then the places of the paused webhooks
-- Returns the number moved
--
-- Moved records are due now. Their number is limited because the due deliveries of other webhooks wait in the same set;
-- one record is moved in any case, because those others may always be many. The number is divided among the resumed
-- webhooks, and their records take turns (by milliseconds), so that none waits for all held deliveries of another one. If
-- there are more webhooks than one call handles, each call begins at another place.
-- Each record is added to its new set before it is removed from the old one.
local held, delayed, further, width = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[3])
redis.call('ZREM', held, '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room = math.max(ARGV[1] - redis.call('ZCOUNT', delayed, '-inf', string.format('%d', now)), 1)

local function exact(score) return string.format('%.0f', score) end

local paused, ranges = {}, {}
for i = 5, #ARGV do paused[ARGV[i]] = true end

-- Find the places that have members. The score of a member that this program did not write may be of any size.
local function find(from, to)
  while #ranges < tonumber(ARGV[2]) do
    local score = redis.call('ZRANGEBYSCORE', held, from, to, 'WITHSCORES', 'LIMIT', 0, 1)[2]
    if not score then return end
    local place = math.floor(tonumber(score) / width) * width
    local is_exact = place + width > place
    local after = exact(place + width)
    if not paused[exact(place)] then ranges[#ranges + 1] = {exact(place), is_exact and '(' .. after or after} end
    from = is_exact and after or '(' .. after
  end
end

local start = exact(math.floor(time[2] / 1000000 * ARGV[4]) * width)
find(start, '+inf')
find('-inf', '(' .. start)

local moved = 0
for i, range in ipairs(ranges) do
  local share = math.ceil((room - moved) / (#ranges - i + 1))
  for turn, member in ipairs(redis.call('ZRANGEBYSCORE', held, range[1], range[2], 'LIMIT', 0, share)) do
    redis.call('ZADD', delayed, string.format('%d', now - room + turn), member)
    redis.call('ZREM', held, member)
    moved = moved + 1
  end
end
-- If this is refused, it only means that the audit of an older version stays off.
if further and redis.call('ZCARD', held) == 0 then redis.pcall('HDEL', further, held) end
return moved
