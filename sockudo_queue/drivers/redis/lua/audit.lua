-- Repair the dead letters and records that lost their counterpart because something else, such as eviction, removed a
-- key.
--
-- KEYS 1 records (id -> value)   2 dead (receipt -> time of death, ms)
--      3 further (hash: names of the keys in which further records are kept; see `FURTHER` in source.py)
--      and for lists: 4 delayed (receipt -> due, ms)   5 active (receipt -> lease deadline, ms)   6 held (receipt ->
--      score)
-- ARGV 1 maximum number of records to inspect; more are only counted   2 maximum number of records to restore
-- Returns {dead letters without a record, which are removed; records restored; records out of reach}
--
-- Each record is in exactly one of the sets, and every script moves it in one step, so the counts differ only after a
-- key
-- was removed; only then are the ids inspected. Records that were given up return to the dead letters; all others
-- become
-- due now. The number in the new receipt is larger than that of any claim that may still be held.
local records, dead, further, delayed = unpack(KEYS)
-- A later version may keep records in keys unknown here; restoring those would duplicate them.
for _, key in ipairs(redis.call('EXISTS', further) == 1 and redis.call('HKEYS', further) or {}) do
  if key ~= KEYS[6] then return {0, 0, 0} end
end
local sets = {dead, unpack(KEYS, 4)}
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)

local stored, placed = redis.call('HLEN', records), 0
for _, set in ipairs(sets) do placed = placed + redis.call('ZCARD', set) end
if stored == placed then return {0, 0, 0} end
if math.max(stored, placed) > tonumber(ARGV[1]) then return {0, 0, math.max(stored - placed, 0)} end

local lost, restored, has_value, has_place = 0, 0, {}, {}
local ids = redis.call('HKEYS', records)
for _, id in ipairs(ids) do has_value[id] = true end
redis.call('ZREM', dead, '')
for i, set in ipairs(sets) do
  for _, receipt in ipairs(redis.call('ZRANGE', set, 0, -1)) do
    local id = string.match(receipt, '^(.*)/[^/]*$') or receipt
    has_place[id] = true
    if i == 1 and not has_value[id] then lost = lost + redis.call('ZREM', dead, receipt) end
  end
end

-- Return when a record was given up, from its state; nil if it was not. Records beside Queue V2 are always dead
-- letters.
local function died(id)
  local value = redis.call('HGET', records, id)
  local state = string.byte(value, 1) == 1 and string.match(value, '^\1([^\n]*)')
  local is_read, fields = pcall(cjson.decode, state or '')
  local moment = is_read and type(fields) == 'table' and tonumber(fields.died)
  if moment and moment == moment then return math.floor(math.max(math.min(moment, now), 0)) end
  return not delayed and now or nil
end

for _, id in ipairs(ids) do
  if restored >= tonumber(ARGV[2]) then break end
  if not has_place[id] then
    local at, receipt = died(id), id .. '/' .. string.format('%d', now)
    redis.call('ZADD', at and dead or delayed, at or now, receipt)
    restored = restored + 1
  end
end
return {lost, restored, 0}
