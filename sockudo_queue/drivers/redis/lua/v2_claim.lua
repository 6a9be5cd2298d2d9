-- Hand out the next record: one whose lease is over, one that was put back, else due and fresh ones in turn.
--
-- Returns {flag per settlement, dead letters trimmed, now ms, receipt or false, payload, lapses}, and behind them the number
-- of records that were found without their payload, where there are any; and behind that receipt and payload of each further
-- claim, where there are any
--
-- A further claim is not counted in `attempts`: its worker has not begun it, so its lease may expire without being counted as
-- a lapse. What has expired is claimed alone, and is counted.

local function payload_or_lost(id)
  local payload = redis.call('HGET', jobs, id)
  if not payload then lost = lost + 1 end
  return payload or nil
end

-- What may not be claimed: it is held by somebody, is done, or has no payload. A word without a deadline holds nothing.
local function payload_of(id)
  if redis.call('HEXISTS', tokens, id) == 1 and redis.call('ZSCORE', active, id) then return nil end
  if redis.call('ZSCORE', completed, id) then return nil end
  return payload_or_lost(id)
end

-- Whatever lies in these keys, a claim can be returned, and nothing is leased before that is certain. A job that cannot be
-- worked on (its id is longer than any, or it is larger) is returned without its payload: its caller keeps it as a dead
-- letter, and its bytes stay where they are.
local function lease(id, payload)
  local claims = claims_of(id) + 1
  local own = id ~= '' and #id <= MAX_ID_BYTES and id or string.match(ARGV[1], '[^-]*$')
  begin_with_a_removal()
  redis.call('ZADD', active, now + ARGV[2], own)
  if own ~= id then
    -- After the deadline, which goes again where this is refused: else every try would leave a payload that has no place.
    local kept = redis.pcall('HSET', jobs, own, payload)
    if type(kept) == 'table' and kept.err then
      redis.call('ZREM', active, own)
      redis.call('HSET', jobs, own, payload)  -- raises the refusal
    end
  end
  redis.call('HSET', tokens, own, word)
  redis.call('HSET', attempts, own, claims)
  if own ~= id then
    end_lease(id)
    forget(id)
  end
  add_event('active', own)
  local returned = own == id and #payload <= MAX_BODY_BYTES and payload or ''
  return {flags, trimmed, now, shown(own) .. '/' .. word, returned, claims - 1}
end

local function take_expired(id)
  local payload = not redis.call('ZSCORE', completed, id) and payload_or_lost(id)
  if payload then
    add_event('stalled', id)
    return lease(id, payload)
  end
  end_lease(id)
end

local function is_suspect(id) return claims_of(id) >= SUSPECT end

local function take_lapsed(is_last)
  if now > tonumber(ARGV[7]) then return nil end
  return first_expired(active, now, is_last, is_suspect, take_expired)
end

local function take_delayed(only_back)
  for _ = 1, MAX_SCANNED do
    local id, due = first_due(delayed, now)
    if not id or (only_back and due >= 0) then return nil end
    local payload = payload_of(id)
    local got = payload and lease(id, payload)
    redis.call('ZREM', delayed, id)
    if got then return got end
  end
end

-- Claim up to `count` jobs behind the first of this call, oldest first, with few commands for all of them together. The batch
-- ends at the first job that is not fresh, or too large. The microsecond in a word grows with its place, so that jobs that are
-- put back keep their order.
local function lease_further(count, left)
  local ids, listed = {}, count > 0 and redis.call('LRANGE', wait, -count, -1) or {}
  for at = #listed, 1, -1 do  -- the last one has waited longest
    local id = listed[at]
    if id == '' or #id > MAX_ID_BYTES then break end
    ids[#ids + 1] = id
  end
  if #ids == 0 then return {} end
  local counts, words = redis.call('HMGET', attempts, unpack(ids)), redis.call('HMGET', tokens, unpack(ids))
  local more, leases, owners, seen = {}, {}, {}, {}
  for at, id in ipairs(ids) do
    if seen[id] or words[at] or as_count(counts[at]) > 0 then break end
    local payload = not redis.call('ZSCORE', completed, id) and redis.call('HGET', jobs, id)
    if not payload or #payload > left then break end
    local n = #more / 2 + 1
    local own_word = string.format('%s-%.0f', ARGV[1], micros + n)
    left, seen[id] = left - #payload, true
    leases[2 * n - 1], leases[2 * n] = now + ARGV[2], id
    owners[2 * n - 1], owners[2 * n] = id, own_word
    more[2 * n - 1], more[2 * n] = shown(id) .. '/' .. own_word, payload
  end
  if #more == 0 then return more end
  redis.call('ZADD', active, unpack(leases))
  redis.call('HSET', tokens, unpack(owners))
  redis.call('LTRIM', wait, 0, -1 - #more / 2)
  for i = 2, #leases, 2 do add_event('active', leases[i]) end
  return more
end

local function take_fresh()
  for _ = 1, MAX_SCANNED do
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

local got = take_lapsed(false)
local is_fresh = not got
got = got or take_delayed(ARGV[3] ~= 'due') or take_fresh() or take_delayed(false) or take_lapsed(true)
if got then
  answer(got)
  if is_fresh and got[6] == 0 and ARGV[8] ~= '1' then
    local count = more_claims(tonumber(ARGV[8]), redis.call('LLEN', wait), delayed, now)
    add_batch(got, lost, lease_further(count, BATCH_BYTES - #got[5]))
  end
  return got
end
-- With nothing to take, this says whether the server takes writes at all, before there is something.
begin_with_a_removal()
return answer({flags, trimmed, now, false})
