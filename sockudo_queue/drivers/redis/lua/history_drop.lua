-- Drop items of a history of attempts: those of one app, or the oldest where the server has no memory left.
--
-- KEYS 1 history   2 figures
-- ARGV 1 how the items of the app begin; empty for the oldest   2 bytes of an item beside its text
--      3 the id to begin at   4 items to look at, at most
--      5 bytes to drop at most; without an app never more than half of what is kept
-- Returns the entries that were dropped, and the id to go on at; empty at the end
local LOOKED_AT = 32
local owner, beside, from = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local left, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local known = redis.call('HMGET', KEYS[2], 'entries', 'bytes')

local function figure(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or 0
end

if owner == '' then most_bytes = math.min(most_bytes, figure(known[2]) / 2) end
local entries, bytes, ids = 0, 0, {}
while left > 0 and from ~= '' and bytes <= most_bytes do
  local asked = math.min(left, LOOKED_AT)
  local items = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', asked)
  local is_end = #items < asked
  left = left - #items
  for _, item in ipairs(items) do
    if bytes > most_bytes then
      is_end = false
      break
    end
    local text = item[2][2] or ''
    if string.sub(text, 1, #owner) == owner then
      ids[#ids + 1] = item[1]
      bytes = bytes + #text + beside
      for _ in string.gmatch(text, '\n') do entries = entries + 1 end
    end
    local ms, number = string.match(item[1], '^(%d+)-(%d+)$')
    from = ms .. '-' .. string.format('%.0f', number + 1)
  end
  if is_end then from = '' end
end
if #ids > 0 then
  redis.call('XDEL', KEYS[1], unpack(ids))
  redis.call('HSET', KEYS[2], 'entries', string.format('%.0f', math.max(figure(known[1]) - entries, 0)),
    'bytes', string.format('%.0f', math.max(figure(known[2]) - bytes, 0)))
  if owner ~= '' then redis.call('HSET', KEYS[2], 'purged', redis.call('TIME')[1]) end
end
return {entries, from}
