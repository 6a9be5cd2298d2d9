-- What the scripts that hand out records have in common: their bounds, and which expired lease goes first.

local MAX_BODY_BYTES = 20000000     -- bytes of a body or a payload that is returned; a job of Sockudo has 16 MB
local MAX_ID_BYTES = 263       -- bytes: 255, and the number of a delivery behind them
local MAX_SCANNED = 1000     -- records without a body that one call removes
local SUSPECT = 2            -- expired leases after which a record may be what ends its workers, and others go first
local MAX_PASSED_MS = 60000  -- ms after the end of its lease from which it goes first all the same
local AHEAD = 8              -- expired leases that are looked at together
local MAX_WAITING = 32      -- suspects that one call passes over
local BATCH_BYTES = 65536    -- bytes of all jobs of one batch

-- The count that a value stands for; what is no such number counts as none.
local function as_count(value)
  local count = tonumber(value or 0) or 0
  return count > 0 and math.floor(math.min(count, 1000000)) or 0
end

-- The count of a record in a hash.
local function count_in(hash, id) return as_count(redis.call('HGET', hash, id)) end

-- The first member of a sorted set whose time has come, and its score.
local function first_due(set, now)
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[1] and tonumber(head[2]) <= now then return head[1], tonumber(head[2]) end
end

-- Claim the first record whose lease is over. `claim` gets the member and the end of its lease; it returns a claim, or nil for
-- what it has taken out of the set. What is suspect waits for others, but not for ever, and not where `is_last`.
local function first_expired(set, now, is_last, is_suspect, claim)
  local waiting = 0
  for _ = 1, MAX_SCANNED / AHEAD do
    local expired = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'WITHSCORES', 'LIMIT', waiting, AHEAD)
    if #expired == 0 or waiting >= MAX_WAITING then return nil end
    for i = 1, #expired, 2 do
      if not is_last and now - expired[i + 1] < MAX_PASSED_MS and is_suspect(expired[i]) then
        waiting = waiting + 1
      else
        local got = claim(expired[i], tonumber(expired[i + 1]))
        if got then return got end
      end
    end
  end
end

-- How many fresh jobs one call may claim behind the first: at most half of those that wait, so that an idle replica finds
-- the other half. None while an older record is due, since fresh and due records take turns.
local function more_claims(most, waiting, delayed, now)
  if most < 2 or first_due(delayed, now) then return 0 end
  return math.min(most - 1, math.floor(waiting / 2))
end

-- Add the rest of a batch to a reply: receipt and value of each further claim.
local function add_batch(reply, lost, more)
  if #more > 0 then reply[7], reply[8] = lost, more end
end
