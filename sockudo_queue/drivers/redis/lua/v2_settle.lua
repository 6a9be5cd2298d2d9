-- End claims: acks, and records that are put off, put back, split or buried. One flag each, 0 where the word has changed.
--
-- ARGV 7 number of acks, then that many receipts; then for each claim that leaves parts: receipt, number of parts, and
--      for each part: "later", "back", "lapsed" (back, and counted as a lapse) or "dead"; id of the part; a number (later:
--      delay, ms; back and lapsed: score); payload ("" keeps that of the claim), for a dead part its record instead
--      (0x01 state alone keeps the payload of the claim in it)
local flags = {}

local function is_ours(receipt)
  local id, shown_word = string.match(receipt, '^(.*)/([^/]*)$')
  id = hidden(id)
  return id, redis.call('HGET', tokens, id) == shown_word
end

-- Keep one part as a record; claims counts those of the record that it comes from, this one included.
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
  redis.call('ZADD', delayed, count < SUSPECT and due or now, id)
  if kind == 'later' then tell('retrying', id) else ring() tell('waiting', id) end
end

local at = 8
for _ = 1, tonumber(ARGV[7]) do
  local id, ours = is_ours(ARGV[at])
  at = at + 1
  if ours then complete(id) end
  flags[#flags + 1] = ours and 1 or 0
end

while at <= #ARGV do
  local id, ours = is_ours(ARGV[at])
  local payload = ours and redis.call('HGET', jobs, id)
  local claims = ours and claims_of(id) or 0
  local stays, splits = false, false
  if ours then begin_with_a_removal() end
  local last = at + 1 + 4 * ARGV[at + 1]
  for part = at + 2, last, 4 do
    local kind, own, value = ARGV[part], hidden(ARGV[part + 1]), ARGV[part + 3]
    splits = splits or own ~= id
    if ours and kind == 'dead' then
      if not string.find(value, '\n', 1, true) then value = value .. '\n' .. (payload or '') end
      bury(own, value)
    elseif payload then
      keep(kind, own, ARGV[part + 2], value ~= '' and value or payload, claims)
      stays = stays or own == id
    end
  end
  if ours and splits then
    complete(id)
  elseif ours then
    end_lease(id)
    if stays then redis.call('HDEL', failures, id) else forget(id) end
  end
  flags[#flags + 1] = ours and 1 or 0
  at = last + 1
end

if ARGV[3] == 'none' then return {flags, trimmed, now, false} end
