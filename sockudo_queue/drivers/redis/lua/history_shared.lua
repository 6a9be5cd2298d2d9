-- Shared by the scripts of the attempt history. Other programs can write any value to the keys.

local function figure(text)
  return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text) or nil
end

-- Count the entries of an item: a line with its owner, then a line per entry. A plain search is 8 times as fast as a
-- pattern.
local function entries_in(text)
  local count, at = 0, string.find(text, '\n', 1, true)
  while at do
    count, at = count + 1, string.find(text, '\n', at + 1, true)
  end
  return count
end

-- Return the id following another one; nil if there is none. Lua's numbers are exact up to 15 digits.
local function after(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  if not ms then return nil end
  if #number < 16 then return ms .. '-' .. string.format('%.0f', number + 1) end
  return #ms < 16 and string.format('%.0f-0', ms + 1) or nil
end

local function is_behind(id, other)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other, '^(%d+)-(%d+)$')
  if ms == other_ms then ms, other_ms = number, other_number end
  return #ms > #other_ms or (#ms == #other_ms and ms > other_ms)
end

-- Call `visit` for items, oldest first, until it returns false or `items` items or `bytes` bytes were inspected.
-- Return whether the end was reached, and the id to continue at.
local function walk(key, from, items, bytes, visit)
  local asked = 1
  while items > 0 and bytes > 0 do
    local before = bytes
    local found = redis.call('XRANGE', key, from, '+', 'COUNT', asked)
    for _, item in ipairs(found) do
      local text = item[2][2] or ''
      if not visit(item[1], text) then return false, from end
      items, bytes, from = items - 1, bytes - #text, after(item[1])
      if not from then return true end
    end
    if #found < asked then return true end
    local size = math.max((before - bytes) / asked, 1)
    asked = math.max(math.min(asked * 2, 32, math.floor(bytes / size)), 1)
  end
  return false, from
end

local function remove(key, ids)
  for first = 1, #ids, 500 do
    redis.call('XDEL', key, unpack(ids, first, math.min(first + 499, #ids)))
  end
end
