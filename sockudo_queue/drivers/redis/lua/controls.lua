-- Change operators' decisions: pause or resume a webhook, or request that its breaker be closed.
--
-- KEYS 1 controls (hash: "version", and for each webhook "pause:NAME" and "try:NAME" -> ms, space, operator)
-- ARGV 1 "set", "remove" or "try"   2 field   3 operator   4 maximum number of pauses, and of tries; more tries remove
--      the oldest ones   5 age, ms, at which tries expire
-- Returns 1 changed, 0 no change was needed, -1 there are too many pauses
--
-- Daemons read all fields again when the version differs from the one they know. The version is the time of the change,
-- so
-- that no two versions are equal even if the server loses some.
-- The HDEL of nothing comes first because a Redis over maxmemory refuses a script that begins with HSET.
local controls, field = KEYS[1], ARGV[2]
redis.call('HDEL', controls, '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if ARGV[1] == 'remove' then
  if redis.call('HDEL', controls, field) == 0 then return 0 end
else
  local exists = redis.call('HEXISTS', controls, field) == 1
  if ARGV[1] == 'set' and exists then return 0 end
  local most, pauses, tries, cursor = tonumber(ARGV[4]), 0, {}, '0'
  repeat
    local page = redis.call('HSCAN', controls, cursor, 'COUNT', 1000)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local other = page[2][i]
      if string.sub(other, 1, 6) == 'pause:' then
        pauses = pauses + 1
      elseif string.sub(other, 1, 4) == 'try:' and other ~= field then
        tries[#tries + 1] = {tonumber(string.match(page[2][i + 1], '^%d+') or 0), other}
      end
    end
  until cursor == '0'
  if ARGV[1] == 'set' and pauses >= most then return -1 end
  table.sort(tries, function(one, two) return one[1] < two[1] end)
  for i, try in ipairs(tries) do
    if try[1] < now - ARGV[5] or #tries - i >= most - 1 then redis.call('HDEL', controls, try[2]) end
  end
  redis.call('HSET', controls, field, string.format('%d', now) .. ' ' .. ARGV[3])
end
redis.call('HSET', controls, 'version', time[1] .. '.' .. time[2])
return 1
