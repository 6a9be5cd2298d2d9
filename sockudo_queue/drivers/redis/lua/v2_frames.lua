-- Packed jobs: a producer may push several jobs as one binary element, a frame.
--
--   J, 32 bytes of id, JobData                                    one job, longer than 33 bytes in total
--   B, count (4 bytes), then for each: length (4 bytes), and a J as above of that length
--
-- Numbers are big-endian. A frame is unpacked into `jobs` and `wait` in parts, and the rest stays in its place. A
-- broken
-- frame becomes a single job with all of its bytes, and thus a dead letter.
local UNPACK_BATCH_SIZE, UNPACK_BATCH_BYTES = 1000, 1000000

local function number_at(text, i)
  local a, b, c, d = string.byte(text, i, i + 3)
  return d and ((a * 256 + b) * 256 + c) * 256 + d
end

local function four_bytes(n)
  return string.char(math.floor(n / 16777216), math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

-- `jobs` must hold valid UTF-8, because Sockudo's workers fail on anything else: other bytes become Latin-1 in JSON.
local function raw(bytes)
  local escapes = {}
  for byte = 0, 255 do escapes[string.char(byte)] = string.format('\\u%04X', byte) end
  local text = string.gsub(bytes, '[%c"\\\127-\255]', escapes)
  return '{"sockudo_queue_raw":"' .. text .. '"}'
end

local SEQUENCES = {
  '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
  '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]',
  '[\241-\243][\128-\191][\128-\191][\128-\191]', '\244[\128-\143][\128-\191][\128-\191]',
}

local function is_utf8(text)
  for _, sequence in ipairs(SEQUENCES) do
    if not string.find(text, '[\128-\255]') then return true end
    text = string.gsub(text, sequence, '?')
  end
  return not string.find(text, '[\128-\255]')
end

-- The id goes first: a repeated call would take a payload whose id is not in `wait` for an unpacked one.
local function add(id, body)
  if redis.call('HEXISTS', jobs, id) == 1 then return end
  redis.call('LPUSH', wait, id)
  redis.call('HSET', attempts, id, 0)
  redis.call('HSET', jobs, id, is_utf8(body) and body or raw(body))
end

local function is_record(frame, first, last)
  return string.byte(frame, first) == 74 and last - first >= 33 and last <= #frame
end

-- Return the actual number of records of a frame (nil if it is broken) and the number in its header.
local function count_of(frame)
  if string.byte(frame, 1) == 74 then return is_record(frame, 1, #frame) and 1 or nil, 1 end
  local count = string.byte(frame, 1) == 66 and number_at(frame, 2)
  if not count then return nil, 1 end
  local at = 6
  for _ = 1, count do
    local length = number_at(frame, at)
    if not length or not is_record(frame, at + 4, at + 3 + length) then return nil, count end
    at = at + 4 + length
  end
  return count, count
end

-- A counter that is not a number, or is too large for DECRBY, stays unchanged.
local function count_down(by)
  local said = redis.call('GET', framed) or ''
  local known = #said <= 15 and string.find(said, '^%d+$') and tonumber(said) or 0
  if known > 0 and by > 0 then redis.call('DECRBY', framed, string.format('%.0f', math.min(by, known))) end
end

local function add_records(frame, count)
  local at, added, bytes = 6, 0, 0
  while added < count and added < UNPACK_BATCH_SIZE and bytes < UNPACK_BATCH_BYTES do
    local length = number_at(frame, at)
    add(string.sub(frame, at + 5, at + 36), string.sub(frame, at + 37, at + 3 + length))
    at, added, bytes = at + 4 + length, added + 1, bytes + length
  end
  if added == count then
    redis.call('RPOP', frames)
  else
    redis.call('LSET', frames, -1, 'B' .. four_bytes(count - added) .. string.sub(frame, at))
  end
  count_down(added)
end

-- Unpack the oldest frame; return false if there is none. Only called while `wait` is empty.
local function unpack_frame()
  local frame = redis.call('LINDEX', frames, -1)
  if not frame then return false end
  begin_with_a_removal()
  local count, said = count_of(frame)
  if count and string.byte(frame, 1) == 66 then
    add_records(frame, count)
    return true
  end
  if count then
    add(string.sub(frame, 2, 33), string.sub(frame, 34))
  else
    local id = string.match(ARGV[1], '[^-]*$')
    redis.call('LPUSH', wait, id)
    redis.call('HSET', attempts, id, 0)
    redis.call('HSET', jobs, id, raw(frame))
  end
  redis.call('RPOP', frames)
  count_down(said)
  return true
end
