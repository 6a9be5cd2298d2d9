-- End claims: acks, and records that are delayed, returned, split or dead-lettered. One flag each, 0 if the word
-- changed.
--
-- ARGV 9 number of acks, then that many receipts; then for each claim that leaves parts: receipt, number of parts,
-- length of
--      the payload it was made from (0: unknown), and for each part: "later", "back", "lapsed" (back, and counted as a
--      lapse), "dead" or "held"; id of the part; a number (later: delay, ms; back and lapsed: score; held: the place of
--      its webhook); and the value to store, a payload or the record of a dead letter, as text, first and last byte of
--      the claim's payload to insert, text
--
-- Only states are sent, because the server has the payload already: a settlement that repeats a megabyte job for each
-- of
-- its webhooks is larger than many servers accept.
local flags = {}

local function parts_of(receipt)
  local id, own_word = string.match(receipt, '^(.*)/([^/]*)$')
  return hidden(id), own_word
end

local function is_ours(receipt)
  local id, own_word = parts_of(receipt)
  return id, redis.call('HGET', tokens, id) == own_word
end

-- End the claims with the receipts from `first` to `last`.
local function ack(first, last)
  local ids, words, done = {}, {}, {}
  for i = first, last do ids[i - first + 1], words[i - first + 1] = parts_of(ARGV[i]) end
  local stored = redis.call('HMGET', tokens, unpack(ids))
  for i, id in ipairs(ids) do
    local ours = stored[i] == words[i]
    if ours then done[#done + 1] = id end
    flags[#flags + 1] = ours and 1 or 0
  end
  if #done > 0 then complete(done) end
end

-- Store one part as a record; `claims` counts those of the original record, including this one.
local function keep(kind, id, number, payload, claims)
  local count, due = 0, number
  if kind == 'later' then
    due = now + number
  else
    count = math.max(claims - 1, 0) + (kind == 'lapsed' and 1 or 0)
  end
  redis.call('HSET', attempts, id, count)
  redis.call('HSET', jobs, id, payload)
  redis.call('ZREM', completed, id)
  if kind == 'held' then
    redis.call('ZADD', held, string.format('%.0f', number + math.floor(now / 1024000) % 8192), id)
    return
  end
  redis.call('ZADD', delayed, count < SUSPECT and due or now, id)
  if kind == 'later' then add_event('retrying', id) else wake_workers() add_event('waiting', id) end
end

local at = 10 + ARGV[9]
for first = 10, at - 1, TRIM_BATCH_SIZE do ack(first, math.min(first + TRIM_BATCH_SIZE, at) - 1) end

while at <= #ARGV do
  local id, ours = is_ours(ARGV[at])
  local payload = ours and redis.call('HGET', jobs, id)
  -- A payload of another length is not the claimed one, so its byte positions would be wrong.
  local size = tonumber(ARGV[at + 2])
  ours = ours and not (payload and size > 0 and #payload ~= size)
  local claims = ours and claims_of(id) or 0
  local stays, splits = false, false
  if ours then begin_with_a_removal() end
  if ours and not payload then lost = lost + 1 end
  local last = at + 2 + 7 * ARGV[at + 1]
  for part = at + 3, last, 7 do
    local kind, own = ARGV[part], hidden(ARGV[part + 1])
    splits = splits or own ~= id
    if ours and payload then
      local value = ARGV[part + 3] .. string.sub(payload, ARGV[part + 4], ARGV[part + 5]) .. ARGV[part + 6]
      if kind == 'dead' then
        bury(own, value)
      else
        keep(kind, own, ARGV[part + 2], value, claims)
        stays = stays or own == id
      end
    end
  end
  if ours and splits then
    complete({id})
  elseif ours then
    end_lease(id)
    if stays then redis.call('HDEL', failures, id) else forget(id) end
  end
  flags[#flags + 1] = ours and 1 or 0
  at = last + 1
end

local function answer(reply)
  if lost > 0 then reply[#reply + 1] = lost end
  return reply
end

if ARGV[3] == 'none' then return answer({flags, trimmed, now, false}) end
