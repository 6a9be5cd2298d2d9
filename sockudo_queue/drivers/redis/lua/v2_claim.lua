-- Hand out the next record: one whose lease is over, one that was put back, else due and fresh ones in turn.
--
-- Returns {flag per settlement, dead letters trimmed, now ms, receipt or false, payload, lapses}

local LOOKS = 1000

-- What may not be claimed: it is held by somebody, is done, or has no payload.
local function payload_of(id)
  if redis.call('HEXISTS', tokens, id) == 1 or redis.call('ZSCORE', completed, id) then return nil end
  return redis.call('HGET', jobs, id) or nil
end

local function lease(id, payload)
  begin_with_a_removal()
  redis.call('ZADD', active, now + ARGV[2], id)
  redis.call('HSET', tokens, id, word)
  local claims = redis.call('HINCRBY', attempts, id, 1)
  tell('active', id)
  return {flags, trimmed, now, shown(id) .. '/' .. word, payload, claims - 1}
end

local function first(set)
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) <= now then return head[1], tonumber(head[2]) end
end

local function take_lapsed()
  for _ = 1, LOOKS do
    local id = first(active)
    if not id then return nil end
    local payload = not redis.call('ZSCORE', completed, id) and redis.call('HGET', jobs, id)
    if payload then
      tell('stalled', id)
      return lease(id, payload)
    end
    end_lease(id)
  end
end

local function take_delayed(only_back)
  for _ = 1, LOOKS do
    local id, due = first(delayed)
    if not id or (only_back and due >= 0) then return nil end
    local payload = payload_of(id)
    local got = payload and lease(id, payload)
    redis.call('ZREM', delayed, id)
    if got then return got end
  end
end

local function take_fresh()
  for _ = 1, LOOKS do
    local id = redis.call('LINDEX', wait, -1)
    if id then
      local payload = payload_of(id)
      local got = payload and lease(id, payload)
      redis.call('RPOP', wait)
      if got then return got end
    elseif not unpack_frame() then
      return nil
    end
  end
end

local got = take_lapsed() or take_delayed(ARGV[3] ~= 'due') or take_fresh() or take_delayed(false)
if got then return got end
-- With nothing to take, this says whether the server takes writes at all, before there is something.
begin_with_a_removal()
return {flags, trimmed, now, false}
