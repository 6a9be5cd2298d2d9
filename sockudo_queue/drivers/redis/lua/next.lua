-- Settle what a worker finished, then hand it the next record of one source. One round trip; the only way to a claim.
--
-- KEYS 1 source list (Sockudo's)   2 ready (bodies)                      3 records (id -> value)
--      4 active (receipt -> lease deadline, ms)   5 delayed (receipt -> due, ms; below 0: put back, goes first)
--      6 lapses (id -> count)      7 dead (receipt -> time of death, ms)
--      8 held (receipt -> score; see held.py)     9 further (hash; see `FURTHER` in source.py)
-- ARGV 1 id for a fresh body   2 lease, ms   3 who goes first, "due" or "fresh"; "kept" leaves the source alone, "none" takes nothing
--      4 dead letters to keep   5 the latest moment, ms, at which expired leases are taken; after it they are left alone
--      6 how many claims to return at most: behind a first one without a lapse, fresh jobs
--      7 number of acks of claims that never lapsed, then that many receipts; then for each other: receipt, number of parts,
--      and for each part: "later", "back", "lapsed" (back, and counted as a lapse), "dead" or "held";
--      receipt of the part; a number (later: delay, ms; back and lapsed: score; held: the place of its webhook); state ("" keeps the value as it is)
-- Returns {flag per settlement, dead letters trimmed, now ms, receipt or false, value, lapses}; behind them, where there are
-- any, the number of records that were found without their value: something else has removed it; and behind that, where
-- there are any, receipt and value of each further claim
--
-- The deadline of a further claim is half a millisecond late. That marks it as not begun: its lease may expire without
-- being counted as a lapse. A renewal takes the mark away. What expired with the mark is claimed alone, and without it.
--
-- Whatever lies in these keys, a claim can be returned, and nothing is leased before that is certain. A record that
-- cannot be worked on (its id is no id, or it is larger than any job) is returned with an empty value: its caller keeps
-- it as a dead letter, and its bytes stay where they are.
--
-- A value is a body, or 0x01 state LF body. A body that itself begins with 0x01 is stored as 0x01 LF body.
-- Nothing is taken away before it is kept elsewhere, since an error in the middle of a script (a key of another type, a
-- command that this user may not run) undoes nothing of what was done before it.
-- The first write is always a removal, if only of nothing: a Redis over maxmemory refuses a script that begins with
-- anything else, and takes all of one that begins so. So a full Redis can still be drained.
local source, ready, records, active, delayed, lapses, dead, held, further = unpack(KEYS)
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local flags, trimmed, lost = {}, 0, 0

local function id_of(receipt) return string.match(receipt, '^(.*)/%d+$') or receipt end

local function body_of(value)
  if string.byte(value, 1) ~= 1 then return value end
  return string.sub(value, (string.find(value, '\n', 1, true) or #value) + 1)
end

local function returned(value) return #value <= MAX_BODY_BYTES and value or '' end

local function count_of(id) return count_in(lapses, id) end

local begun = false
local function begin_with_a_removal()
  if not begun then redis.call('ZREM', active, '') end
  begun = true
end

-- Keep a value under an id. The place comes first, and goes again where the value is refused: a value without a place would
-- be put back by an audit, once for every time that this was tried, while what it was made of still waits where it was.
local function keep(set, score, receipt, id, value)
  redis.call('ZADD', set, score, receipt)
  local kept = redis.pcall('HSET', records, id, value)
  if type(kept) == 'table' and kept.err then
    redis.call('ZREM', set, receipt)
    redis.call('HSET', records, id, value)  -- raises the refusal
  end
end

local function trim_dead()
  local over = redis.call('ZCARD', dead) - tonumber(ARGV[4])
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', dead, over)
    for i = 1, #oldest, 2 do redis.call('HDEL', records, id_of(oldest[i])) end
    trimmed = trimmed + over
  end
end

local at = 8
for _ = 1, tonumber(ARGV[7]) do
  local receipt = ARGV[at]
  at = at + 1
  local ours = redis.call('ZREM', active, receipt)
  begun = true
  if ours == 1 then redis.call('HDEL', records, id_of(receipt)) end
  flags[#flags + 1] = ours
end

while at <= #ARGV do
  local receipt, parts = ARGV[at], tonumber(ARGV[at + 1])
  at = at + 2
  local id = id_of(receipt)
  local ours = redis.call('ZSCORE', active, receipt) and 1 or 0
  local value = ours == 1 and redis.call('HGET', records, id)
  local count = value and count_of(id) or 0
  local keeps_record, keeps_count = false, false
  if value then begin_with_a_removal() elseif ours == 1 and parts > 0 then lost = lost + 1 end
  for _ = 1, parts do
    local kind, part, number, state = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    at = at + 4
    if value then
      local own, kept = id_of(part), value
      if state ~= '' then kept = '\1' .. state .. '\n' .. body_of(value) end
      keeps_record = keeps_record or own == id
      if kind == 'later' then
        keep(delayed, now + number, part, own, kept)
      elseif kind == 'dead' then
        keep(dead, now, part, own, kept)
        trim_dead()
      elseif kind == 'held' then
        -- Refused, it only means that an older version beside this one may put a copy of the record back.
        redis.pcall('HSET', further, held, '')
        if count > 0 then redis.call('HSET', lapses, own, count) end
        keeps_count = keeps_count or own == id
        keep(held, string.format('%.0f', number + math.floor(now / 1024000) % 8192), part, own, kept)
      else
        -- What is put back keeps its count: being stopped in the middle does not clear it of killing workers.
        local lapsed = count + (kind == 'lapsed' and 1 or 0)
        if lapsed > 0 then redis.call('HSET', lapses, own, lapsed) end
        keeps_count = keeps_count or own == id
        keep(delayed, lapsed < SUSPECT and number or now, part, own, kept)
      end
    end
  end
  if ours == 1 then
    if not keeps_count then redis.call('HDEL', lapses, id) end
    redis.call('ZREM', active, receipt)
    if not keeps_record then redis.call('HDEL', records, id) end
  end
  flags[#flags + 1] = ours
end

local function answer(reply)
  if lost > 0 then reply[#reply + 1] = lost end
  return reply
end

if ARGV[3] == 'none' then return answer({flags, trimmed, now, false}) end

-- Take a record of a set into a new lease; one whose value is gone is dropped and counted. So is what is no receipt, since a hand that
-- went astray in these keys must not stop all that lies behind it.
local function take(set, receipt, lapsed)
  local id, n = string.match(receipt, '^(.*)/(%d+)$')
  local value = id and redis.call('HGET', records, id)
  if not value then
    redis.call('ZREM', set, receipt)
    if id then lost = lost + 1 end
    return nil
  end
  local count = count_of(id) + (lapsed and 1 or 0)
  local is_ours = id ~= '' and #id <= MAX_ID_BYTES and not string.find(id, '[^!-~]')
  local own = is_ours and id or ARGV[1]
  local renewed = own .. '/' .. string.format('%d', #n <= 15 and n + 1 or 1)
  begin_with_a_removal()
  if own == id then
    redis.call('ZADD', active, now + ARGV[2], renewed)
  else
    keep(active, now + ARGV[2], renewed, own, value)
  end
  redis.call('ZREM', set, receipt)
  if lapsed then redis.call('HSET', lapses, own, count) end
  if own ~= id then
    redis.call('HDEL', records, id)
    redis.call('HDEL', lapses, id)
  end
  return {flags, trimmed, now, renewed, is_ours and returned(value) or '', count}
end

-- Take the body at the head of a list into a new lease, unless it is longer than `most` bytes; return receipt and value.
local function lease_fresh(list, id, deadline, most)
  local body = redis.call('LINDEX', list, 0)
  if not body or #body > most then return nil end
  local receipt, value = id .. '/1', body
  if string.byte(body, 1) == 1 then value = '\1\n' .. body end
  begin_with_a_removal()
  keep(active, deadline, receipt, id, value)
  redis.call('LTRIM', list, 1, -1)
  return receipt, value
end

local function take_fresh(list)
  local receipt, value = lease_fresh(list, ARGV[1], now + ARGV[2], math.huge)
  return receipt and {flags, trimmed, now, receipt, returned(value), 0}
end

-- Take more fresh jobs behind the first, at most `left` bytes of them. Their ids are that of the call with a number at its end.
local function take_batch(count, left)
  local kept, more = ARGV[3] == 'kept', {}
  local stem, deadline = string.sub(ARGV[1], 1, -3), now + ARGV[2] + 0.5
  for n = 1, count do
    local id = stem .. string.format('%02x', n)
    local receipt, value = lease_fresh(ready, id, deadline, left)
    if not receipt and not kept and redis.call('LLEN', ready) == 0 then
      receipt, value = lease_fresh(source, id, deadline, left)
    end
    if not receipt then break end
    left = left - #value
    more[2 * n - 1], more[2 * n] = receipt, value
  end
  return more
end

local function is_suspect(receipt) return count_of(id_of(receipt)) + 1 >= SUSPECT end

local function take_lapsed(is_last)
  if now > tonumber(ARGV[5]) then return nil end
  return first_expired(active, now, is_last, is_suspect, function(receipt, deadline)
    return take(active, receipt, deadline % 1 == 0)
  end)
end

local function take_delayed(only_back)
  for _ = 1, MAX_SCANNED do
    local receipt, score = first_due(delayed, now)
    if not receipt or (only_back and score >= 0) then return nil end
    local got = take(delayed, receipt, false)
    if got then return got end
  end
end

local got = take_lapsed(false)
local is_fresh = not got
got = got
  or take_delayed(ARGV[3] ~= 'due')
  or take_fresh(ready)
  or (ARGV[3] ~= 'kept' and take_fresh(source))
  or take_delayed(false)
  or take_lapsed(true)
if got then
  answer(got)
  if is_fresh and got[6] == 0 and ARGV[6] ~= '1' then
    local waiting = redis.call('LLEN', ready) + (ARGV[3] == 'kept' and 0 or redis.call('LLEN', source))
    local count = more_claims(tonumber(ARGV[6]), waiting, delayed, now)
    add_batch(got, lost, take_batch(count, BATCH_BYTES - #got[5]))
  end
  return got
end
-- With nothing to take, this says whether the server takes writes at all, before there is something.
begin_with_a_removal()
return answer({flags, trimmed, now, false})
