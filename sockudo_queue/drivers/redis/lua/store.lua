-- Store parts of a job that was popped without a claim (delivery "at-most-once").
--
-- KEYS 1 records   2 delayed   3 lapses   4 dead   5 held   6 further
-- ARGV 1 body   2 dead letters to keep; then for each part: "later", "back", "lapsed", "dead" or "held"; receipt;
-- number; state
--      (as in next.lua; a state of "" stores the body alone)
-- Returns {dead letters trimmed}
--
-- A part whose record exists was stored by an earlier call whose answer was lost, and is left unchanged.
-- The ZREM that removes nothing comes first because a Redis over maxmemory refuses a script that begins with HSET.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local function id_of(receipt) return string.match(receipt, '^(.*)/%d+$') or receipt end
local trimmed = 0

-- The set's member is added first and removed again if the value is refused: a value without a member would count as
-- stored
-- when this is repeated, and an audit would restore it.
local function keep(set, score, receipt, value)
  redis.call('ZADD', set, score, receipt)
  local kept = redis.pcall('HSET', KEYS[1], id_of(receipt), value)
  if type(kept) == 'table' and kept.err then
    redis.call('ZREM', set, receipt)
    redis.call('HSET', KEYS[1], id_of(receipt), value)  -- raises the error
  end
end

local function store(kind, receipt, number, state)
  local value = ARGV[1]
  if state ~= '' or string.byte(value, 1) == 1 then value = '\1' .. state .. '\n' .. value end
  if kind == 'later' then
    keep(KEYS[2], now + number, receipt, value)
  elseif kind == 'held' then
    redis.pcall('HSET', KEYS[6], KEYS[5], '')
    keep(KEYS[5], string.format('%.0f', number + math.floor(now / 1024000) % 8192), receipt, value)
  elseif kind ~= 'dead' then
    if kind == 'lapsed' then redis.call('HSET', KEYS[3], id_of(receipt), 1) end
    keep(KEYS[2], number, receipt, value)
  else
    keep(KEYS[4], now, receipt, value)
    local over = redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[2])
    if over > 0 then
      local oldest = redis.call('ZPOPMIN', KEYS[4], over)
      for j = 1, #oldest, 2 do redis.call('HDEL', KEYS[1], id_of(oldest[j])) end
      trimmed = trimmed + over
    end
  end
end

redis.call('ZREM', KEYS[2], '')
for i = 3, #ARGV, 4 do
  if redis.call('HEXISTS', KEYS[1], id_of(ARGV[i + 1])) == 0 then
    store(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  end
end
return {trimmed}
