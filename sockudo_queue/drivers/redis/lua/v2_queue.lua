-- Shared by all scripts on Queue V2: the names of its keys, the clock, its events, and the end of a record.
--
-- KEYS 1 jobs (id -> payload)        2 wait (ids; LPUSH, RPOP)        3 inline-wait (frames; LPUSH, RPOP)
--      4 inline-wait-count           5 delayed (id -> due, ms)        6 active (id -> end of the lease, ms)
--      7 tokens (id -> word)         8 attempts (id -> claims)        9 max-attempts    10 failures (id -> reason)
--      11 completed (id -> ms)       12 notify (wake-up words)        13 events (stream)
--      14 dead (ours: receipt -> time of death, ms)                   15 records (ours: id -> dead letter)
--      16 held (ours: id -> score; see held.py)
-- ARGV 1 prefix of the words for the claims of this call; the microsecond of the claim is appended
--      2 lease, ms   3 which jobs go first, "due" or "fresh"; "none" claims nothing
--      4 dead letters to keep   5 completed jobs to keep   6 events to keep
--      7 the latest time, ms, at which expired leases are claimed; after it they are not
--      8 maximum number of claims to return: after a first one that never lapsed, fresh jobs
--
-- Sockudo's own workers share all of these keys except the last three. A lease is a word in `tokens` and a deadline in
-- `active`; ending or renewing it requires the word. `attempts` counts the claims of a record since its last orderly
-- end,
-- so Sockudo's limit of attempts never applies to records that only wait for an endpoint.
--
-- Nothing is removed before it is stored elsewhere, and a script's first write is a removal, if only of nothing: see
-- next.lua. Ids are shown to the driver in printable ASCII; all other bytes in them become %XX.
local jobs, wait, frames, framed, delayed, active, tokens, attempts, limits, failures, completed, notify, events, dead,
  records, held = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%d', now)
local micros = string.format('%.0f', time[1] * 1000000 + time[2])
local word, keep_dead, keep_completed = ARGV[1] .. '-' .. micros, tonumber(ARGV[4]), tonumber(ARGV[5])
local lost = 0  -- records whose payload was missing: something else has removed it
-- A Sockudo that keeps no events has no stream, and none is created here.
local has_events = tonumber(ARGV[6]) > 0 and redis.call('EXISTS', events) == 1

-- Append an event about a job to the stream, as Sockudo's own workers do.
local function add_event(event, id)
  if not has_events then return end
  -- A stream that accepts no more entries (a producer may add one with the highest possible id) must not stop a claim.
  redis.pcall('XADD', events, 'MAXLEN', '~', ARGV[6], '*', 'event', event, 'job_id', id,
    'timestamp', now_text)
end

local function shown(id)
  if not string.find(id, '[^!-$&-~]') then return id end
  return (string.gsub(id, '[^!-$&-~]', function(c) return string.format('%%%02X', string.byte(c)) end))
end

local function hidden(text)
  if not string.find(text, '%', 1, true) then return text end
  return (string.gsub(text, '%%(%x%x)', function(digits) return string.char(tonumber(digits, 16)) end))
end

local function claims_of(id) return count_in(attempts, id) end

local function begin_with_a_removal() redis.call('HDEL', tokens, '') end

-- Wake a waiting consumer, ours or one of Sockudo's workers. Each of them then looks at the queue, so one word is
-- enough.
local function wake_workers()
  redis.call('LPUSH', notify, '1')
  redis.call('LTRIM', notify, 0, 1023)
end

-- The deadline is removed first: if the second removal failed, the word alone would hold nothing, see v2_claim.lua.
local function end_lease(...)
  redis.call('ZREM', active, ...)
  redis.call('HDEL', tokens, ...)
end

local function forget(...)
  redis.call('HDEL', failures, ...)
  redis.call('HDEL', limits, ...)
  redis.call('HDEL', attempts, ...)
  redis.call('HDEL', jobs, ...)
end
