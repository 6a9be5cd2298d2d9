-- Settle what a worker finished, then hand it the next record of one source. One round trip; the only way to a claim.
--
-- KEYS 1 source list (Sockudo's)   2 ready (bodies)                      3 records (id -> value)
--      4 active (receipt -> lease deadline, ms)   5 delayed (receipt -> due, ms; below 0: put back, goes first)
--      6 lapses (id -> count)      7 dead (receipt -> time of death, ms)
-- ARGV 1 id for a fresh body   2 lease, ms   3 who goes first, "due" or "fresh"; "kept" takes no fresh body, "none" nothing
--      4 dead letters to keep   5 number of acks, then that many receipts; then for each claim that leaves parts:
--      receipt, number of parts, and for each part: "later", "back" or "dead"; receipt of the part; a number
--      (later: delay, ms; back: score); state ("" keeps the value as it is)
-- Returns {flag per settlement, dead letters trimmed, now ms, receipt or false, value, lapses}
--
-- A value is a body, or 0x01 state LF body. A body that itself begins with 0x01 is stored as 0x01 LF body.
-- The first write is always a removal (ZREM or LPOP): a Redis over maxmemory refuses anything else first, and takes the
-- rest of the script once something was removed. So a full Redis can still be drained.
local source, ready, records, active, delayed, lapses, dead = unpack(KEYS)
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local flags, trimmed = {}, 0

local function id_of(receipt) return string.match(receipt, '^(.*)/%d+$') end

local function body_of(value)
  if string.byte(value, 1) ~= 1 then return value end
  return string.sub(value, string.find(value, '\n', 1, true) + 1)
end

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local receipt = ARGV[at]
  at = at + 1
  local ours = redis.call('ZREM', active, receipt)
  if ours == 1 then
    local id = id_of(receipt)
    redis.call('HDEL', records, id)
    redis.call('HDEL', lapses, id)
  end
  flags[#flags + 1] = ours
end

while at <= #ARGV do
  local receipt, parts = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local ours = redis.call('ZREM', active, receipt)
  local id = id_of(receipt)
  local value = ours == 1 and redis.call('HGET', records, id)
  if value then redis.call('HDEL', records, id) end
  local goes_back = false
  for _ = 1, parts do
    local kind, part, number, state = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    at = at + 4
    if value then
      local kept = value
      if state ~= '' then kept = '\1' .. state .. '\n' .. body_of(value) end
      redis.call('HSET', records, id_of(part), kept)
      if kind == 'later' then
        redis.call('ZADD', delayed, now + number, part)
      elseif kind == 'back' then
        redis.call('ZADD', delayed, number, part)
        goes_back = goes_back or part == receipt
      else
        redis.call('ZADD', dead, now, part)
        local over = redis.call('ZCARD', dead) - tonumber(ARGV[4])
        if over > 0 then
          local oldest = redis.call('ZPOPMIN', dead, over)
          for i = 1, #oldest, 2 do redis.call('HDEL', records, id_of(oldest[i])) end
          trimmed = trimmed + over
        end
      end
    end
  end
  -- A record that is put back keeps its count: being stopped in the middle does not clear it of killing workers.
  if value and not goes_back then redis.call('HDEL', lapses, id) end
  flags[#flags + 1] = ours
end

if ARGV[3] == 'none' then return {flags, trimmed, now, false} end

-- Take the first record of a set into a new lease; one whose value is gone is dropped, and the next is tried.
local function take(set, receipt, lapsed)
  redis.call('ZREM', set, receipt)
  local id, n = string.match(receipt, '^(.*)/(%d+)$')
  local value = redis.call('HGET', records, id)
  if not value then return nil end
  receipt = id .. '/' .. string.format('%d', n + 1)
  redis.call('ZADD', active, now + ARGV[2], receipt)
  local count = lapsed and redis.call('HINCRBY', lapses, id, 1) or tonumber(redis.call('HGET', lapses, id) or 0)
  return {flags, trimmed, now, receipt, value, count}
end

local function first(set)
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) <= now then return head[1], tonumber(head[2]) end
end

local receipt = first(active)
while receipt do
  local got = take(active, receipt, true)
  if got then return got end
  receipt = first(active)
end

local score
receipt, score = first(delayed)
if receipt and (score < 0 or ARGV[3] == 'due') then
  local got = take(delayed, receipt, false)
  if got then return got end
end

local body = ARGV[3] ~= 'kept' and (redis.call('LPOP', ready) or redis.call('LPOP', source))
if body then
  receipt = ARGV[1] .. '/1'
  if string.byte(body, 1) == 1 then body = '\1\n' .. body end
  redis.call('HSET', records, ARGV[1], body)
  redis.call('ZADD', active, now + ARGV[2], receipt)
  return {flags, trimmed, now, receipt, body, 0}
end

receipt = first(delayed)
while receipt do
  local got = take(delayed, receipt, false)
  if got then return got end
  receipt = first(delayed)
end
return {flags, trimmed, now, false}
