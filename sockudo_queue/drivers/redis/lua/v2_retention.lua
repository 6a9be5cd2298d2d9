-- Completion of jobs: their ids are kept for a while in `completed`, so that a repeated enqueue is recognised.

local TRIM_BATCH_SIZE = 100

local function complete(ids)
  redis.call('HDEL', failures, unpack(ids))
  if keep_completed > 0 then
    local members = {}
    for _, id in ipairs(ids) do members[#members + 1], members[#members + 2] = now, id end
    redis.call('ZADD', completed, unpack(members))
  end
  end_lease(unpack(ids))
  if keep_completed == 0 then forget(unpack(ids)) end
  local over = redis.call('ZCARD', completed) - keep_completed
  if over > 0 then
    local oldest = redis.call('ZRANGE', completed, 0, math.min(over, TRIM_BATCH_SIZE + #ids) - 1)
    forget(unpack(oldest))
    redis.call('ZREM', completed, unpack(oldest))
  end
  for _, id in ipairs(ids) do add_event('completed', id) end
end

-- Our own dead letters, in keys of the same slot. They are not in `dlq`, because every claim of a Sockudo trims that.
-- The
-- number in the receipt distinguishes the deaths of one record.
local trimmed = 0

-- An id that was enqueued again may fail again while its first dead letter is kept. Both share one record, and an audit
-- would remove a letter whose record is gone. All letters are scanned, which is acceptable because this is rare.
local function replace_others(own, receipt)
  for _, other in ipairs(redis.call('ZRANGE', dead, 0, -1)) do
    if other ~= receipt and string.match(other, '^(.*)/%d+$') == own then
      trimmed = trimmed + redis.call('ZREM', dead, other)
    end
  end
end

local function bury(id, value)
  local own = shown(id)
  local receipt = own .. '/' .. micros
  local has_died = redis.call('HEXISTS', records, own) == 1
  -- The set's member is added first and removed again if the value is refused: an audit would restore a value without
  -- one.
  redis.call('ZADD', dead, now, receipt)
  local kept = redis.pcall('HSET', records, own, value)
  if type(kept) == 'table' and kept.err then
    redis.call('ZREM', dead, receipt)
    redis.call('HSET', records, own, value)  -- raises the error
  end
  if has_died then replace_others(own, receipt) end
  local over = redis.call('ZCARD', dead) - keep_dead
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', dead, over)
    for i = 1, #oldest, 2 do redis.call('HDEL', records, string.match(oldest[i], '^(.*)/%d+$') or oldest[i]) end
    trimmed = trimmed + over
  end
  add_event('failed', id)
end
